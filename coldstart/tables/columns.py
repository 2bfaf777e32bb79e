"""Columns that are no attributes: a data-frame library's index, row numbers, ids, times, texts."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.addresses.places import name_of
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.tables.table import MAX_NUMBER, read_table

log = logging.getLogger(__name__)

INDEX_NAMES = ("index", "level_0", "row", "rowid", "row_id", "row_number", "rownum", "rownames")
"""What an index column is called once it has a name."""

FEW_ROWS = 8
"""In a shorter table a sequence of whole numbers may be chance."""

SORTED_ROWS = 20
"""So many different whole numbers are not in order by chance."""

CHANCE = 14.0
"""Expected number of equal pairs; with so many, none at all has a chance below a millionth."""

DATES = {
    "seconds": (5e8, 4.2e9),
    "milliseconds": (5e11, 4.2e12),
    "microseconds": (5e14, 4.2e15),
    "nanoseconds": (5e17, 4.2e18),
}
"""Unit → the numbers since 1970 that are times between 1985 and 2103."""


class ColumnChoice(NamedTuple):
    """What a user says of columns.

    Attributes:
        drop: they are no attributes.
        keep: they are, whatever they look like.
    """

    drop: frozenset[str] = frozenset()
    keep: frozenset[str] = frozenset()


def column_choice(
    drop: str | Sequence[str] | None,
    keep: str | Sequence[str] | None,
    files: Iterable[StrPath],
    names: Mapping[str, str] | None = None,
) -> ColumnChoice:
    """The choice from names, or from text with commas between them.

    Args:
        drop: columns that are no attributes.
        keep: columns that are.
        files: the tables.
        names: what these call their columns, of which `track_id` counts here.

    Raises:
        InputError: a name is in both, or no column of any of these tables.
    """
    choice = ColumnChoice(_names(drop), _names(keep))
    if both := sorted(choice.drop & choice.keep):
        raise InputError(f"column {both[0]!r} is named in --drop-columns and in --keep-columns")
    if not (choice.drop or choice.keep):
        return choice
    ids = {column: name for column, name in (names or {}).items() if column == "track_id"}
    tables = [
        read_table(file, ["track_id"], ids, optional=("track_id",))
        for file in files
        if not name_of(file).lower().endswith(".npy")
    ]
    columns = [name for table in tables for name in _named(table).columns]
    for name in sorted(choice.drop | choice.keep):
        if name == "track_id" or name not in columns:
            flag = "--drop-columns" if name in choice.drop else "--keep-columns"
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"; is it '{near[0]}'?" if near else ""
            raise InputError(
                f"{flag}: no table of attributes or embeddings has a column {name!r} beside "
                f"track_id{hint}"
            )
    return choice


def _names(names: str | Sequence[str] | None) -> frozenset[str]:
    listed = names.split(",") if isinstance(names, str) else names or ()
    return frozenset(str(name).strip() for name in listed) - {""}


def _named(table: pl.DataFrame) -> pl.DataFrame:
    """A name for each column without one: what pandas calls it, by its position."""
    return table.rename(
        {
            name: f"Unnamed: {position}"
            for position, name in enumerate(table.columns)
            if re.fullmatch(r"\s*(_duplicated_\d+)?", name)  # the CSV reader's name for more
        }
    )


def without_index(path: StrPath, table: pl.DataFrame, choice: ColumnChoice) -> pl.DataFrame:
    """The table without the columns that certainly are no attributes, which are logged.

    These are the columns to drop; a column without a name that numbers the rows or is empty; and
    the index that pandas stores in Parquet files.
    """
    table = _named(table)
    reasons = {
        name: reason
        for name in table.columns
        if name not in (*choice.keep, *choice.drop, "track_id")
        and (reason := _index_reason(name, table[name]))
    }
    if reasons:
        log.warning(f"{path}: left out what is no attribute: {_listed(reasons)}")
    return table.drop(*reasons, *(name for name in choice.drop if name in table.columns))


def _index_reason(name: str, column: pl.Series) -> str:
    """Why a column certainly is the index of a data frame; empty if it isn't certain."""
    if re.fullmatch(r"__index_level_\d+__", name):
        return "the index of a data frame"
    if not _without_name(name):
        return ""
    if column.dtype == pl.Null or _empty(column).all():
        return "it has no name and no values"
    if _is_row_number(column):
        return "it has no name and numbers the rows"
    return ""


def _without_name(name: str) -> bool:
    """Whether pandas (`Unnamed: 0`) or R (`...1`) has named it for want of a name."""
    return bool(re.fullmatch(r"Unnamed: \d+(\.\d+)*|\.\.\.\d+", name))


