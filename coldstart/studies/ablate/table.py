"""The table of an ablation: means and spreads over seeds, as JSON, CSV, Markdown and in W&B."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from tabulate import tabulate

from coldstart.evaluation.evaluate import OURS, PATCHES
from coldstart.evaluation.metrics import MAP_K, K
from coldstart.evaluation.results import HEADERS
from coldstart.files import atomic, write_json
from coldstart.studies.jobs import Job
from coldstart.studies.wandb_view import log_table
from coldstart.tables import write_table

FIGURES = [HEADERS[name] for name in ("cosine", "recall", "ndcg", "map")]


NDCG = HEADERS["ndcg"]


FIT = {"epochs": "epochs", "seconds_per_epoch": "s / epoch", "parameters": "parameters"}


TELLS_APART = ("tested on", "trained on", "input", "method", "training", "fusion")


def write(root: Path, jobs: Sequence[Job], listeners: Sequence[Job] = ()) -> dict[str, Any]:
    """Write ablation.json, .csv and .md from the runs that have finished.

    Args:
        root: folder to write.
        jobs: the table's runs.
        listeners: those that wrote modalities for them.

    Returns:
        What is in ablation.json: `table`, `fusing`, `listeners`, `about`, `runs`.
    """
    runs = [record for job in jobs for name in job.tests for record in _records(job, name)]
    table = _table(runs)
    content = {
        "table": table,
        "fusing": _fusing(runs),
        "listeners": _listening(listeners),
        "about": _about(jobs),
        "runs": runs,
    }
    write_json(root / "ablation.json", content)
    if table:
        write_table(root / "ablation.csv", pl.DataFrame(table, infer_schema_length=None))
    with atomic(root / "ablation.md") as temporary:
        temporary.write_text(markdown(content), encoding="utf-8")
    return content


def _records(job: Job, name: str) -> list[dict[str, Any]]:
    """A record for each row of one test."""
    results = job.result(name)
    records = []
    for row in results["rows"]:
        method, where = row["method"].split(" (")[0], job.about.get("trained on", "")
        ours = method in (OURS, PATCHES)
        record = {
            "tested on": name.removeprefix("-"),
            "trained on": where,
            "input": job.about["input"] if row["input"] not in ("–", "artist") else row["input"],
            "method": method,
            # What isn't ours was not trained in stages: it is the same beside each variant.
            "training": job.about.get("training", "") if ours else "",
            "fusion": job.about.get("fusion", "") if ours else "",
            "seed": job.about["seed"],
            **{figure: row[figure] for figure in FIGURES},
        }
        if method == "shuffled content":
            record["input"] = "–"
        if method == OURS:
            record |= {column: results["fit"][key] for key, column in FIT.items()}
        records.append(record)
    return records


def _table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for all seeds: the model's rows first, then rivals, then floors."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in runs:
        groups.setdefault(tuple(record[key] for key in TELLS_APART), []).append(record)
    table = []
    for key, members in groups.items():
        row: dict[str, Any] = dict(zip(TELLS_APART, key, strict=True))
        seeds = sorted({record["seed"] for record in members})
        row["seeds"] = len(seeds)
        for figure in FIGURES:
            # A floor comes beside many models: it counts once a seed.
            each = [[r[figure] for r in members if r["seed"] == seed] for seed in seeds]
            values = [float(np.mean(found)) for found in each if None not in found]
            row[figure] = float(np.mean(values)) if values else None
            row[f"{figure} sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        for column in FIT.values():
            found = [record[column] for record in members if column in record]
            row[column] = float(np.mean(found)) if found else None
        table.append(row)
    rank = {OURS: 0, PATCHES: 0, "ridge": 1, "20 nearest neighbours": 1}
    return sorted(table, key=lambda row: (row["tested on"], rank.get(row["method"], 2)))


def _fusing(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each fused row beside its best part, seed by seed."""
    ours = [record for record in runs if record["method"] == OURS]
    found = []
    for row in _table(ours):
        parts = row["input"].split("+")
        same = [r for r in ours if all(r[k] == row[k] for k in ("tested on", "trained on"))]
        alone = {part: [r for r in same if r["input"] == part] for part in parts}
        if len(parts) < 2 or not all(alone.values()):
            continue
        best = max(parts, key=lambda part: np.mean([r[NDCG] for r in alone[part]]))
        single = {r["seed"]: r for r in alone[best]}
        mine = [r for r in same if all(r[k] == row[k] for k in TELLS_APART)]
        pairs = [(r, single[r["seed"]]) for r in mine if r["seed"] in single]
        if not pairs:
            continue
        gain = [a[NDCG] - b[NDCG] for a, b in pairs]
        nearer = [b[FIGURES[0]] - a[FIGURES[0]] for a, b in pairs]
        found.append(
            {
                **{key: row[key] for key in TELLS_APART if key != "method"},
                "best part": best,
                f"{NDCG} gained": float(np.mean(gain)),
                "cosine distance saved": float(np.mean(nearer)),
                f"seeds ahead by {NDCG}": sum(value >= 0 for value in gain),
                "seeds": len(pairs),
            }
        )
    return found


