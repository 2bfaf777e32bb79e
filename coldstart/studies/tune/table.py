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
from coldstart.tables import write_table

STATES = {"COMPLETE": "complete", "FAIL": "failed"}
"""Optuna's word → ours; all others are trials that haven't ended."""


FACTS = ("epochs", "best_epoch", "parameters", "seconds", "failure")


def folder(root: Path, number: int) -> Path:
    """A trial's run."""
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
        about: whatever tells what the figures mean.

    Returns:
        What is in results.json: `best` (None without a success), `trials`, and `about`'s.
    """
    figure, choices = about["figure"], about["space"]
    trials = []
    for trial in study.get_trials(deepcopy=False):
        params = {
            key: json.loads(trial.params[key]) if "choices" in choices[key] else trial.params[key]
            for key in keys
            if key in trial.params
        }
        record = {"number": trial.number, "state": STATES.get(trial.state.name, "unfinished")}
        record |= {figure: trial.value, "params": params}
        trials.append(record | {key: trial.user_attrs.get(key) for key in FACTS})
    done = [trial for trial in trials if trial["state"] == "complete"]
    sign = 1 if about["direction"] == "min" else -1
    best = min(done, key=lambda trial: sign * trial[figure], default=None)
    content = {**about, "best": best, "trials": trials}
    write_json(root / "results.json", content)
    rows = [
        {**trial, **{key: _written(trial["params"].get(key)) for key in keys}} for trial in trials
    ]
    if rows:
        table = pl.DataFrame(rows, infer_schema_length=None, strict=False)
        columns = ["number", "state", figure, *keys, *FACTS]
        write_table(root / "results.csv", table.select(columns))
    return content


def _written(value: Any) -> Any:
    """A value as a table's cell has it."""
    return value if isinstance(value, (int, float, str, type(None))) else json.dumps(value)


def _ranked(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Best first; those without a figure last."""
    figure, sign = content["figure"], 1 if content["direction"] == "min" else -1
    return sorted(
        content["trials"],
        key=lambda t: (t["state"] != "complete", sign * (t[figure] or 0), t["number"]),
    )


def markdown(content: Mapping[str, Any]) -> str:
    """The table, and what it stands for."""
    figure, keys, budget = content["figure"], list(content["space"]), content["budget"]
    trials = content["trials"]
    cells = [
        [
            trial["number"],
            f"{trial[figure]:.6g}" if trial["state"] == "complete" else trial["state"],
            *(_shown(trial["params"].get(key)) for key in keys),
            *("–" if trial[key] is None else trial[key] for key in ("epochs", "seconds")),
        ]
        for trial in _ranked(content)
    ]
    headers = ["trial", figure, *keys, "epochs", "s"]
    lines = [tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True), ""]
    failed = [trial for trial in trials if trial["state"] == "failed"]
    ended = len([trial for trial in trials if trial["state"] != "unfinished"])
    limit = budget["timeout_minutes"]
    within = f", {limit:g} minutes" if limit is not None else ""
    best = "lowest" if content["direction"] == "min" else "highest"
    lines.append(
        f"- {figure} of the validation tracks, {best} first; no test track was read. The best of "
        "many looks better than it is: test it"
    )
    lines.append(
        f"- {ended} of {budget['trials']} trials ended, {len(failed)} failed{within}; "
        f"{budget['wall_seconds']:,.0f} s; sampler {content['sampler']['name']} of Optuna "
        f"{content['sampler']['optuna']}, seed {content['seed']}"
    )
    lines += [f"- trial {trial['number']} failed: {trial['failure']}" for trial in failed]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(_written(value))


def to_wandb(
    root: Path, content: Mapping[str, Any], project: str, mode: Literal["offline", "online"]
) -> None:
    """Log the trials that succeeded, and a bar chart of them, in the group of their runs."""
    figure = content["figure"]
    rows = [
        {
            "trial": f"{trial['number']:04}",
            figure: trial[figure],
            **{key: str(_written(trial["params"][key])) for key in content["space"]},
            **{key: trial[key] for key in ("epochs", "parameters", "seconds")},
        }
        for trial in _ranked(content)
        if trial["state"] == "complete"
    ]
    log_table(root, "trials", rows, ("trial", figure, f"{figure} by trial"), mode, project)
