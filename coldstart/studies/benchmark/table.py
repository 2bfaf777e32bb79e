"""What a benchmark reports: all methods over all seeds, as JSON, CSV and Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from tabulate import tabulate

from coldstart.errors import InputError
from coldstart.evaluation import uncertainty
from coldstart.evaluation.evaluate import OURS
from coldstart.evaluation.metrics import MAP_K, K
from coldstart.evaluation.results import HEADERS
from coldstart.files import atomic, write_json
from coldstart.runs.first_stage import first_stage_of
from coldstart.studies.benchmark.plan import Plan
from coldstart.studies.jobs import Job, Step
from coldstart.tables import write_table

FIGURES = {name: HEADERS[name] for name in ("recall", "ndcg", "map")}


NDCG = FIGURES["ndcg"]


SPREAD = [
    HEADERS[name]
    for name in HEADERS
    if name.rpartition("_")[2] in ("head", "middle", "tail", "cold", "warm", "coverage", "gini")
]


COUNTS = (
    "candidates",
    "cold_candidates",
    "warm_candidates",
    "users",
    "users_without_relevant",
    "users_without_training_listens",
    "tracks_with_vector",
    "protocol",
)


def write(
    root: Path, plan: Plan, fits: Mapping[tuple[str, int], Job], steps: Sequence[Step]
) -> dict[str, Any]:
    """Write results.json, results.csv and results.md of what has finished.

    A method is in the table where all seeds have it.

    Args:
        root: the benchmark's folder.
        plan: what was wanted.
        fits: by model and seed.
        steps: rivals' steps that have finished.

    Returns:
        What is in results.json.

    Raises:
        InputError: methods of one seed ranked different candidates, or nobody has a relevant one.
    """
    read: dict[int, dict[str, dict[str, Any]]] = {seed: {} for seed in plan.seeds}
    users: dict[int, dict[str, pl.DataFrame]] = {seed: {} for seed in plan.seeds}
    for (name, seed), job in fits.items():
        if job.done:
            result = job.result("")
            kind = {"method": name, "kind": "model", "seconds": _seconds(job), "chosen": ""}
            read[seed][name] = {**_row(result, OURS), **kind, "counts": _counts(result)}
            users[seed][name] = _of(job.folder, OURS)
    for step in steps:
        result = json.loads((step.folder / "results.json").read_bytes())
        seed = step.about["seed"]
        for row in result["rows"]:
            method = row["method"]
            kind = {"kind": "rival", "seconds": result["seconds"][method]}
            kind["chosen"] = result["chosen"][method]
            read[seed][method] = {**_row(result, method), **kind, "counts": _counts(result)}
            users[seed][method] = _of(step.folder, method)
    methods = [m for m in read[plan.seeds[0]] if all(m in read[seed] for seed in plan.seeds)]
    for seed in plan.seeds:
        _same_task(seed, {method: read[seed][method] for method in methods})
    content: dict[str, Any] = {
        "k": K,
        "map_k": MAP_K,
        "candidates": plan.candidates,
        "split": plan.split,
        "seeds": plan.seeds,
        "splits": [
            {"seed": seed, **(read[seed][methods[0]]["counts"] if methods else {})}
            for seed in plan.seeds
        ],
        "best_rival": None,
        "table": [],
        "runs": [
            {"seed": seed, **{k: v for k, v in row.items() if k != "counts"}}
            for seed in plan.seeds
            for row in read[seed].values()
        ],
    }
    if methods:
        _pool(content, [{m: read[s][m] for m in methods} for s in plan.seeds], users, methods)
    write_json(root / "results.json", content)
    if content["table"]:
        rows = pl.DataFrame(flat(content), infer_schema_length=None)
        write_table(root / "results.csv", rows)
    with atomic(root / "results.md") as temporary:
        temporary.write_text(markdown(content), encoding="utf-8")
    return content


def _pool(
    content: dict[str, Any],
    by_seed: Sequence[Mapping[str, dict[str, Any]]],
    users: Mapping[int, Mapping[str, pl.DataFrame]],
    methods: Sequence[str],
) -> None:
    """Fill the table: means over seeds, intervals over users, differences to the best rival."""
    ids = [users[seed][methods[0]]["user_id"].to_list() for seed in content["seeds"]]
    pooled = {
        figure: uncertainty.pooled(
            ids,
            [
                torch.stack([_of_users(users[seed][method], order, figure) for method in methods])
                for order, seed in zip(ids, content["seeds"], strict=True)
            ],
        )
        for figure in FIGURES
    }
    rivals = [i for i, m in enumerate(methods) if by_seed[0][m]["kind"] == "rival"]
    best = max(rivals, key=lambda i: float(pooled["ndcg"].mean[i]), default=None)
    content["best_rival"] = None if best is None else methods[best]
    for i, method in enumerate(methods):
        rows = [its[method] for its in by_seed]
        row: dict[str, Any] = {key: rows[0][key] for key in ("method", "kind", "input")}
        for figure, header in FIGURES.items():
            low, high = pooled[figure].interval(i)
            row |= {header: float(pooled[figure].mean[i])}
            row |= {f"{header} low": low, f"{header} high": high}
        row |= {header: _mean([its[header] for its in rows]) for header in SPREAD}
        row["seconds"] = _mean([its["seconds"] for its in rows])
        row["by seed"] = [{header: its[header] for header in FIGURES.values()} for its in rows]
        row["chosen"] = [its["chosen"] for its in rows]
        beside = None
        if best is not None and i != best:
            beside = pooled["ndcg"].difference(i, best)._asdict()
        row["beside the best rival"] = beside
        content["table"].append(row)
    content["table"].sort(key=lambda row: -row[NDCG])


def flat(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table with plain cells: per-seed figures and the difference as columns."""
    rows = []
    for row in content["table"]:
        nested = ("by seed", "chosen", "beside the best rival")
        plain = {key: value for key, value in row.items() if key not in nested}
        beside = row["beside the best rival"] or {}
        plain |= {
            f"{NDCG} beside {content['best_rival']}{said}": beside.get(key)
            for key, said in (("mean", ""), ("low", " low"), ("high", " high"), ("p", " p"))
        }
        for seed, figures in zip(content["seeds"], row["by seed"], strict=True):
            plain |= {f"{header} seed {seed}": value for header, value in figures.items()}
        rows.append(plain | {"chosen": "; ".join(dict.fromkeys(filter(None, row["chosen"])))})
    return rows