def _listening(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """How well listeners estimate the attributes, over their folds and datasets."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        groups.setdefault(job.about["input"], []).append(job.result(""))
    return [
        {
            "listener": name,
            "nets": len(results),
            "mean correlation": float(np.mean([r["mean_correlation"] for r in results])),
            "test tracks": sorted({r["tracks"] for r in results}),
            "attributes": len(results[0]["correlation"]),
            **{
                column: float(np.mean([r["fit"][key] for r in results]))
                for key, column in FIT.items()
            },
        }
        for name, results in groups.items()
    ]


def _about(jobs: Sequence[Job]) -> dict[str, Any]:
    """What the figures must be read with."""
    tests: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        for name in job.tests:
            tests.setdefault(name.removeprefix("-"), []).append(job.result(name))
    return {
        "k": K,
        "map_k": MAP_K,
        "seeds": sorted({job.about["seed"] for job in jobs}),
        "tested on": {
            name: {
                key: sorted({result[key] for result in results})
                for key in ("candidates", "users", "users_without_relevant", "protocol", "shards")
            }
            for name, results in tests.items()
        },
    }


def markdown(content: dict[str, Any]) -> str:
    """The table, what fusing gained, and what the figures must be read with."""
    table = content["table"]
    if not table:
        return "no run has finished yet\n"
    named = [key for key in (*TELLS_APART, "seeds") if any(row[key] for row in table)]
    columns = [*named, *FIGURES, *FIT.values()]
    cells = [[_cell(row, column) for column in columns] for row in table]
    lines = [tabulate(cells, headers=columns, tablefmt="github", disable_numparse=True), ""]
    for row in content["fusing"]:
        where = f", {row['trained on']} → {row['tested on']}" if row["trained on"] else ""
        lines.append(
            f"- {row['input']} ({row['training']}, {row['fusion']}{where}) beside its best part, "
            f"{row['best part']}: {NDCG} {row[f'{NDCG} gained']:+.3f}, cosine distance "
            f"{-row['cosine distance saved']:+.3f}; not behind in {NDCG} in "
            f"{row[f'seeds ahead by {NDCG}']} of {row['seeds']} seeds"
        )
    for heard in content["listeners"]:
        lines.append(
            f"- {heard['listener']}: correlation with the annotators "
            f"{heard['mean correlation']:.3f} (mean of {heard['attributes']} attributes on "
            f"{_span(heard['test tracks'])} test tracks, {heard['nets']} nets; 0 = chance); "
            f"{heard['epochs']:.0f} epochs of {heard['s / epoch']:.2g} s, "
            f"{heard['parameters']:,.0f} parameters"
        )
    for name, facts in content["about"]["tested on"].items():
        lines.append(
            f"- {name or 'candidates'}: {_span(facts['candidates'])} cold tracks; "
            f"{_span(facts['users'])} users with a relevant one "
            f"({_span(facts['users_without_relevant'])} without one are not averaged); "
            f"{', '.join(facts['protocol'])}"
        )
    seeds = ", ".join(map(str, content["about"]["seeds"]))
    lines.append(f"- mean ± standard deviation over seeds {seeds}; rivals once for each dataset")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any], column: str) -> str:
    value, spread = row[column], row.get(f"{column} sd")
    if value is None or value == "":
        return "–"
    if column in FIGURES:
        return f"{value:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")
    if column == "s / epoch":
        return f"{value:.2g}"
    return f"{value:,.0f}" if isinstance(value, float) else str(value)


def _span(numbers: list[int]) -> str:
    ends = sorted({numbers[0], numbers[-1]})
    return " to ".join(f"{number:,}" for number in ends)


def to_wandb(
    root: Path, content: dict[str, Any], project: str, mode: Literal["offline", "online"]
) -> None:
    """Log the table and a bar chart of it as one W&B run, in the group of the ablation's runs."""
    rows = [{"row": _name(row), **row} for row in content["table"]]
    chart = ("row", NDCG, f"{NDCG} by input")
    log_table(root, "ablation", rows, chart, mode, project)


def _name(row: dict[str, Any]) -> str:
    keys = ("input", "method", "training", "fusion", "trained on", "tested on")
    return ", ".join(str(row[key]) for key in keys if row[key])
