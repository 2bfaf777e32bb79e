"""The results of a test: a method's figures for every user → a row → tables and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tabulate import tabulate
from torch import Tensor

from coldstart.evaluation.exposure import Exposure, exposure
from coldstart.evaluation.metrics import MAP_K, K, Scored, means, relevant_by_part
from coldstart.evaluation.tasks import Task
from coldstart.files import StrPath, write_json
from coldstart.tables import write_table


class Line(NamedTuple):
    """What a row is made of.

    Attributes:
        method: what ranked.
        input: what it knew.
        cosine: mean distance, if it predicts vectors.
        by_user: [3, U] Recall, NDCG and average precision of each user.
        parts: [P, 2, U] Recall and NDCG within each part of the candidates; NaN: none there.
        exposure: how the users' first k spread over the candidates.
    """

    method: str
    input: str
    cosine: float | None
    by_user: Tensor
    parts: Tensor
    exposure: Exposure

    @classmethod
    def of(cls, method: str, input: str, cosine: float | None, scored: Scored) -> Line:
        """From what ranking gave."""
        spread = exposure(scored.exposure)
        return cls(method, input, cosine, scored.by_user, scored.parts, spread)


def mean_line(method: str, lines: list[Line]) -> Line:
    """Of several draws."""
    distances = [line.cosine for line in lines if line.cosine is not None]

    def mean(numbers: list[float | None]) -> float | None:
        there = [number for number in numbers if number is not None]
        return float(np.mean(there)) if there else None

    return Line(
        method,
        lines[0].input,
        float(np.mean(distances)),
        torch.stack([line.by_user for line in lines]).mean(0),
        torch.stack([line.parts for line in lines]).mean(0),
        Exposure(
            mean([line.exposure.coverage for line in lines]),
            mean([line.exposure.gini for line in lines]),
        ),
    )


def part_counts(task: Task) -> dict[str, dict[str, int]]:
    """How many candidates each part has, and how many users find something relevant in it."""
    users = (relevant_by_part(task.relevant, task.part, len(task.parts)) > 0).sum(1)
    return {
        name: {"candidates": int((task.part == number).sum()), "users": int(users[number])}
        for number, name in enumerate(task.parts)
    }


def by_user_table(lines: list[Line], user_ids: list[str]) -> pl.DataFrame:
    """See `Evaluation`."""
    return pl.concat(
        pl.DataFrame(
            {
                "user_id": pl.Series(user_ids, dtype=pl.String),
                "method": pl.Series([line.method.split(" (")[0]] * len(user_ids), dtype=pl.String),
                **dict(zip(("recall", "ndcg", "map"), line.by_user.float().numpy(), strict=True)),
            }
        )
        for line in lines
    )


def row_of(line: Line, parts: tuple[str, ...]) -> Row:
    """Means over the users; in a part, over those who have something relevant there."""
    of_parts = line.parts.double().nanmean(2).tolist()
    inside = {
        f"{figure}_{part}": value if value == value else None  # NaN: nobody
        for part, values in zip(parts, of_parts, strict=True)
        for figure, value in zip(("recall", "ndcg"), values, strict=True)
    }
    more: dict[str, Any] = {**inside, **line.exposure._asdict()}
    made = Row(line.method, line.input, line.cosine, *means(line.by_user))
    return made._replace(**more)


REPEATS = 5
"""Shuffled content is a mean over this many draws."""


class Row(NamedTuple):
    """One line of the results: a method and its figures; None where one makes no sense.

    Low and high are the ends of the bootstrap's 95 % interval over users. Head, middle and tail,
    or cold and warm, count a part of the candidates as relevant; coverage and gini are of what is
    among the users' first 20.
    """

    method: str
    input: str
    cosine: float | None
    recall: float | None
    ndcg: float | None
    map: float | None
    recall_low: float | None = None
    recall_high: float | None = None
    ndcg_low: float | None = None
    ndcg_high: float | None = None
    map_low: float | None = None
    map_high: float | None = None
    recall_head: float | None = None
    recall_middle: float | None = None
    recall_tail: float | None = None
    ndcg_head: float | None = None
    ndcg_middle: float | None = None
    ndcg_tail: float | None = None
    recall_cold: float | None = None
    recall_warm: float | None = None
    ndcg_cold: float | None = None
    ndcg_warm: float | None = None
    coverage: float | None = None
    gini: float | None = None


HEADERS = {
    "method": "method",
    "input": "input",
    "cosine": "cosine distance",
    "recall": f"Recall@{K}",
    "ndcg": f"NDCG@{K}",
    "map": f"MAP@{MAP_K}",
}
HEADERS |= {
    f"{name}_{end}": f"{HEADERS[name]} {end}"
    for name in ("recall", "ndcg", "map")
    for end in ("low", "high")
}
HEADERS |= {
    f"{name}_{part}": f"{HEADERS[name]} {part}"
    for parts in (("head", "middle", "tail"), ("cold", "warm"))
    for name in ("recall", "ndcg")
    for part in parts
}
HEADERS |= {"coverage": f"coverage@{K}", "gini": f"Gini@{K}"}

MAIN = ("method", "input", "cosine", "recall", "ndcg", "map")


PARTS = ("ndcg_head", "ndcg_middle", "ndcg_tail", "ndcg_cold", "ndcg_warm")


SPREAD = ("method", "input", *PARTS, "coverage", "gini")


RANKED_BY = {
    "unit": "cosine",
    "typical": "dot product, cold ones of a typical length",
    "own": "dot product",
}


def table(rows: list[Row], form: str = "github") -> str:
    """The rows as a Markdown table, without columns that are empty throughout.

    Of the intervals, NDCG's; results.json has the others too.
    """
    keep = _filled(rows, MAIN)
    headers = [HEADERS[name] for name in keep]
    cells = [[getattr(row, name) for name in keep] for row in rows]
    if any(row.ndcg_low is not None for row in rows):
        at = keep.index("ndcg") + 1
        headers.insert(at, "95 %")
        for row, cell in zip(rows, cells, strict=True):
            cell.insert(at, f"{row.ndcg_low:.3f}–{row.ndcg_high:.3f}")
    return tabulate(cells, headers=headers, tablefmt=form, floatfmt=".3f", missingval="–")


def spread_table(rows: list[Row], form: str = "github") -> str:
    """A second table: by parts of the candidates, and who is recommended at all."""
    keep = _filled(rows, SPREAD)
    cells = [[getattr(row, name) for name in keep] for row in rows]
    headers = [HEADERS[name] for name in keep]
    return tabulate(cells, headers=headers, tablefmt=form, floatfmt=".3f", missingval="–")


def _filled(rows: list[Row], names: Sequence[str]) -> list[str]:
    """Those columns that are not empty throughout."""
    return [name for name in names if any(getattr(row, name) is not None for row in rows)]


def write_results(
    folder: StrPath,
    about: dict[str, Any],
    rows: list[Row],
    name: str = "results",
    by_user: pl.DataFrame | None = None,
) -> None:
    """Write results.json (with everything that a figure must be read with) and results.csv.

    With `by_user` also by_user.parquet, or NAME_by_user.parquet beside NAME.json.
    """
    named = [dict(zip(HEADERS.values(), row, strict=True)) for row in rows]
    if by_user is not None:
        write_table(Path(folder) / by_user_name(name), by_user)
    write_json(Path(folder) / f"{name}.json", {**about, "rows": named})
    beside = ("candidates", "users", "tracks_with_vector", "protocol", "seed")
    shared = {key: about[key] for key in beside}
    flat = [{**row, **shared} for row in named]
    write_table(Path(folder) / f"{name}.csv", pl.DataFrame(flat, infer_schema_length=None))


def by_user_name(name: str = "results") -> str:
    """The file of the figures of each user, beside NAME.json.

    >>> by_user_name(), by_user_name("results_without_genres")
    ('by_user.parquet', 'results_without_genres_by_user.parquet')
    """
    return "by_user.parquet" if name == "results" else f"{name}_by_user.parquet"


def caption(about: dict[str, Any]) -> str:
    """What stands beside the table."""
    left_out = f"{about['users_without_relevant']:,} without one"
    if about["users_without_training_listens"]:
        left_out += f" and {about['users_without_training_listens']:,} without training listens"
    tracks = f"{about.get('cold_candidates', about['candidates']):,} cold candidates"
    if "warm_candidates" in about:
        tracks += f" among {about['warm_candidates']:,} warm ones, by {RANKED_BY[about['lengths']]}"
    if about["tracks_nothing_known"]:
        tracks += f" ({about['tracks_nothing_known']:,} have none of the model's inputs)"
    beside = about["beside_the_best_rival"]
    chance = f", p = {beside['p']:.2g} by flipping signs" if beside and "p" in beside else ""
    compared = (
        f"{beside['figure']} beside {beside['rival']}: {beside['mean']:+.3f}, "
        f"95 % {beside['low']:+.3f} to {beside['high']:+.3f} (bootstrap over users, paired"
        f"{chance}; this split and seed alone)\n"
        if beside
        else ""
    )
    return (
        f"{compared}{tracks}; {about['users']:,} users with a relevant one "
        f"({left_out} are not averaged);\n"
        f"cosine distance over the {about['tracks_with_vector']:,} candidates that were played, to "
        f"{about['yardstick']};\n"
        f"{about['protocol']}; shuffled: mean of {REPEATS} draws; seed {about['seed']}"
    )


def spread_caption(about: dict[str, Any]) -> str:
    """What stands beside the second table."""
    parts = about["parts"]
    told = ", ".join(
        f"{name} {part['candidates']:,} candidates ({part['users']:,} users)"
        for name, part in parts.items()
    )
    if "head" in parts:
        told += ": the most played third of the candidates' listens, the next, the last"
    else:
        told += "; a user's own training listens are left out of the ranking"
    return (
        f"{told};\n"
        f"coverage: share of the candidates among some user's first {K}; Gini: 0 if all are there "
        f"equally often"
    )
