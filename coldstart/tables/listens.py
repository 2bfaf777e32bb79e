"""Listening logs: plays or ratings of each user and track, and their times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time

import polars as pl

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath
from coldstart.tables.table import Checker, read_table
from coldstart.tables.times import instants

MAX_PLAYS = 10_000_000
"""More plays than this of one track by one listener is a broken counter: 3 minutes each would
take 57 years."""


def read_listens(path: StrPath, value: str = "plays", broken: Broken | None = None) -> pl.DataFrame:
    """Read a listening log: `user_id`, `track_id` and `value`; the result has one row a pair.

    Several rows of one pair are added up (ratings: averaged). Rows of 0 plays are dropped: they are
    no listens.

    Args:
        path: Parquet or CSV with `user_id`, `track_id` and `value`.
        value: `plays` (counts, 1 to 10 million), or `rating` (any finite number).
        broken: collects broken rows; without it the first one raises.

    Returns:
        Table of user_id (text), track_id (text), `value` (float64), sorted by both ids.
    """
    return _pairs(path, _listens(path, value, broken), value)


def read_listens_before(
    path: StrPath, day: date, value: str = "plays", broken: Broken | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read a log with a column `timestamp`: all of it, and what is from before a day (in UTC).

    A timestamp is whatever `coldstart.tables.times.instants` reads.

    Returns:
        Two tables as `read_listens` gives; the second is of the rows before `day` alone.

    Raises:
        InputError: as `read_listens`; no column `timestamp`, or no listen before the day.
    """
    log = _listens(path, value, broken, ("timestamp",))
    midnight = datetime.combine(day, time(), UTC)
    before = log.filter(pl.col("timestamp") < midnight)
    if before.is_empty():
        raise InputError(f"{path}: no listen is from before {day}")
    return _pairs(path, log, value), _pairs(path, before, value)


def _listens(
    path: StrPath, value: str, broken: Broken | None, more: Sequence[str] = ()
) -> pl.DataFrame:
    """The rows of a log, checked."""
    columns = ["user_id", "track_id", value, *more]
    table = read_table(path, columns)
    check = Checker(path, table.select(columns), broken or Broken(), "track_id")
    check.ids("track_id")
    check.ids("user_id")
    check.numbers(value)
    if value != "rating":
        check.rule(value, pl.col(value) < 0, "is negative")
        check.rule(value, pl.col(value) > MAX_PLAYS, f"is absurd (more than {MAX_PLAYS:,} plays)")
    if "timestamp" in more:
        _times(check)
    return check.result()


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
