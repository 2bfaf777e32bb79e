"""Listening logs: a row a play, or plays or ratings of each user and track; and their times."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import NamedTuple

import polars as pl

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath
from coldstart.tables.column_names import ColumnNames, column_names
from coldstart.tables.durations import (
    UNITS,
    duration_column,
    leave_out_short,
    refuse_durations,
)
from coldstart.tables.plays import (
    MAX_PLAYS,
    numeric_columns,
    refuse_counts,
    report_events,
    report_plays,
)
from coldstart.tables.table import Checker, read_table
from coldstart.tables.times import ends_of, instants, period_of

logger = logging.getLogger(__name__)

LISTEN_COLUMNS = ("user_id", "track_id", "plays", "rating", "timestamp", *UNITS)
"""The columns of a log that are read, under whatever names."""


class LogRows(NamedTuple):
    """The rows of a log, checked.

    Attributes:
        table: user_id, track_id, the value, and `timestamp` if it was asked for.
        others: columns that weren't read, and hold numbers.
        is_counted: whether the table has the value; otherwise each row is one play.
        period: the first and the last time.
    """

    table: pl.DataFrame
    others: list[str]
    is_counted: bool
    period: tuple[datetime, datetime] | None


class LogTables(NamedTuple):
    """What is read from a log.

    Attributes:
        pairs: a row each pair of user and track: user_id, track_id, and the value.
        before: the same of the rows before a day alone; None if none was asked for.
        period: the first and the last time; None if the log has none that can be read.
    """

    pairs: pl.DataFrame
    before: pl.DataFrame | None
    period: tuple[datetime, datetime] | None


def read_listens(
    path: StrPath,
    value: str = "plays",
    broken: Broken | None = None,
    columns: ColumnNames = None,
    min_seconds: float = 0.0,
) -> pl.DataFrame:
    """Read a listening log: `user_id`, `track_id` and `value`; the result has one row a pair.

    Several rows of one pair are added up (ratings: averaged). Without a column `plays` each row
    counts as one play. Rows of 0 plays are dropped: they are no listens.

    Args:
        path: a table (see `read_table`) with `user_id`, `track_id` and `value`.
        value: `plays` (counts, 1 to 10 million), or `rating` (any finite number).
        broken: collects broken rows; without it the first one raises.
        columns: what the table calls them: `user_id=uid,plays=cnt`, or a mapping. `plays=` says
            that no column holds counts.
        min_seconds: rows of shorter plays are left out, by the column `seconds` or `milliseconds`
            (see `duration_column`).

    Returns:
        Table of user_id (text), track_id (text), `value` (float64), sorted by both ids.
    """
    return read_log(path, value, broken, columns, min_seconds).pairs


def read_log(
    path: StrPath,
    value: str = "plays",
    broken: Broken | None = None,
    columns: ColumnNames = None,
    min_seconds: float = 0.0,
    day: date | None = None,
) -> LogTables:
    """Read a listening log as `read_listens`, with its times.

    Args:
        path: as there, and so the others.
        value: see there.
        broken: see there.
        columns: see there.
        min_seconds: see there.
        day: the log's column `timestamp` (whatever `coldstart.tables.times.instants` reads) tells
            which rows are from before this day, in UTC.

    Raises:
        InputError: as `read_listens`; with a day, no column `timestamp`, or no listen before it.
    """
    rows = _rows(path, value, broken, columns, min_seconds, ("timestamp",) if day else ())
    pairs = _pairs(path, rows.table, value)
    _report(path, rows, pairs, value)
    if day is None:
        return LogTables(pairs, None, rows.period)
    midnight = datetime.combine(day, time(), UTC)
    before = rows.table.filter(pl.col("timestamp") < midnight)
    if before.is_empty():
        raise InputError(f"{path}: no listen is from before {day}")
    return LogTables(pairs, _pairs(path, before, value), rows.period)


def read_events(
    path: StrPath,
    value: str = "plays",
    broken: Broken | None = None,
    columns: ColumnNames = None,
    min_seconds: float = 0.0,
) -> pl.DataFrame:
    """Read a log row by row, with `timestamp` as instants in UTC if it has that column.

    Arguments and errors are those of `read_listens`.
    """
    rows = _rows(path, value, broken, columns, min_seconds, optional=("timestamp",))
    _report(path, rows, _pairs(path, rows.table, value), value)
    return rows.table


def _rows(
    path: StrPath,
    value: str,
    broken: Broken | None,
    columns: ColumnNames,
    min_seconds: float,
    more: Sequence[str] = (),
    optional: Sequence[str] = (),
) -> LogRows:
    """The rows of a log, checked, without short plays."""
    if not (min_seconds >= 0 and math.isfinite(min_seconds)):
        raise InputError(f"min_seconds is a number from 0 on, not {min_seconds}")
    names = column_names(columns, LISTEN_COLUMNS)
    refuse_durations(path, names)
    needed = ["user_id", "track_id", *([value] if value == "rating" else []), *more]
    table = read_table(path, needed, names)
    more = [*more, *(column for column in optional if column in table.columns)]
    is_counted = value in table.columns
    if not is_counted and "plays" not in names:
        refuse_counts(path, table.columns)
    read = ["user_id", "track_id", *([value] if is_counted else []), *more]
    least = duration_column(path, table.columns) if min_seconds else None
    others = [] if is_counted else numeric_columns(table.drop(read))
    period = None
    if "timestamp" in table.columns and "timestamp" not in more:
        period = period_of(table["timestamp"], f"{path}: column 'timestamp'")
    check = Checker(
        path, table.select([*read, *(least[:1] if least else [])]), broken or Broken(), "track_id"
    )
    del table
    check.ids("track_id")
    check.ids("user_id")
    if is_counted:
        check.numbers(value)
        if value != "rating":
            absurd = f"is absurd (more than {MAX_PLAYS:,} plays)"
            check.rule(value, pl.col(value) < 0, "is negative")
            check.rule(value, pl.col(value) > MAX_PLAYS, absurd)
    if "timestamp" in more:
        _times(check)
        period = ends_of(check.table["timestamp"])
    if least:
        _leave_out_short(check, *least, min_seconds)
    if not is_counted:
        check.table = check.table.with_columns(pl.lit(1.0).alias(value))
    return LogRows(check.result(), others, is_counted, period)


def _leave_out_short(check: Checker, column: str, unit: str, least: float) -> None:
    rows = len(check.table)
    count = leave_out_short(check, column, unit, least)
    reason = f"plays of less than {least:g} seconds, by column '{column}' ({unit})"
    if count == rows:
        raise InputError(f"{check.path}: every row would be left out: {reason}")
    logger.info(f"{check.path}: left out {count:,} of {rows:,} rows: {reason}")


def _times(check: Checker) -> None:
    """Make `timestamp` an instant in UTC."""
    place = f"{check.path}: column 'timestamp'"
    check.table = check.table.with_columns(__time=instants(check.table["timestamp"], place))
    reason = "is no time (YYYY-MM-DD, with a time of day and an offset if need be)"
    check.rule("timestamp", pl.col("__time").is_null(), reason)
    check.table = check.table.drop("timestamp").rename({"__time": "timestamp"})


def _pairs(path: StrPath, log: pl.DataFrame, value: str) -> pl.DataFrame:
    """One row a pair of user and track."""
    combine = pl.col(value).mean() if value == "rating" else pl.col(value).sum()
    # A pair as one number: grouping and sorting texts would take several times as long.
    users, tracks = (log[column].unique().sort() for column in ("user_id", "track_id"))
    number = _places(log["user_id"], users) * len(tracks) + _places(log["track_id"], tracks)
    listens = log.select(value, pair=number).group_by("pair").agg(combine)
    if value != "rating":
        listens = listens.filter(pl.col(value) > 0)
        if listens.is_empty():
            raise InputError(f"{path}: every row has 0 plays")
    listens = listens.sort("pair")
    return listens.select(
        users.gather(listens["pair"] // len(tracks)),
        tracks.gather(listens["pair"] % len(tracks)),
        value,
    )


def _places(column: pl.Series, names: pl.Series) -> pl.Series:
    """Position of each text in `names`, which are sorted and unique."""
    return column.cast(pl.Enum(names)).to_physical().cast(pl.Int64)


def _report(path: StrPath, rows: LogRows, pairs: pl.DataFrame, value: str) -> None:
    """Log how rows became pairs, and what looks absurd."""
    if not rows.is_counted:
        report_events(path, len(rows.table), len(pairs), rows.others)
    elif value != "rating":
        report_plays(path, rows.table[value], pairs[value])
