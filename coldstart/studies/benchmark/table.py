"""What a benchmark reports: all methods over all seeds, as JSON, CSV, Markdown and in W&B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
import polars.selectors as cs
from tabulate import tabulate

from coldstart.evaluation.metrics import MAP_K, K
from coldstart.evaluation.results import DECIMALS, HEADERS
from coldstart.files import atomic, write_json
from coldstart.studies.benchmark.plan import Plan
from coldstart.studies.benchmark.rows import (
    FIGURES,
    PARTS,
    SeedRow,
    check_same_task,
    method_rows,
    model_row,
    rival_rows,
)
from coldstart.studies.jobs import FitJob, FunctionJob
from coldstart.studies.wandb_view import log_table
from coldstart.tables.table import write_table

NDCG = HEADERS["ndcg"]


def write(
    root: Path, plan: Plan, fits: Sequence[FitJob], rivals: Sequence[FunctionJob]
) -> dict[str, Any]:
    """Write results.json, results.csv and results.md from the jobs that have finished.

    A method is in the table where all seeds have it.

    Args:
        root: the benchmark's folder.
        plan: what is compared.
        fits: of all models and seeds.
        rivals: jobs of all rivals and seeds.

    Returns:
        What is in results.json.

    Raises:
        InputError: methods of one seed ranked different candidates, or nobody has a relevant one.
    """
    rows = [model_row(job) for job in fits if job.finished]
    rows += [row for job in rivals if job.finished for row in rival_rows(job)]
    by_seed: dict[int, dict[str, SeedRow]] = {seed: {} for seed in plan.seeds}
    for row in rows:
        by_seed[row.seed][row.figures.method] = row
    by_method = {
        method: [by_seed[seed][method] for seed in plan.seeds]
        for method in by_seed[plan.seeds[0]]
        if all(method in by_seed[seed] for seed in plan.seeds)
    }
    first_method = next(iter(by_method.values()), None)
    for number, seed in enumerate(plan.seeds):
        check_same_task(seed, [seed_rows[number] for seed_rows in by_method.values()])
    table, best_rival = method_rows(by_method) if by_method else ([], None)
    content: dict[str, Any] = {
        "k": K,
        "map_k": MAP_K,
        "candidates": plan.candidates,
        "split": plan.split,
        "seeds": plan.seeds,
        "splits": [
            {"seed": seed, **(first_method[number].counts if first_method else {})}
            for number, seed in enumerate(plan.seeds)
        ],
        "best_rival": best_rival,
        "table": [row.as_dict() for row in table],
        "runs": [row.as_dict() for seed in plan.seeds for row in by_seed[seed].values()],
    }
    write_json(root / "results.json", content)
    if table:
        flat = pl.DataFrame(flat_rows(content), infer_schema_length=None)
        write_table(root / "results.csv", flat.with_columns(cs.float().round(DECIMALS)))
    with atomic(root / "results.md") as temporary:
        temporary.write_text(markdown(content), encoding="utf-8")
    return content


def flat_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table with plain cells: per-seed figures and the difference as columns."""
    rows = []
    for row in content["table"]:
        nested = ("by_seed", "chosen", "beside_the_best_rival")
        flat = {key: value for key, value in row.items() if key not in nested}
        difference = row["beside_the_best_rival"] or {}
        flat["ndcg_beside_the_best_rival"] = difference.get("mean")
        for key in ("low", "high", "p"):
            flat[f"ndcg_beside_the_best_rival_{key}"] = difference.get(key)
        for seed, figures in zip(content["seeds"], row["by_seed"], strict=True):
            flat |= {f"{name}_seed_{seed}": value for name, value in figures.items()}
        flat["chosen"] = "; ".join(dict.fromkeys(filter(None, row["chosen"])))
        rows.append(flat)
    return rows


def to_wandb(
    root: Path, content: Mapping[str, Any], project: str, mode: Literal["offline", "online"]
) -> None:
    """Log the table and a bar chart of it as one W&B run, in the group of the benchmark's runs."""
    headers = dict(HEADERS)
    for end in ("", "_low", "_high", "_p"):
        header = f"{NDCG} beside {content['best_rival']}{end.replace('_', ' ')}"
        headers[f"ndcg_beside_the_best_rival{end}"] = header
    for seed in content["seeds"]:
        headers |= {f"{name}_seed_{seed}": f"{HEADERS[name]} seed {seed}" for name in FIGURES}
    rows = [
        {headers.get(key, key): value for key, value in row.items()} for row in flat_rows(content)
    ]
    log_table(root, "benchmark", rows, ("method", NDCG, f"{NDCG} by method"), mode, project)


def markdown(content: Mapping[str, Any]) -> str:
    """Three tables, and what their figures must be read with."""
    rows = content["table"]
    if not rows:
        return "no method has finished all seeds yet\n"
    chosen = [
        f"- {row['method']}: {'; '.join(row['chosen'])}" for row in rows if any(row["chosen"])
    ]
    sections = [
        _main_table(rows, content["best_rival"]),
        _parts_table(rows),
        _seeds_table(rows, content["seeds"]),
        "Chosen on the validation tracks, by seed:\n\n" + "\n".join(chosen) if chosen else "",
        "\n".join(_caption(content)),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


def _main_table(rows: Sequence[Mapping[str, Any]], best_rival: str | None) -> str:
    """Means over all seeds, NDCG's interval, and the difference to the best rival."""
    headers = ["method", "input", HEADERS["recall"], NDCG, "95 %", HEADERS["map"]]
    headers += [f"{NDCG} beside {best_rival}", "p", "s"]
    cells = []
    for row in rows:
        difference = row["beside_the_best_rival"]
        cells.append(
            [
                f"**{row['method']}**" if row["kind"] == "model" else row["method"],
                row["input"],
                _number(row["recall"]),
                _number(row["ndcg"]),
                f"{row['ndcg_low']:.3f}–{row['ndcg_high']:.3f}",
                _number(row["map"]),
                _with_interval(difference) if difference else "–",
                f"{difference['p']:.2g}" if difference else "–",
                f"{row['seconds']:,.1f}",
            ]
        )
    return _table(headers, cells)


def _parts_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """NDCG of parts of the candidates, and who is recommended at all."""
    columns = [
        name
        for name in PARTS
        if not name.startswith("recall") and any(row[name] is not None for row in rows)
    ]
    cells = [[row["method"], *(_number(row[name]) for name in columns)] for row in rows]
    return _table(["method", *(HEADERS[name] for name in columns)], cells)


def _seeds_table(rows: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """NDCG of each seed."""
    cells = [
        [row["method"], *(_number(figures["ndcg"]) for figures in row["by_seed"])] for row in rows
    ]
    return _table(["method", *(f"{NDCG}, seed {seed}" for seed in seeds)], cells)


def _caption(content: Mapping[str, Any]) -> list[str]:
    lines = []
    for counts in content["splits"]:
        warm_count = counts.get("warm_candidates")
        warm = f" among {warm_count:,} warm ones" if warm_count else ""
        cold = counts.get("cold_candidates") or counts["candidates"]
        lines.append(
            f"- seed {counts['seed']}: {cold:,} cold candidates{warm} "
            f"({counts['tracks_with_vector']:,} cold ones were played); {counts['users']:,} users "
            f"with a relevant one ({counts['users_without_relevant']:,} without one and "
            f"{counts['users_without_training_listens']:,} without training listens are not "
            f"averaged); {counts['protocol']}"
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


def _with_interval(difference: Mapping[str, float]) -> str:
    return f"{difference['mean']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
