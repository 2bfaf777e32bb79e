"""Tracks: ids, titles, artists, genres, dates, and where their sound is."""

from __future__ import annotations

import polars as pl

from coldstart.errors import Broken
from coldstart.files import StrPath
from coldstart.tables.column_names import ColumnNames, column_names
from coldstart.tables.genres import split_genres, warn_of_unsplit_lists
from coldstart.tables.table import Checker, is_text, read_table
from coldstart.tables.times import days

TRACK_COLUMNS = (
    "track_id",
    "title",
    "artist",
    "artist_id",
    "audio",
    "genres",
    "release_date",
)
"""The columns of a track table that are read, under whatever names."""


def read_tracks(
    path: StrPath,
    broken: Broken | None = None,
    genre_separator: str | None = None,
    columns: ColumnNames = None,
) -> pl.DataFrame:
    """Read a track table: `track_id`, `title`, `artist`, and whichever it has of `artist_id`,
    `audio`, `genres`, `release_date`.

    `audio` is a path, relative to the table's own folder. `genres` is a list, or a text such as
    `rock|indie pop` (see `coldstart.tables.genres`). `release_date` is a date or a year (see
    `coldstart.tables.times`). `artist_id` is `artist` where the table has none. Rows keep their
    order.

    Args:
        path: a table; see `read_table`.
        broken: collects broken rows.
        genre_separator: between the genres in a text; None: `|`, or what the column shows.
        columns: what the table calls them: `track_id=song,title=name`, or a mapping.

    Raises:
        InputError: missing columns, empty or duplicate ids, unreadable dates or lists.
    """
    names = column_names(columns, TRACK_COLUMNS)
    table = read_table(path, ["track_id", "title", "artist"], names)
    check = Checker(path, table, broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    present = check.table.columns
    texts = ["title", "artist"] + [c for c in ("artist_id", "audio") if c in present]
    check.text(*texts)
    if "artist_id" not in present:
        check.table = check.table.with_columns(artist_id=pl.col("artist"))
    if "genres" in present:
        _split_genres(check, genre_separator)
    if "release_date" in present:
        _make_dates(check)
    return check.result()


def _make_dates(check: Checker) -> None:
    """Make `release_date` a date; an empty cell is none."""
    column = check.table["release_date"]
    table = check.table.with_columns(__day=days(column, f"{check.path}: column 'release_date'"))
    present = pl.col("release_date").is_not_null()
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        present &= pl.col("release_date").cast(pl.String).str.strip_chars() != ""
    elif column.dtype.is_float():
        present &= pl.col("release_date").is_not_nan()
    check.table = table
    reason = "is not a date (YYYY-MM-DD or YYYY)"
    check.rule("release_date", present & pl.col("__day").is_null(), reason)
    check.table = check.table.with_columns(release_date=pl.col("__day")).drop("__day")


def _split_genres(check: Checker, separator: str | None) -> None:
    """Make `genres` a list of names: stripped, none of them empty."""
    dtype, place = check.table.schema["genres"], f"{check.path}: column 'genres'"
    if not isinstance(dtype, pl.List | pl.Array):
        check.text("genres")
        genres = split_genres(check.table["genres"], separator, place)
        check.table = check.table.with_columns(genres=genres)
        return
    inner = dtype.inner
    assert isinstance(inner, pl.DataType)
    good = is_text(inner) and not inner.is_temporal()
    check.kind("genres", good, "not a list of names")
    lists = pl.col("genres").cast(pl.List(pl.String))
    if separator:
        lists = lists.list.eval(pl.element().str.split(separator).explode())
    name = pl.element().str.strip_chars()
    check.table = check.table.with_columns(genres=lists.list.eval(name.filter(name != "")))
    warn_of_unsplit_lists(check.table["genres"], place)