def markdown(content: Mapping[str, Any]) -> str:
    """Three tables, and what their figures must be read with."""
    table, seeds = content["table"], content["seeds"]
    if not table:
        return "no method has finished all seeds yet\n"
    best = content["best_rival"]
    headers = ["method", "input", *FIGURES.values()]
    headers.insert(headers.index(NDCG) + 1, "95 %")
    headers += [f"{NDCG} beside {best}", "p", "s"]
    cells = []
    for row in table:
        beside = row["beside the best rival"]
        gap = _gap(beside) if beside else "–"
        chance = f"{beside['p']:.2g}" if beside else "–"
        said = [_number(row[name]) for name in FIGURES.values()]
        said.insert(2, f"{row[f'{NDCG} low']:.3f}–{row[f'{NDCG} high']:.3f}")
        name = f"**{row['method']}**" if row["kind"] == "model" else row["method"]
        cells.append([name, row["input"], *said, gap, chance, f"{row['seconds']:,.1f}"])
    spread = [name for name in SPREAD if any(row[name] is not None for row in table)]
    spread = [name for name in spread if not name.startswith(FIGURES["recall"])]
    parts = [[row["method"], *(_number(row[name]) for name in spread)] for row in table]
    singly = [
        [row["method"], *(_number(figures[NDCG]) for figures in row["by seed"])] for row in table
    ]
    chosen = [
        f"- {row['method']}: {'; '.join(row['chosen'])}" for row in table if any(row["chosen"])
    ]
    drawn = [
        _table(headers, cells),
        _table(["method", *spread], parts),
        _table(["method", *(f"{NDCG}, seed {seed}" for seed in seeds)], singly),
        "Chosen on the validation tracks, by seed:\n\n" + "\n".join(chosen) if chosen else "",
        "\n".join(_caption(content)),
    ]
    return "\n\n".join(filter(None, drawn)) + "\n"