def _empty(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        return column.fill_null("").str.strip_chars() == ""
    return column.is_null()


def _is_row_number(column: pl.Series) -> bool:
    """Whether it counts the rows from 0 or 1."""
    if not (column.dtype == pl.String or column.dtype.is_numeric()):
        return False
    values = column.cast(pl.Float64, strict=False).to_numpy()
    return any(np.array_equal(values, np.arange(first, first + len(values))) for first in (0, 1))


def unreadable_columns(table: pl.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """Column → why it holds no numbers at all: dates, texts, lists."""
    reasons = {name: _unreadable(table[name]) for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def _unreadable(column: pl.Series) -> str:
    dtype = column.dtype
    if dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        good = dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)
        return _too_large(column) if good else f"it holds {dtype}, not numbers"
    texts = column.filter(~_empty(column))
    if len(texts) < 2 or texts.cast(pl.Float64, strict=False).is_not_null().any():
        return _too_large(texts)  # a few wrong cells are named one by one
    return f"it holds text, such as {texts[0]!r}, not numbers"


def _too_large(column: pl.Series) -> str:
    """Nanoseconds since 1970 are larger than any attribute may be."""
    values = column.cast(pl.Float64, strict=False).drop_nulls().to_numpy()
    return _date(values) if len(values) and values.min() > MAX_NUMBER else ""


def doubtful_columns(
    values: Mapping[str, NDArray[np.float64]], choice: ColumnChoice
) -> dict[str, str]:
    """Column → why it may be no attribute, without those that the user keeps.

    Only whole numbers are suspicious: those of an index's or an id's name, those that count the
    rows or are in order row by row, those of which no two are equal where chance would make many
    equal, and those that are times. See docs/data.md.
    """
    reasons = {
        name: _doubt(name, column) for name, column in values.items() if name not in choice.keep
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _doubt(name: str, values: NDArray[np.float64]) -> str:
    if _without_name(name):
        return "it has no name"
    if date := _date(values):
        return date
    if not len(values) or (values != np.round(values)).any():
        return ""
    unique = len(np.unique(values)) == len(values)
    if name.lower() in INDEX_NAMES and unique:
        return "its name is that of an index"
    if re.search(r"(?i:(^|[\W_])(id|ids|uuid|guid))\s*$|[a-z]I[dD]\s*$", name):
        return "its name is that of an id"
    if not unique or len(values) < FEW_ROWS:
        return ""
    steps = np.diff(values)
    if (steps == steps[0]).all():
        return "it counts the rows"
    span = float(np.ptp(values)) + 1
    if span == len(values):
        return "it numbers the rows, in another order"
    if len(values) >= SORTED_ROWS and ((steps > 0).all() or (steps < 0).all()):
        return "whole numbers in the order of the rows, like an id or a time"
    if len(values) * (len(values) - 1) / (2 * span) > CHANCE:
        return f"{len(values):,} whole numbers within {span:,.0f}, no two equal, like an id"
    return ""


def _date(values: NDArray[np.float64]) -> str:
    """Whether all values are times since 1970, or dates written as YYYYMMDD."""
    for unit, (first, last) in DATES.items():
        if len(values) and values.min() >= first and values.max() <= last:
            return f"its numbers look like {unit} since 1970"
    whole = (values == np.round(values)).all()
    if len(values) and whole and values.min() >= 19000101 and values.max() <= 21001231:
        day, month = values % 100, values // 100 % 100
        if ((day >= 1) & (day <= 31) & (month >= 1) & (month <= 12)).all():
            return "its numbers look like dates (YYYYMMDD)"
    return ""


def refuse_columns(
    path: StrPath, unreadable: Mapping[str, str], doubtful: Mapping[str, str]
) -> None:
    """Raise InputError about columns of which only the user can say what they are, if any."""
    if not (unreadable or doubtful):
        return
    reasons = {**unreadable, **doubtful}
    keep = f"; what is an attribute all the same: --keep-columns {_flag(doubtful)}"
    raise InputError(
        f"{path}: {_listed(reasons)}. Leave out what is no attribute: --drop-columns "
        f"{_flag(reasons)}{keep if doubtful else ''}"
    )


def _listed(reasons: Mapping[str, str]) -> str:
    shown = [f"column {name!r} ({reason})" for name, reason in list(reasons.items())[:10]]
    return ", ".join(shown) + (f" and {len(reasons) - 10} more" if len(reasons) > 10 else "")


def _flag(names: Iterable[Any]) -> str:
    """Names as a shell reads them."""
    text = ",".join(map(str, names))
    return text if re.fullmatch(r"[\w,.-]+", text) else '"' + text.replace('"', '\\"') + '"'
