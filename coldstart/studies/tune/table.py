"""What a search reports: all trials, best first, as JSON, CSV, Markdown and in W&B."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
from tabulate import tabulate

from coldstart.files import write_json
from coldstart.studies.wandb_view import log_table
from coldstart.tables.table import write_table

STATES = {"COMPLETE": "complete", "FAIL": "failed"}
"""Optuna's name of a state → ours; all others are trials that haven't ended."""

FACTS = ("epochs", "best_epoch", "parameters", "seconds", "failure")
"""What is recorded of a trial beside its figure and settings."""


def trial_folder(root: Path, number: int) -> Path:
    """The folder of a trial's run."""
    return root / "trials" / f"{number:04}"


def wall_seconds(root: Path) -> float:
    """What earlier commands of this search have taken."""
    path = root / "results.json"
    if not path.is_file():
        return 0.0
    return float(json.loads(path.read_bytes())["budget"]["wall_seconds"])


def write(root: Path, study: Any, keys: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write results.json and results.csv from what Optuna's study holds.

    Args:
        root: the search's folder.
        study: Optuna's.
        keys: what was chosen.
        about: what the figures must be read with.

    Returns:
        What is in results.json: `best` (None without a success), `trials`, and `about`'s.
    """
    figure = about["figure"]
    trials = [_trial_row(trial, keys, about) for trial in study.get_trials(deepcopy=False)]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    sign = 1 if about["direction"] == "min" else -1
    best = min(complete, key=lambda trial: sign * trial[figure], default=None)
    content = {**about, "best": best, "trials": trials}
    write_json(root / "results.json", content)
    if trials:
        flat = [
            {**trial, **{key: _plain_cell(trial["params"].get(key)) for key in keys}}
            for trial in trials
        ]
        table = pl.DataFrame(flat, infer_schema_length=None, strict=False)
        columns = ["number", "state", figure, *keys, *FACTS]
        write_table(root / "results.csv", table.select(columns))
    return content


def _trial_row(trial: Any, keys: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """What results.json has of a trial of Optuna's."""
    params = {}
    for key in keys:
        if key in trial.params:
            value = trial.params[key]
            params[key] = json.loads(value) if "choices" in about["space"][key] else value
    return {
        "number": trial.number,
        "state": STATES.get(trial.state.name, "unfinished"),
        about["figure"]: trial.value,
        "params": params,
        **{name: trial.user_attrs.get(name) for name in FACTS},
    }


def _plain_cell(value: Any) -> Any:
    """A value as a table's cell has it: lists and classes as JSON."""
    return value if isinstance(value, (int, float, str, type(None))) else json.dumps(value)


def _ranked(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Best first; those without a figure last."""
    figure, sign = content["figure"], 1 if content["direction"] == "min" else -1
    return sorted(
        content["trials"],
        key=lambda trial: (
            trial["state"] != "complete",
            sign * (trial[figure] or 0),
            trial["number"],
        ),
    )


def markdown(content: Mapping[str, Any]) -> str:
    """The table, and what it stands for."""
    figure, keys, budget = content["figure"], list(content["space"]), content["budget"]
    trials = content["trials"]
    cells = [
        [
            trial["number"],
            f"{trial[figure]:.6g}" if trial["state"] == "complete" else trial["state"],
            *(_cell_text(trial["params"].get(key)) for key in keys),
            *("–" if trial[key] is None else trial[key] for key in ("epochs", "seconds")),
        ]
        for trial in _ranked(content)
    ]
    headers = ["trial", figure, *keys, "epochs", "s"]
    lines = [tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True), ""]
    failed = [trial for trial in trials if trial["state"] == "failed"]
    ended = len([trial for trial in trials if trial["state"] != "unfinished"])
    limit = budget["timeout_minutes"]
    time_limit = f", {limit:g} minutes" if limit is not None else ""
    order = "lowest" if content["direction"] == "min" else "highest"
    lines.append(
        f"- {figure} of the validation tracks, {order} first; no test track was read. The best of "
        "many looks better than it is: test it"
    )
    lines.append(
        f"- {ended} of {budget['trials']} trials ended, {len(failed)} failed{time_limit}; "
        f"{budget['wall_seconds']:,.0f} s; sampler {content['sampler']['name']} of Optuna "
        f"{content['sampler']['optuna']}, seed {content['seed']}"
    )
    lines += [f"- trial {trial['number']} failed: {trial['failure']}" for trial in failed]
    return "\n".join(lines) + "\n"


def _cell_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(_plain_cell(value))


def to_wandb(
    root: Path, content: Mapping[str, Any], project: str, mode: Literal["offline", "online"]
) -> None:
    """Log the trials that succeeded, and a bar chart of them, in the group of their runs."""
    figure = content["figure"]
    rows = [
        {
            "trial": f"{trial['number']:04}",
            figure: trial[figure],
            **{key: str(_plain_cell(trial["params"][key])) for key in content["space"]},
            **{key: trial[key] for key in ("epochs", "parameters", "seconds")},
        }
        for trial in _ranked(content)
        if trial["state"] == "complete"
    ]
    log_table(root, "trials", rows, ("trial", figure, f"{figure} by trial"), mode, project)
