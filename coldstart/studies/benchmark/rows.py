"""Rows of a benchmark's table: figures of each seed → means, intervals over users, differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch

from coldstart.errors import InputError
from coldstart.evaluation import uncertainty
from coldstart.evaluation.evaluate import OURS
from coldstart.evaluation.lists import ListFigures
from coldstart.evaluation.results import Results, Row, read_results
from coldstart.runs.first_stage import first_stage_of
from coldstart.studies.jobs import FitJob, FunctionJob

FIGURES = ("recall", "ndcg", "map")

PARTS = tuple(
    name
    for name in Row._fields
    if name.rpartition("_")[2] in ("head", "middle", "tail", "cold", "warm", "coverage", "gini")
    or name in ListFigures._fields
)
"""Figures of parts of the candidates, and of who is recommended."""

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


class SeedRow(NamedTuple):
    """A method in one seed.

    Attributes:
        seed: of split, factorisation and fit.
        kind: whether it is a model of the plan, or a rival or floor.
        figures: means over the users, under the method's name in the plan.
        seconds: of training or fitting.
        chosen: what validation chose, in a few words.
        counts: of candidates and users.
        by_user: user_id, recall, ndcg and map of each user.
    """

    seed: int
    kind: Literal["model", "rival"]
    figures: Row
    seconds: float
    chosen: str
    counts: dict[str, Any]
    by_user: pl.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """As results.json has it."""
        figures = {name: getattr(self.figures, name) for name in (*FIGURES, *PARTS)}
        return {
            "seed": self.seed,
            "method": self.figures.method,
            "input": self.figures.input,
            **figures,
            "kind": self.kind,
            "seconds": self.seconds,
            "chosen": self.chosen,
        }


class MethodRow(NamedTuple):
    """A method over all seeds.

    Attributes:
        kind: whether it is a model of the plan, or a rival or floor.
        figures: means over users and seeds, and intervals over users; without cosine distances,
            as each factorisation has its own.
        seconds: mean over seeds.
        by_seed: recall, ndcg and map in each.
        chosen: what validation chose in each.
        difference: of NDCG to the best rival's.
    """

    kind: Literal["model", "rival"]
    figures: Row
    seconds: float
    by_seed: list[dict[str, float]]
    chosen: list[str]
    difference: uncertainty.Difference | None

    def as_dict(self) -> dict[str, Any]:
        """As results.json has it."""
        figures = {
            name: value
            for name, value in self.figures._asdict().items()
            if name not in ("method", "input", "cosine")
        }
        return {
            "method": self.figures.method,
            "kind": self.kind,
            "input": self.figures.input,
            **figures,
            "seconds": self.seconds,
            "by_seed": self.by_seed,
            "chosen": self.chosen,
            "beside_the_best_rival": self.difference._asdict() if self.difference else None,
        }


def model_row(job: FitJob) -> SeedRow:
    """The row of a model in one seed, from its finished job."""
    results = job.results()
    (own,) = [row for row in results.rows if row.method == OURS]
    return SeedRow(
        seed=job.about["seed"],
        kind="model",
        figures=own._replace(method=job.about["model"]),
        seconds=_training_seconds(job),
        chosen="",
        counts=_counts(results),
        by_user=_by_user(job.folder, OURS),
    )


def rival_rows(job: FunctionJob) -> list[SeedRow]:
    """The rows of rivals in one seed, from their finished job."""
    results = read_results(job.folder / "results.json")
    return [
        SeedRow(
            seed=job.about["seed"],
            kind="rival",
            figures=row,
            seconds=results.about["seconds"][row.method],
            chosen=results.about["chosen"][row.method],
            counts=_counts(results),
            by_user=_by_user(job.folder, row.method),
        )
        for row in results.rows
    ]


def check_same_task(seed: int, rows: Sequence[SeedRow]) -> None:
    """All methods of a seed must have ranked the same candidates for the same users.

    Raises:
        InputError: they haven't, or nobody has a relevant candidate.
    """
    methods_of_task: dict[tuple[int, int], list[str]] = {}
    for row in rows:
        candidates, users = row.counts["candidates"], row.counts["users"]
        if not users:
            raise InputError(
                f"seed {seed}: no user with training listens has played any of the "
                f"{candidates:,} candidates, so there is nothing to measure"
            )
        methods_of_task.setdefault((candidates, users), []).append(row.figures.method)
    if len(methods_of_task) > 1:
        tasks = "; ".join(
            f"{', '.join(methods)}: {candidates:,} candidates, {users:,} users"
            for (candidates, users), methods in methods_of_task.items()
        )
        raise InputError(
            f"seed {seed}: methods ranked different tracks, so one table can't hold them "
            f"({tasks}). A model sees only tracks that have its inputs: keep tracks that have all "
            "of them"
        )


def method_rows(by_method: Mapping[str, Sequence[SeedRow]]) -> tuple[list[MethodRow], str | None]:
    """Means over seeds, intervals over users, and differences to the best rival.

    Args:
        by_method: at least one; of each the rows of all seeds, in the same order.

    Returns:
        The rows, the highest NDCG first; and the best rival's name, None without a rival.
    """
    methods = list(by_method)
    pooled = {figure: _pooled(by_method, figure) for figure in FIGURES}
    rivals = [i for i, rows in enumerate(by_method.values()) if rows[0].kind == "rival"]
    best = max(rivals, key=lambda i: float(pooled["ndcg"].mean[i]), default=None)
    table = []
    for i, (method, rows) in enumerate(by_method.items()):
        figures: dict[str, float | None] = {}
        for name in FIGURES:
            low, high = pooled[name].interval(i)
            mean = float(pooled[name].mean[i])
            figures |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        for name in PARTS:
            figures[name] = _mean([getattr(row.figures, name) for row in rows])
        table.append(
            MethodRow(
                kind=rows[0].kind,
                figures=Row(method, rows[0].figures.input, cosine=None, **figures),
                seconds=float(np.mean([row.seconds for row in rows])),
                by_seed=[{name: getattr(row.figures, name) for name in FIGURES} for row in rows],
                chosen=[row.chosen for row in rows],
                difference=(
                    None if best is None or i == best else pooled["ndcg"].difference(i, best)
                ),
            )
        )
    table.sort(key=lambda row: -(row.figures.ndcg or 0.0))
    return table, None if best is None else methods[best]


def _pooled(by_method: Mapping[str, Sequence[SeedRow]], figure: str) -> uncertainty.Pooled:
    """A figure of all methods and users, over all seeds."""
    ids, by_user = [], []
    for rows in zip(*by_method.values(), strict=True):  # of one seed
        ids.append(rows[0].by_user["user_id"].to_list())
        by_user.append(torch.stack([_of_users(row.by_user, ids[-1], figure) for row in rows]))
    return uncertainty.pooled(ids, by_user)


def _of_users(by_user: pl.DataFrame, ids: Sequence[str], figure: str) -> torch.Tensor:
    """[U] in the order of the ids."""
    values = dict(zip(by_user["user_id"].to_list(), by_user[figure].to_list(), strict=True))
    return torch.tensor([values[user] for user in ids])


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _counts(results: Results) -> dict[str, Any]:
    return {key: results.about[key] for key in COUNTS if key in results.about}


def _by_user(folder: Path, method: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "by_user.parquet").filter(method=method)


def _training_seconds(job: FitJob) -> float:
    """Training seconds, those of a first stage too."""
    folders = [job.folder]
    for stage in first_stage_of(job.folder).values():
        folders += map(Path, stage.runs)
    reports = [json.loads((folder / "fit.json").read_bytes()) for folder in folders]
    return float(sum(report["seconds"] for report in reports))