def _caption(content: Mapping[str, Any]) -> list[str]:
    lines = []
    for its in content["splits"]:
        warm = f" among {its['warm_candidates']:,} warm ones" if its.get("warm_candidates") else ""
        cold = its.get("cold_candidates") or its["candidates"]
        lines.append(
            f"- seed {its['seed']}: {cold:,} cold candidates{warm} "
            f"({its['tracks_with_vector']:,} cold ones were played); {its['users']:,} users with a "
            f"relevant one ({its['users_without_relevant']:,} without one and "
            f"{its['users_without_training_listens']:,} without training listens are not "
            f"averaged); {its['protocol']}"
        )
    k, map_k = content["k"], content["map_k"]
    lines += [
        f"- Recall and NDCG at {k}, MAP at {map_k}: mean over the users of a seed's split "
        f"({content['split']}), averaged over seeds {', '.join(map(str, content['seeds']))}",
        "- 95 %: bootstrap over users, who are drawn with their figures of all seeds; differences "
        "are paired; p two-sided, by flipping signs",
        "- the best rival is the one with the highest mean in this very table, so a difference to "
        "it is not flattering",
        "- s: mean seconds a seed, of a model's training (of one fit, without any search for its "
        "settings), of a rival's fitting with all that validation chose among",
    ]
    return lines


def _table(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def _gap(beside: Mapping[str, float]) -> str:
    return f"{beside['mean']:+.3f} ({beside['low']:+.3f} to {beside['high']:+.3f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _row(result: Mapping[str, Any], method: str) -> dict[str, Any]:
    """A method's figures, without the intervals of the one seed."""
    (row,) = [row for row in result["rows"] if row["method"] == method]
    return {key: row[key] for key in ("method", "input", *FIGURES.values(), *SPREAD)}


def _counts(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: result[key] for key in COUNTS if key in result}


def _of(folder: Path, method: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "by_user.parquet").filter(method=method)


def _of_users(figures: pl.DataFrame, ids: Sequence[str], figure: str) -> torch.Tensor:
    """[U] in the order of the ids."""
    at = dict(zip(figures["user_id"].to_list(), figures[figure].to_list(), strict=True))
    return torch.tensor([at[user] for user in ids])


def _same_task(seed: int, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """All methods of a seed must have ranked the same candidates for the same users."""
    tasks: dict[tuple[int, int], list[str]] = {}
    for method, row in rows.items():
        counts = row["counts"]
        if not counts["users"]:
            raise InputError(
                f"seed {seed}: no user with training listens has played any of the "
                f"{counts['candidates']:,} candidates, so there is nothing to measure"
            )
        tasks.setdefault((counts["candidates"], counts["users"]), []).append(method)
    if len(tasks) > 1:
        said = "; ".join(
            f"{', '.join(methods)}: {candidates:,} candidates, {users:,} users"
            for (candidates, users), methods in tasks.items()
        )
        raise InputError(
            f"seed {seed}: methods ranked different tracks, so one table can't hold them ({said}). "
            "A model sees only tracks that have its inputs: keep tracks that have all of them"
        )


def _seconds(job: Job) -> float:
    """Training seconds, those of a first stage too."""
    folders = [job.folder]
    for stage in first_stage_of(job.folder).values():
        folders += map(Path, stage.runs)
    fits = [json.loads((folder / "fit.json").read_bytes()) for folder in folders]
    return float(sum(fit["seconds"] for fit in fits))
