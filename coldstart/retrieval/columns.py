"""The columns of the tracks' table, typed, and conditions over them."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import InputError

_PIECE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[^'\"]+|['\"]")
_DATE = re.compile(r"(?<![\w-])\d{4}-\d{2}(?:-\d{2})?(?![\w-])")
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\b", re.IGNORECASE)


class Condition(NamedTuple):
    """One part of what is asked of tracks.

    Attributes:
        text: as it was written.
        tracks: [N] which tracks fulfil it.
    """

    text: str
    tracks: NDArray[np.bool_]


def with_types(table: pl.DataFrame) -> pl.DataFrame:
    """Columns of text that hold numbers alone become numbers, so that they can be compared.

    Ids, titles, artists and dates stay text, and so do columns in which a number begins with 0: a
    date in the form YYYY-MM-DD is in the right order as text.

    >>> dict(with_types(pl.DataFrame({"bpm": ["120", None], "ean": ["012", "7"]})).schema)
    {'bpm': Float64, 'ean': String}
    """
    fixed = ("track_id", "title", "artist", "artist_id", "release_date", "split")
    numbers = []
    for name in table.columns:
        column = table[name]
        if name in fixed or column.dtype != pl.String:
            continue
        cells = column.drop_nulls().str.strip_chars()
        cells = cells.filter(cells != "")
        if cells.is_empty() or cells.str.contains(r"^[+-]?0\d").any():
            continue
        if cells.cast(pl.Float64, strict=False).is_not_null().all():
            numbers.append(name)
    return table.with_columns(
        pl.col(name).str.strip_chars().cast(pl.Float64, strict=False) for name in numbers
    )


def conditions(where: str, table: pl.DataFrame) -> list[Condition]:
    """Evaluate an SQL condition, and each of the parts that `and` joins.

    It is parsed by polars' SQL, which knows columns, operators and functions of values; nothing is
    evaluated as Python. A date may be written without quotation marks.

    Args:
        where: such as `release_date >= 2026-01-01 and country == 'AT'`.
        table: N tracks.

    Returns:
        The parts, or the whole alone if it can't be divided; together they mean the whole.

    Raises:
        InputError: it can't be parsed, or names no column, or is no condition.

    >>> table = pl.DataFrame({"year": [1999, 2026], "country": ["AT", "AT"]})
    >>> [part.tracks.tolist() for part in conditions("year > 2000 and country = 'AT'", table)]
    [[False, True], [True, True]]
    """
    whole = _evaluate(where, table)
    parts = _AND.split(where)
    if len(parts) < 2 or _BETWEEN.search(where):
        return [Condition(where.strip(), whole)]
    try:
        each = [Condition(part.strip(), _evaluate(part, table)) for part in parts]
    except InputError:  # an `and` inside brackets or quotation marks
        return [Condition(where.strip(), whole)]
    same = np.array_equal(np.logical_and.reduce([part.tracks for part in each]), whole)
    return each if same else [Condition(where.strip(), whole)]


def _evaluate(where: str, table: pl.DataFrame) -> NDArray[np.bool_]:
    """[N] where a condition is fulfilled; not so where a value that it needs is missing."""
    text = "".join(
        piece if piece[0] in "'\"" else _DATE.sub(r"'\g<0>'", piece)
        for piece in _PIECE.findall(where)
    )
    columns = ", ".join(table.columns)
    try:
        result = table.select(pl.sql_expr(text).alias("fulfilled"))["fulfilled"]
    except pl.exceptions.ColumnNotFoundError as error:
        name = str(error).partition('"')[2].partition('"')[0]
        raise InputError(
            f"where: {where!r} names a column {name!r}; the tracks have: {columns}. (Text stands "
            "in single quotation marks: 'AT')"
        ) from error
    except pl.exceptions.PolarsError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"where: {where!r} can't be used ({reason}). It is an SQL condition such as "
            f"\"release_date >= '2026-01-01' and country = 'AT'\"; the tracks have: {columns}"
        ) from error
    if result.dtype != pl.Boolean or len(result) != len(table):
        raise InputError(
            f"where: {where!r} is no condition that a track fulfils or not; write for example "
            "\"release_date >= '2026-01-01'\""
        )
    return np.asarray(result.fill_null(False).to_numpy())
