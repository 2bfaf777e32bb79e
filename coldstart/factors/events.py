"""New listens, told apart from those that were counted before: by their times, or as a whole.

Every listen must count once, whatever files it comes in and in whatever order they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from coldstart.errors import InputError
from coldstart.factors.factors import Factors

PAIR = ["user_id", "track_id"]
TIME = "timestamp"


class Events(NamedTuple):
    """Listens, one row an event if they have times, else one row a pair.

    Attributes:
        table: user_id, track_id, plays or rating, and perhaps timestamp; sorted.
        fingerprint: of the table: equal for the same listens, however they were stored.
        repeated: number of rows that were there before, or more than once.
    """

    table: pl.DataFrame
    fingerprint: str
    repeated: int

    @property
    def has_times(self) -> bool:
        """Whether the events have times."""
        return TIME in self.table.columns

    @property
    def period(self) -> tuple[datetime, datetime] | None:
        """The first and the last time; None without times, or without events."""
        if not self.has_times or self.table.is_empty():
            return None
        first, last = self.table[TIME].min(), self.table[TIME].max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        return first, last


def events_of(rows: pl.DataFrame, value: str, place: str) -> Events:
    """The listens of one table, each once.

    Rows of the same user, track and instant are one event. Where every time is a midnight, times
    are days, and rows of a day are added up, as are rows without times; ratings are averaged.

    Args:
        rows: user_id, track_id, `value` and perhaps timestamp.
        value: `plays` or `rating`.
        place: of the table, for the message.

    Raises:
        InputError: every row has 0 plays.
    """
    if value == "plays":
        rows = rows.filter(pl.col("plays") > 0)
        if rows.is_empty():
            raise InputError(f"{place}: every row has 0 plays")
    count = len(rows)
    if TIME not in rows.columns:
        combine = pl.col(value).sum() if value == "plays" else pl.col(value).mean()
        table = rows.group_by(PAIR).agg(combine).sort(PAIR)
        return Events(table, fingerprint_of(table), 0)
    key = [*PAIR, TIME]
    if value == "rating":
        table = rows.unique([*key, value])
    elif (rows[TIME].dt.truncate("1d") == rows[TIME]).all():
        table = rows.group_by(key).agg(pl.col(value).sum())
        count = len(table)
    else:
        table = rows.group_by(key).agg(pl.col(value).max())
    table = table.select(*PAIR, value, TIME).sort(*key, value)
    return Events(table, fingerprint_of(table), count - len(table))


def fingerprint_of(table: pl.DataFrame) -> str:
    """Hash a table's cells, in their order.

    >>> table = pl.DataFrame({"user_id": ["a", "b"], "plays": [1.0, 2.0]})
    >>> fingerprint_of(table) == fingerprint_of(table.clone())
    True
    >>> fingerprint_of(table) == fingerprint_of(table.reverse())
    False
    """
    digest = hashlib.sha256()
    for column in table.iter_columns():
        digest.update(f"{column.name}\0".encode())
        if column.dtype == pl.String:
            # Lengths, too: otherwise "ab", "c" and "a", "bc" would be the same.
            digest.update(column.str.len_bytes().to_numpy().astype("<i8").tobytes())
            for piece in column.to_frame().iter_slices(1 << 16):
                digest.update("".join(piece.to_series().to_list()).encode())
        else:
            is_time = isinstance(column.dtype, pl.Datetime)
            numbers = column.dt.epoch("us") if is_time else column
            kind = "<i8" if is_time else "<f8"
            digest.update(np.ascontiguousarray(numbers.to_numpy(), dtype=kind).tobytes())
    return digest.hexdigest()[:16]


def without_earlier(events: Events, earlier: Iterable[pl.DataFrame], value: str) -> Events:
    """Leave out what earlier tables of events have.

    Of an event with more plays than before, the difference stays. So the sum of all tables is the
    same in whatever order they came.

    Args:
        events: new ones; without times they are returned as they are.
        earlier: tables as `Events.table`, of which those without times are passed over.
        value: `plays` or `rating`.
    """
    if not events.has_times:
        return events
    key = [*PAIR, TIME]
    table, repeated = events.table, 0
    for old in earlier:
        if TIME not in old.columns:
            continue
        if value == "rating":
            rest = table.join(old, on=[*key, value], how="anti")
        else:
            known = old.select(*key, before=value)
            rest = (
                table.join(known, on=key, how="left")
                .with_columns(pl.col(value) - pl.col("before").fill_null(0))
                .filter(pl.col(value) > 0)
                .drop("before")
            )
        repeated += len(table) - len(rest)
        table = rest
    table = table.sort(*key, value)
    return Events(table, events.fingerprint, events.repeated + repeated)


class Overlap(NamedTuple):
    """New listens from before the last one of the factorised log.

    Attributes:
        early: their number.
        counted: those of them that the log has, as far as can be told: it has the pair.
    """

    early: int
    counted: int


def without_base(events: Events, base: Factors) -> tuple[Events, Overlap]:
    """Leave out what the factorised log has already: early events of pairs that it has.

    A pair that it doesn't have can't be in it, whenever the event was.
    """
    last = base.about.get("last_listen")
    if not events.has_times or last is None:
        return events, Overlap(0, 0)
    is_early = pl.col(TIME) <= datetime.fromisoformat(last)
    early = events.table.filter(is_early)
    if early.is_empty():
        return events, Overlap(0, 0)
    pairs = early.select(PAIR).unique()
    known = pairs.filter(has_pairs(base, pairs))
    counted = early.join(known, on=PAIR, how="semi")
    rest = pl.concat([early.join(known, on=PAIR, how="anti"), events.table.filter(~is_early)])
    rest = rest.sort(*PAIR, TIME)
    return Events(rest, events.fingerprint, events.repeated), Overlap(len(early), len(counted))


def places_of(ids: pl.Series, names: list[str]) -> pl.Series:
    """Position of each id in `names`; null where it isn't one of them."""
    table = pl.DataFrame({"id": pl.Series(names, dtype=pl.String)}).with_row_index("place")
    joined = ids.to_frame("id").join(table, on="id", how="left", maintain_order="left")
    return joined["place"].cast(pl.Int64)


def has_pairs(base: Factors, pairs: pl.DataFrame) -> pl.Series:
    """Whether the factorised log has each pair of user_id and track_id, also as a withheld one."""
    users = places_of(pairs["user_id"], base.user_ids)
    tracks = places_of(pairs["track_id"], base.track_ids)
    known = (users.is_not_null() & tracks.is_not_null()).to_numpy()
    rows, columns = (side.fill_null(0).to_numpy() for side in (users, tracks))
    result = np.zeros(len(pairs), dtype=bool)
    for matrix in (base.listens, base.withheld):
        if matrix is not None:
            result |= _has_entries(matrix, rows, columns)
    return pl.Series(result & known)


def _has_entries(matrix: Any, rows: np.ndarray[Any, Any], columns: np.ndarray[Any, Any]) -> Any:
    """Whether a sparse matrix stores an entry at each place; a stored 0 is one."""
    users, places = np.unique(rows, return_inverse=True)
    part = matrix[users].tocoo()
    width = matrix.shape[1]
    stored = part.row.astype(np.int64) * width + part.col
    return np.isin(places * width + columns, stored)
