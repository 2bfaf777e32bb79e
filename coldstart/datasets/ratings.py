"""Ratings of users → listens: those that are high enough count, or each as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import polars as pl

from coldstart.datasets.originals import Original
from coldstart.datasets.reading import Rows
from coldstart.errors import Broken

MOST = 5
"""Stars."""
END = 4_102_444_800
"""Second of the year 2100: later times are in another unit, or broken."""


def listens_of(
    original: Original,
    frames: Iterable[pl.DataFrame],
    names: tuple[str, str],
    broken: Broken,
    *,
    unit: Literal["s", "ms"],
    min_rating: float | None,
) -> Iterator[pl.DataFrame]:
    """Rows of user, item, rating and timestamp → listens.

    Args:
        original: the file that they are from, for messages.
        frames: text, with `__row`, as `pieces` gives it.
        names: what the file calls the user and the item.
        broken: collects broken rows.
        unit: of the timestamp, since 1970.
        min_rating: from which on a rating counts as one play; None: each rating stays as it is.

    Yields:
        user_id, track_id, plays (1) or rating (0 to 5), timestamp (UTC).
    """
    user, item = names
    second = {"s": 1, "ms": 1000}[unit]
    for frame in frames:
        rows = Rows(
            original, frame.select("__row", user, item, "rating", "timestamp"), broken, item
        )
        rows.ids(item)
        rows.ids(user)
        rows.numbers("rating")
        rows.rule("rating", ~pl.col("rating").is_between(0, MOST), f"is no rating from 0 to {MOST}")
        rows.count("timestamp")
        late = pl.col("timestamp") >= END * second
        rows.rule("timestamp", late, f"is no time before 2100 in {unit}")
        table = rows.rest()
        if min_rating is None:
            value = pl.col("rating")
        else:
            table = table.filter(pl.col("rating") >= min_rating)
            value = pl.lit(1, pl.Int64).alias("plays")
        milliseconds = pl.col("timestamp") * 1000 // second
        yield table.select(
            pl.col(user).alias("user_id"),
            pl.col(item).alias("track_id"),
            value,
            milliseconds.cast(pl.Datetime("ms")).alias("timestamp"),
        )
