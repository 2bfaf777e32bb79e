"""What the shards say of each track: all columns of the track table, as JSON holds them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from coldstart.errors import InputError

log = logging.getLogger(__name__)

FIRST = ("track_id", "title", "artist", "artist_id", "release_date")
"""Columns that coldstart knows; the others follow in the table's order."""

LEFT_OUT = ("audio", "split")
"""A path that leads nowhere from elsewhere; and what `Shards` says of each track itself."""


def track_rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """A row for each track; dates and times are text, numbers that aren't finite are missing.

    Args:
        table: as `read_tracks` gives it.

    >>> from datetime import date
    >>> track_rows(pl.DataFrame({"track_id": ["a"], "audio": ["a.wav"], "day": [date(2026, 1, 2)]}))
    [{'track_id': 'a', 'day': '2026-01-02'}]
    """
    names = [name for name in FIRST if name in table.columns]
    names += [name for name in table.columns if name not in (*FIRST, *LEFT_OUT)]
    unreadable = [name for name in names if table.schema[name] in (pl.Binary, pl.Object)]
    if unreadable:
        log.info(f"columns that hold no text or numbers are not kept: {', '.join(unreadable)}")
    columns = [_plain(table[name]) for name in names if name not in unreadable]
    nested = [column.name for column in columns if column.dtype.is_nested()]
    rows = pl.DataFrame(columns).to_dicts()
    for row in rows if nested else ():
        row.update({name: _as_json(row[name]) for name in nested})
    return rows


def _plain(column: pl.Series) -> pl.Series:
    """A column of what JSON holds, if it isn't one of lists."""
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        utc = column.dt.convert_time_zone("UTC") if dtype.time_zone else column
        return utc.dt.strftime("%Y-%m-%dT%H:%M:%S" + ("Z" if dtype.time_zone else ""))
    if dtype == pl.Duration:
        return column.dt.total_seconds()
    if dtype.is_temporal() or dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if dtype.is_decimal():
        return column.cast(pl.Float64)
    if dtype.is_float():
        return pl.select(pl.when(column.is_finite()).then(column)).to_series().alias(column.name)
    return column


def _as_json(value: Any) -> Any:
    """A list or a struct, with all that is in it, as JSON holds it."""
    if isinstance(value, Mapping):
        return {name: _as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple | pl.Series):
        return [_as_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def like_those(rows: list[dict[str, Any]], others: list[dict[str, Any]], file: str) -> None:
    """Make the values of each column of the same kind as in other rows: in place.

    A CSV's cells are text, a Parquet file's numbers are numbers; in one column of a dataset they
    must not mix.

    Args:
        rows: to be changed.
        others: of the dataset.
        file: that the rows come from, for messages.

    Raises:
        InputError: text that is no number is in a column of numbers, or lists and others mix.
    """
    names = [name for name in (rows[0] if rows else ()) if name != "track_id"]
    for name in names:
        kind = next((type(row[name]) for row in others if row.get(name) is not None), None)
        if kind is None:
            continue
        for row in rows:
            value = row[name]
            if value is None or isinstance(value, kind):
                continue
            try:
                row[name] = _of_kind(value, kind)
            except (ValueError, TypeError) as error:
                raise InputError(
                    f"{file}: column '{name}' has {value!r} for track {row['track_id']!r}, but "
                    f"values such as {_example(others, name)!r} in the dataset; rename the "
                    "column, or leave it out"
                ) from error


def _of_kind(value: Any, kind: type) -> Any:
    """A value as another type; an empty text is none.

    >>> _of_kind("120", int), _of_kind("120.5", int), _of_kind(7, str), _of_kind(" ", float)
    (120, 120.5, '7', None)
    """
    if kind is str and not isinstance(value, list | dict):
        return str(value)
    if isinstance(value, str) and not value.strip() and kind in (int, float, bool):
        return None
    if kind is bool and str(value).strip().lower() in ("true", "false"):
        return str(value).strip().lower() == "true"
    if kind in (int, float) and isinstance(value, str | int | float):
        number = float(value)
        if not math.isfinite(number):
            raise ValueError(value)
        return int(number) if kind is int and number == int(number) else number
    raise TypeError(value)


def _example(rows: list[dict[str, Any]], name: str) -> Any:
    return next(row[name] for row in rows if row.get(name) is not None)


def artists_of(tracks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Track id → artist, of tracks that have one."""
    artists = {
        str(track["track_id"]): track.get("artist_id") or track.get("artist") for track in tracks
    }
    return {track: str(artist) for track, artist in artists.items() if artist}
