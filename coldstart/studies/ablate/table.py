"""The table of an ablation: means and spreads over seeds, as JSON, CSV, Markdown and in W&B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
import polars.selectors as cs
from tabulate import tabulate

from coldstart.evaluation.metrics import MAP_K, K
from coldstart.evaluation.results import DECIMALS, HEADERS
from coldstart.evaluation.tables import in_seeds
from coldstart.files import atomic, write_json
from coldstart.studies.ablate.rows import (
    FIGURES,
    FIT,
    IDENTITY,
    AblationRow,
    FusionGain,
    ListenerRow,
    fusion_gains,
    listener_rows,
    run_rows,
    table_rows,
)
from coldstart.studies.jobs import FitJob
from coldstart.studies.wandb_view import log_table
from coldstart.tables.table import write_table

NDCG = HEADERS["ndcg"]

_HEADERS = {
    **{name: name.replace("_", " ") for name in AblationRow._fields},
    **{name: HEADERS[name] for name in FIGURES},
    **{f"{name}_spread": f"{HEADERS[name]} sd" for name in FIGURES},
    "seconds_per_epoch": "s / epoch",
}
"""Field of `AblationRow` → header of a table's column."""


def write(root: Path, jobs: Sequence[FitJob], listeners: Sequence[FitJob] = ()) -> dict[str, Any]:
    """Write ablation.json, .csv and .md from the runs that have finished.

    Args:
        root: folder to write.
        jobs: the table's runs.
        listeners: those that wrote modalities for them.

    Returns:
        What is in ablation.json: `table`, `fusing`, `listeners`, `about`, `runs`.
    """
    runs = [row for job in jobs for suffix in job.tests for row in run_rows(job, suffix)]
    table = [row._asdict() for row in table_rows(runs)]
    content = {
        "table": table,
        "fusing": [gain._asdict() for gain in fusion_gains(runs)],
        "listeners": [row._asdict() for row in listener_rows(listeners)],
        "about": _about(jobs),
        "runs": [run._asdict() for run in runs],
    }
    write_json(root / "ablation.json", content)
    if table:
        flat = pl.DataFrame(table, infer_schema_length=None)
        write_table(root / "ablation.csv", flat.with_columns(cs.float().round(DECIMALS)))
    with atomic(root / "ablation.md") as temporary:
        temporary.write_text(markdown(content), encoding="utf-8")
    return content


def _about(jobs: Sequence[FitJob]) -> dict[str, Any]:
    """What the figures must be read with."""
    tests: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        for suffix in job.tests:
            tests.setdefault(suffix.removeprefix("-"), []).append(job.results(suffix).about)
    keys = ("candidates", "users", "users_without_relevant", "protocol", "shards")
    return {
        "k": K,
        "map_k": MAP_K,
        "seeds": sorted({job.about["seed"] for job in jobs}),
        "tested_on": {
            name: {key: sorted({about[key] for about in abouts}) for key in keys}
            for name, abouts in tests.items()
        },
    }


def markdown(content: Mapping[str, Any]) -> str:
    """The table, what fusing gained, and what the figures must be read with."""
    rows = [AblationRow(**row) for row in content["table"]]
    if not rows:
        return "no run has finished yet\n"
    about_columns = [
        name for name in (*IDENTITY, "seeds") if any(getattr(row, name) for row in rows)
    ]
    columns = [*about_columns, *FIGURES, *FIT]
    headers = [_HEADERS[name] for name in columns]
    cells = [[_cell(row, name) for name in columns] for row in rows]
    table = tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)
    lines = [_gain_sentence(FusionGain(**gain)) for gain in content["fusing"]]
    lines += [_listener_sentence(ListenerRow(**row)) for row in content["listeners"]]
    for name, facts in content["about"]["tested_on"].items():
        lines.append(
            f"- {name or 'candidates'}: {_span(facts['candidates'])} cold tracks; "
            f"{_span(facts['users'])} users with a relevant one "
            f"({_span(facts['users_without_relevant'])} without one are not averaged); "
            f"{', '.join(facts['protocol'])}"
        )
    seeds = ", ".join(map(str, content["about"]["seeds"]))
    lines.append(f"- mean ± standard deviation over seeds {seeds}; rivals once for each dataset")
    return "\n".join([table, "", *lines]) + "\n"


def _gain_sentence(gain: FusionGain) -> str:
    sets = f", {gain.trained_on} → {gain.tested_on}" if gain.trained_on else ""
    return (
        f"- {gain.input} ({gain.training}, {gain.fusion}{sets}) beside its best part, "
        f"{gain.best_part}: {NDCG} {gain.ndcg_gain:+.3f}, cosine distance "
        f"{-gain.cosine_gain:+.3f}; {in_seeds(gain.seeds_ahead, gain.seeds)}"
    )


def _listener_sentence(row: ListenerRow) -> str:
    return (
        f"- {row.listener}: correlation with the annotators {row.mean_correlation:.3f} (mean of "
        f"{row.attributes} attributes on {_span(row.test_tracks)} test tracks, {row.nets} nets; "
        f"0 = chance); {row.epochs:.0f} epochs of {row.seconds_per_epoch:.2g} s, "
        f"{row.parameters:,.0f} parameters"
    )


def _cell(row: AblationRow, name: str) -> str:
    value = getattr(row, name)
    if value is None or value == "":
        return "–"
    if name in FIGURES:
        spread = getattr(row, f"{name}_spread")
        return f"{value:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")
    if name == "seconds_per_epoch":
        return f"{value:.2g}"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


def _span(numbers: Sequence[int]) -> str:
    ends = sorted({numbers[0], numbers[-1]})
    return " to ".join(f"{number:,}" for number in ends)


def to_wandb(
    root: Path, content: Mapping[str, Any], project: str, mode: Literal["offline", "online"]
) -> None:
    """Log the table and a bar chart of it as one W&B run, in the group of the ablation's runs."""
    rows = [
        {"row": _name(row), **{_HEADERS[name]: value for name, value in row.items()}}
        for row in content["table"]
    ]
    log_table(root, "ablation", rows, ("row", NDCG, f"{NDCG} by input"), mode, project)


def _name(row: Mapping[str, Any]) -> str:
    keys = ("input", "method", "training", "fusion", "trained_on", "tested_on")
    return ", ".join(str(row[key]) for key in keys if row[key])
