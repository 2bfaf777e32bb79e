"""Tracks: ids, titles, artists, genres, dates, and where their sound is."""

from __future__ import annotations

import polars as pl

from coldstart.errors import Broken
from coldstart.files import StrPath
from coldstart.tables.table import Checker, read_table

GENRE_SEPARATOR = "|"
"""Separates several genres in one CSV cell: `rock|indie pop`."""


def read_tracks(path: StrPath, broken: Broken | None = None) -> pl.DataFrame:
    """Read a track table: `track_id`, `title`, `artist`, and whichever it has of `artist_id`,
    `audio`, `genres`, `release_date`.

    `audio` is a path, relative to the table's own folder. `genres` is a list, or in CSV a cell
    such as `rock|indie pop`. `release_date` is a date, in CSV `YYYY-MM-DD` or `YYYY`.
    `artist_id` is `artist` where the table has none. Rows keep their order.

    Raises:
        InputError: missing columns, empty or duplicate ids, unreadable dates.
    """
    check = Checker(
        path, read_table(path, ["track_id", "title", "artist"]), broken or Broken(), "track_id"
    )
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    columns = check.table.columns
    texts = ["title", "artist"] + [c for c in ("artist_id", "audio") if c in columns]
    check.text(*texts)
    if "artist_id" not in columns:
        check.table = check.table.with_columns(artist_id=pl.col("artist"))
    if "genres" in columns:
        _split_genres(check)
    if "release_date" in columns and check.table.schema["release_date"] != pl.Date:
        check.text("release_date")
        text = pl.col("release_date").str.strip_chars()
        # A year may have become a float, and a date may be followed by a time.
        year = text.str.extract(r"^(\d{4})(?:\.0)?$")
        day = pl.coalesce(year + "-01-01", text.str.extract(r"^(\d{4}-\d\d-\d\d)(?:[T ].*)?$"))
        date = day.str.to_date("%Y-%m-%d", strict=False)
        present = text.is_not_null() & (text != "")
        check.rule("release_date", present & date.is_null(), "is not a date (YYYY-MM-DD or YYYY)")
        check.table = check.table.with_columns(release_date=date)
    return check.result()


def _split_genres(check: Checker) -> None:
    """Make `genres` a list of names: stripped, none of them empty."""
    kind = check.table.schema["genres"]
    if isinstance(kind, pl.List | pl.Array):
        assert kind.inner is not None
        check.kind("genres", not kind.inner.is_nested(), "not a list of names")
        genres = pl.col("genres")
    else:
        check.text("genres")
        genres = pl.col("genres").str.split(GENRE_SEPARATOR)
    name = pl.element().str.strip_chars()
    genres = genres.cast(pl.List(pl.String)).list.eval(name.filter(name != ""))
    check.table = check.table.with_columns(genres=genres)
