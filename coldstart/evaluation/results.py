"""The results of a test: a method's figures for every user → a row → tables and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
import torch
from torch import Tensor

from coldstart.errors import InputError
from coldstart.evaluation.exposure import Exposure, exposure
from coldstart.evaluation.lists import ListFigures, mean_figures
from coldstart.evaluation.metrics import MAP_K, K, Scored, means, relevant_by_part
from coldstart.evaluation.tasks import Task
from coldstart.files import StrPath, write_json
from coldstart.tables.table import write_table

CHANCE = 0.5
"""Where a random order has so much of a figure, the figure says little."""

DECIMALS = 6
"""Of a CSV for people; results.json has all digits."""

FEW_USERS = 10
"""With fewer, intervals and p-values over users say nothing."""

REPEATS = 5
"""Shuffled content is a mean over this many draws."""


class Row(NamedTuple):
    """One method's figures; None where a figure makes no sense.

    The field names are the keys of a row in results.json and the columns of results.csv; k and
    map_k stand beside the rows. Low and high are the ends of the bootstrap's 95 % interval over
    users. Head, middle and tail, or cold and warm, count only this part of the candidates as
    relevant; coverage, gini and new_share describe the users' first 20, and so do the last five,
    see `ListFigures`.
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
    new_share: float | None = None
    novelty: float | None = None
    popularity: float | None = None
    diversity: float | None = None
    miscalibration: float | None = None
    serendipity: float | None = None


def _headers(k: int, map_k: int) -> dict[str, str]:
    """Field of `Row` → header of a table's column, in the order of the fields."""
    figures = {"recall": f"Recall@{k}", "ndcg": f"NDCG@{k}", "map": f"MAP@{map_k}"}
    headers = {"method": "method", "input": "input", "cosine": "cosine distance", **figures}
    for name, header in figures.items():
        for end in ("low", "high"):
            headers[f"{name}_{end}"] = f"{header} {end}"
    for parts in (("head", "middle", "tail"), ("cold", "warm")):
        for name in ("recall", "ndcg"):
            for part in parts:
                headers[f"{name}_{part}"] = f"{figures[name]} {part}"
    more = {"coverage": f"coverage@{k}", "gini": f"Gini@{k}", "new_share": f"new@{k}"}
    lists = {name: f"{name}@{k}" for name in ListFigures._fields}
    return headers | more | lists


HEADERS = _headers(K, MAP_K)
"""Field of `Row` → header of a table's column."""

_FIELD_OF_HEADER = {header: name for name, header in _headers(20, 500).items()}
"""Earlier files have headers as keys, always with these cut-offs."""


class Results(NamedTuple):
    """What a test wrote to results.json.

    Attributes:
        about: all but the rows: k, candidates, users, tracks, seeds and whatever else the figures
            must be read with.
        rows: the model's own first; empty for a model that doesn't predict factors.
    """

    about: dict[str, Any]
    rows: list[Row]


