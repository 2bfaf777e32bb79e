"""The results of a test: a method's figures for every user → a row → tables and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tabulate import tabulate
from torch import Tensor

from coldstart.errors import InputError
from coldstart.evaluation.exposure import Exposure, exposure
from coldstart.evaluation.metrics import MAP_K, K, Scored, means, relevant_by_part
from coldstart.evaluation.tasks import Task
from coldstart.factors.sparsity import factors_to_spare
from coldstart.files import StrPath, write_json
from coldstart.tables.table import write_table

CHANCE = 0.5
"""Where a random order has so much of a figure, the figure says little."""

REPEATS = 5
"""Shuffled content is a mean over this many draws."""


class Row(NamedTuple):
    """One method's figures; None where a figure makes no sense.

    The field names are the keys of a row in results.json and the columns of results.csv; k and
    map_k stand beside the rows. Low and high are the ends of the bootstrap's 95 % interval over
    users. Head, middle and tail, or cold and warm, count only this part of the candidates as
    relevant; coverage, gini and new_share describe the users' first 20.
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
    return headers | more


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
    write_table(Path(folder) / f"{name}.csv", pl.DataFrame(flat, infer_schema_length=None))


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
    """

    method: str
    input: str
    cosine: float | None
    by_user: Tensor
    parts: Tensor
    exposure: Exposure

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
        return cls(method, input, cosine, scored.by_user, scored.parts, spread)


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
    """Means over the users, None of nobody; in a part, over those with something relevant there."""
    of_parts = line.parts.double().nanmean(2).tolist()
    inside = {
        f"{figure}_{part}": value if value == value else None  # NaN: nobody
        for part, values in zip(parts, of_parts, strict=True)
        for figure, value in zip(("recall", "ndcg"), values, strict=True)
    }
    others: dict[str, Any] = {**inside, **line.exposure._asdict()}
    of_users = [value if value == value else None for value in means(line.by_user)]
    return Row(line.method, line.input, line.cosine, *of_users, **others)


MAIN = ("method", "input", "cosine", "recall", "ndcg", "map")
"""Columns of the first table."""

PARTS = ("ndcg_head", "ndcg_middle", "ndcg_tail", "ndcg_cold", "ndcg_warm")

SPREAD = ("method", "input", *PARTS, "new_share", "coverage", "gini")
"""Columns of the second table."""

RANKED_BY = {
    "ensemble": "dot product, cold ones so that equal scores say the same",
    "unit": "cosine",
    "typical": "dot product, cold ones of a typical length",
    "own": "dot product",
}
"""`lengths` of mixed candidates → what ranks them, in words."""


def table(rows: list[Row], form: str = "github") -> str:
    """The rows as a Markdown table, without columns that are empty throughout.

    Of the intervals, NDCG's; results.json has the others too.
    """
    columns = _filled(rows, MAIN)
    headers = [HEADERS[name] for name in columns]
    cells = [[getattr(row, name) for name in columns] for row in rows]
    if any(row.ndcg_low is not None for row in rows):
        after_ndcg = columns.index("ndcg") + 1
        headers.insert(after_ndcg, "95 %")
        for row, cells_of_row in zip(rows, cells, strict=True):
            cells_of_row.insert(after_ndcg, f"{row.ndcg_low:.3f}–{row.ndcg_high:.3f}")
    return tabulate(cells, headers=headers, tablefmt=form, floatfmt=".3f", missingval="–")


def spread_table(rows: list[Row], form: str = "github") -> str:
    """A second table: by parts of the candidates, and who is recommended at all."""
    columns = _filled(rows, SPREAD)
    cells = [[getattr(row, name) for name in columns] for row in rows]
    headers = [HEADERS[name] for name in columns]
    return tabulate(cells, headers=headers, tablefmt=form, floatfmt=".3f", missingval="–")


def _filled(rows: list[Row], names: Sequence[str]) -> list[str]:
    """The columns that are not empty throughout."""
    return [name for name in names if any(getattr(row, name) is not None for row in rows)]


def caption(about: dict[str, Any]) -> str:
    """The text under the first table: what its figures must be read with."""
    left_out = f"{about['users_without_relevant']:,} without one"
    if about["users_without_training_listens"]:
        left_out += f" and {about['users_without_training_listens']:,} without training listens"
    tracks = f"{about.get('cold_candidates', about['candidates']):,} cold candidates"
    if "warm_candidates" in about:
        tracks += f" among {about['warm_candidates']:,} warm ones, by {RANKED_BY[about['lengths']]}"
    if about["tracks_nothing_known"]:
        tracks += f" ({about['tracks_nothing_known']:,} have none of the model's inputs)"
    return (
        f"{_notes(about)}{_comparison(about['beside_the_best_rival'])}"
        f"{tracks}; {about['users']:,} users with a relevant one "
        f"({left_out} are not averaged);\n"
        f"cosine distance over the {about['tracks_with_vector']:,} candidates that were played, to "
        f"{about['yardstick']};\n"
        f"{about['protocol']}; shuffled: mean of {REPEATS} draws; seed {about['seed']}"
    )


def chance_of(rows: Sequence[Row]) -> dict[str, float]:
    """The figures of which a random order has half or more, for there are so few candidates."""
    floor = next((row for row in rows if row.method == "random"), None)
    figures = {name: getattr(floor, name, None) for name in ("recall", "ndcg", "map")}
    return {name: value for name, value in figures.items() if value and value >= CHANCE}


def _notes(about: Mapping[str, Any]) -> str:
    """What makes the figures say little, a line each."""
    notes = []
    if chance := about.get("chance"):
        figures = " and ".join(f"{HEADERS[name]} {value:.3f}" for name, value in chance.items())
        notes.append(
            f"chance alone, a random order, has {figures} with these {about['candidates']:,} "
            "candidates: such figures say little; test on more tracks"
        )
    factors = about.get("factors", {})
    if "tracks_factorised" in factors:
        users = factors["users"] - factors.get("users_without_training_listens", 0)
        notes.append(factors_to_spare(factors["tracks_factorised"], users, factors["factors"]))
    return "".join(f"note: {note}\n" for note in notes if note)


def _comparison(beside: dict[str, Any] | None) -> str:
    """The model beside the best rival, in a line of its own; empty without users."""
    if beside is None:
        return ""
    chance = f", p = {beside['p']:.2g} by flipping signs" if "p" in beside else ""
    return (
        f"{HEADERS[beside['figure']]} beside {beside['rival']}: {beside['mean']:+.3f}, "
        f"95 % {beside['low']:+.3f} to {beside['high']:+.3f} (bootstrap over users, paired"
        f"{chance}; this split and seed alone)\n"
    )


def spread_caption(about: dict[str, Any]) -> str:
    """The text under the second table."""
    parts = about["parts"]
    text = ", ".join(
        f"{name} {part['candidates']:,} candidates ({part['users']:,} users)"
        for name, part in parts.items()
    )
    if "head" in parts:
        text += ": the most played third of the candidates' listens, the next, the last"
    else:
        text += "; a user's own training listens are left out of the ranking"
    new = f"new: share of cold ones among users' first {K}; " if "warm" in parts else ""
    if numbers := about.get("ensemble"):
        new = (
            f"{numbers['ahead']:.2f} of a known track's plays are taken to be still to come: "
            f"scores of new tracks × {numbers['length']:.2f} {numbers['offset']:+.2f};\n{new}"
        )
    return (
        f"{text};\n{new}"
        f"coverage: share of the candidates among some user's first {K}; Gini: 0 if all are there "
        f"equally often"
    )
