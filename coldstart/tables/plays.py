"""Plays as numbers, or a row a play: which of them a log has, and what speaks against it."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence

import polars as pl

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.tables.column_names import flag_value, listed, plain
from coldstart.tables.durations import is_duration

log = logging.getLogger(__name__)

MAX_PLAYS = 10_000_000
"""More plays than this of one track by one listener is a broken counter: 3 minutes each would
take 57 years."""

MANY_PLAYS = 100.0
"""Where half of the pairs have so many plays, they may be seconds or milliseconds."""

COUNTS = frozenset(
    (
        "play",
        "playcount",
        "playcounts",
        "playscount",
        "playcnt",
        "count",
        "counts",
        "cnt",
        "n",
        "num",
        "numplays",
        "nplays",
        "nbplays",
        "playnum",
        "totalplays",
        "listencount",
        "listens",
        "numlistens",
        "nlistens",
        "scrobbles",
        "streams",
        "streamcount",
        "numstreams",
        "timesplayed",
        "timeslistened",
        "freq",
        "frequency",
        "weight",
    )
)
"""What plays are called elsewhere: such a table isn't a row a play."""

RATINGS = frozenset(("rating", "ratings", "stars", "score"))


def refuse_counts(path: StrPath, present: Sequence[str]) -> None:
    """Raise InputError where the plays seem to be in a column of another name."""
    for name in present:
        near = difflib.SequenceMatcher(None, plain(name), "plays").ratio() >= 0.85
        if (near or plain(name) in COUNTS | RATINGS) and not is_duration(name):
            remedy = (
                f"Ratings are for --algorithm explicit --columns {flag_value('rating', name)}"
                if plain(name) in RATINGS
                else f"Pass --columns {flag_value('plays', name)}"
            )
            raise InputError(
                f"{path}: there is no column 'plays'; the table has: {listed(present)}. Is it "
                f"'{name}'? {remedy}. Or is each row one play? Pass --columns plays="
            )


def numeric_columns(table: pl.DataFrame) -> list[str]:
    """Columns of numbers that may be counts: neither durations nor times."""
    columns = []
    for name in table.columns:
        cells = table[name].head(1000).drop_nulls()
        if cells.dtype != pl.String and not cells.dtype.is_numeric():
            continue
        numbers = cells.cast(pl.Float64, strict=False)
        largest = numbers.max()
        if not numbers.null_count() and isinstance(largest, float) and largest < MAX_PLAYS:
            columns += [] if is_duration(name) else [name]
    return columns


def report_events(path: StrPath, rows: int, pairs: int, others: Sequence[str]) -> None:
    """Log that each row is a play; warn if that leaves nothing to count, and a number isn't read.

    Args:
        path: of the log.
        rows: number of rows.
        pairs: number of pairs of user and track.
        others: columns of numbers that weren't read.
    """
    log.info(
        f"{path}: has no column 'plays', so each row counts as one play: {rows:,} rows, "
        f"{pairs:,} pairs of user and track"
    )
    if others and rows == pairs:
        log.warning(
            f"{path}: no pair has two rows, and {listed(others)} isn't read; if it holds "
            f"the number of plays: --columns {flag_value('plays', others[0])}"
        )


def report_plays(path: StrPath, rows: pl.Series, pairs: pl.Series) -> None:
    """Log how many rows have 0 plays; warn of plays that may be seconds or milliseconds.

    Args:
        path: of the log.
        rows: each row's plays.
        pairs: those of each pair of user and track.
    """
    zeros = int((rows == 0).sum())
    if zeros:
        log.info(f"{path}: {zeros:,} of {len(rows):,} rows have 0 plays and are no listens")
    median = pairs.median()
    if isinstance(median, float) and median >= MANY_PLAYS:
        log.warning(
            f"{path}: half of the pairs of user and track have {median:,.0f} plays or more (the "
            f"largest {pairs.to_numpy().max():,.0f}), as if column 'plays' held seconds or "
            "milliseconds. If it does, and each row is one play: --columns plays="
        )