def read_results(path: StrPath) -> Results:
    """Read a results.json, of this version or of an earlier one.

    Raises:
        InputError: no such file, or it doesn't hold the results of a test.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there are no results; `coldstart test --run RUN` writes them")
    try:
        return results_of(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:  # InputError is a ValueError
        raise InputError(f"{path}: not readable as results ({error})") from error


def results_of(content: Mapping[str, Any]) -> Results:
    """Results from the content of a results.json, as `coldstart.test` returns it.

    Raises:
        InputError: it doesn't hold the results of a test.

    >>> results_of({"k": 20, "rows": [{"method": "ridge", "input": "mgp", "cosine distance": 0.5,
    ...     "Recall@20": 0.1, "NDCG@20": 0.2, "MAP@500": 0.3}]}).rows[0].ndcg
    0.2
    """
    try:
        about = {key: value for key, value in content.items() if key != "rows"}
        rows = [
            Row(**{_FIELD_OF_HEADER.get(key, key): value for key, value in row.items()})
            for row in content.get("rows", [])
        ]
        if comparison := about.get("beside_the_best_rival"):
            figure = _FIELD_OF_HEADER.get(comparison["figure"], comparison["figure"])
            about["beside_the_best_rival"] = {**comparison, "figure": figure}
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(f"these are no results of a test ({error!r})") from error
    return Results(about, rows)


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
    records = [row._asdict() for row in rows]
    if by_user is not None:
        write_table(Path(folder) / by_user_name(name), by_user)
    write_json(Path(folder) / f"{name}.json", {**about, "rows": records})
    columns = ("candidates", "users", "tracks_with_vector", "protocol", "seed")
    shared = {key: about[key] for key in columns}
    flat = [{**record, **shared} for record in records]
    table = pl.DataFrame(flat, infer_schema_length=None)
    write_table(Path(folder) / f"{name}.csv", table.with_columns(cs.float().round(DECIMALS)))


def by_user_name(name: str = "results") -> str:
    """The file of the figures of each user, beside NAME.json.

    >>> by_user_name(), by_user_name("results_without_genres")
    ('by_user.parquet', 'results_without_genres_by_user.parquet')
    """
    return "by_user.parquet" if name == "results" else f"{name}_by_user.parquet"


class Line(NamedTuple):
    """One method's figures of every user, from which its row is computed.

    Attributes:
        method: what ranked.
        input: what it read.
        cosine: mean distance, if it predicts vectors.
        by_user: [3, U] Recall, NDCG and average precision of each user.
        parts: [P, 2, U] Recall and NDCG within each part of the candidates; NaN: none there.
        exposure: how the users' first k spread over the candidates.
        lists: [5, U] or [0, U], as in `Scored`.
    """

    method: str
    input: str
    cosine: float | None
    by_user: Tensor
    parts: Tensor
    exposure: Exposure
    lists: Tensor

    @classmethod
    def of(
        cls,
        method: str,
        input: str,
        cosine: float | None,
        scored: Scored,
        cold: int | None = None,
    ) -> Line:
        """From the output of a ranking; `cold` as in `exposure`."""
        spread = exposure(scored.exposure, cold)
        return cls(method, input, cosine, scored.by_user, scored.parts, spread, scored.lists)


def mean_line(method: str, lines: list[Line]) -> Line:
    """The mean of several draws' figures, user by user."""
    return Line(
        method,
        lines[0].input,
        _mean([line.cosine for line in lines]),
        torch.stack([line.by_user for line in lines]).mean(0),
        torch.stack([line.parts for line in lines]).mean(0),
        Exposure(
            _mean([line.exposure.coverage for line in lines]),
            _mean([line.exposure.gini for line in lines]),
            _mean([line.exposure.new_share for line in lines]),
        ),
        torch.stack([line.lists for line in lines]).mean(0),
    )


def _mean(numbers: list[float | None]) -> float | None:
    """Of those that are not None."""
    present = [number for number in numbers if number is not None]
    return float(np.mean(present)) if present else None


def part_counts(task: Task) -> dict[str, dict[str, int]]:
    """How many candidates each part has, and how many users find something relevant in it."""
    users = (relevant_by_part(task.relevant, task.part, len(task.parts)) > 0).sum(1)
    return {
        name: {"candidates": int((task.part == number).sum()), "users": int(users[number])}
        for number, name in enumerate(task.parts)
    }


def plain_method(method: str) -> str:
    """A method without the settings that a rival has chosen.

    >>> plain_method("ridge (λ = 10)")
    'ridge'
    """
    return method.split(" (")[0]


def by_user_table(lines: list[Line], user_ids: list[str]) -> pl.DataFrame:
    """See `Evaluation`."""
    return pl.concat(
        pl.DataFrame(
            {
                "user_id": pl.Series(user_ids, dtype=pl.String),
                "method": pl.Series([plain_method(line.method)] * len(user_ids), dtype=pl.String),
                **dict(zip(("recall", "ndcg", "map"), line.by_user.float().numpy(), strict=True)),
            }
        )
        for line in lines
    )


def row_of(line: Line, parts: tuple[str, ...]) -> Row:
    """Means over the users, None of nobody; in a part, over those with something relevant there."""
    of_parts = line.parts.double().nanmean(2).tolist()
    inside = {
        f"{figure}_{part}": value if value == value else None  # NaN: nobody
        for part, values in zip(parts, of_parts, strict=True)
        for figure, value in zip(("recall", "ndcg"), values, strict=True)
    }
    of_lists = mean_figures(line.lists)._asdict()
    others: dict[str, Any] = {**inside, **line.exposure._asdict(), **of_lists}
    of_users = [value if value == value else None for value in means(line.by_user)]
    return Row(line.method, line.input, line.cosine, *of_users, **others)


def chance_of(rows: Sequence[Row]) -> dict[str, float]:
    """The figures of which a random order has half or more, for there are so few candidates."""
    floor = next((row for row in rows if row.method == "random"), None)
    figures = {name: getattr(floor, name, None) for name in ("recall", "ndcg", "map")}
    return {name: value for name, value in figures.items() if value and value >= CHANCE}


def too_few(about: Mapping[str, Any]) -> str:
    """Why a test doesn't tell which of two methods is better; empty where it may.

    Args:
        about: of the results.

    >>> too_few({"users": 3, "candidates": 300})
    '3 users are too few to say which is better'
    """
    if about["users"] < FEW_USERS:
        return f"{about['users']:,} users are too few to say which is better"
    if about.get("chance"):
        return f"{about['candidates']:,} candidates are too few to say which is better"
    return ""
