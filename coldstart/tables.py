"""The tables people bring (listens, tracks, attributes): read, check, name what is wrong.

Parquet or CSV. Ids are always text, so `007` stays `007`.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath, atomic

SPLITS = ("train", "val", "test")
"""The sides of a split."""

MAX_PLAYS = 10_000_000
"""More plays than this of one track by one listener is a broken counter: 3 minutes each would
take 57 years."""

MAX_NUMBER = 1e18
"""Attributes and ratings beyond it are broken; the square of a larger one overflows float32."""

GENRE_SEPARATOR = "|"
"""Separates several genres in one CSV cell: `rock|indie pop`."""


def read_table(path: StrPath, required: Sequence[str]) -> pl.DataFrame:
    """Read a Parquet or CSV table with at least the `required` columns.

    CSV cells stay text (numbers are converted where they are checked).

    Raises:
        InputError: no such file, another ending, unreadable, no rows, or a missing column.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    readers = {
        ".csv": lambda: pl.read_csv(path, infer_schema=False),
        ".parquet": lambda: pl.read_parquet(path),
    }
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: tables are read from .parquet or .csv files")
    try:
        table = readers[path.suffix.lower()]()
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a readable {path.suffix} table ({error})") from error
    for column in table.columns:
        copy = re.fullmatch(r"(.+)_duplicated_\d+", column)  # the CSV reader's name for it
        if copy and copy[1] in table.columns:
            raise InputError(f"{path}: there are two columns '{copy[1]}'; rename or remove one")
    for column in required:
        if column not in table.columns:
            similar = difflib.get_close_matches(column, table.columns, n=1, cutoff=0.5)
            hint = f" Is it '{similar[0]}'? Rename it." if similar else ""
            raise InputError(
                f"{path}: there is no column '{column}'; the table has: "
                f"{', '.join(table.columns)}.{hint}"
            )
    if table.is_empty():
        raise InputError(f"{path}: the table has no rows")
    return table


def write_table(path: StrPath, table: pl.DataFrame) -> None:
    """Write a table as Parquet or CSV (by the ending), atomically."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{path}: tables are written as .parquet or .csv files")
    with atomic(path) as temporary:
        if path.suffix.lower() == ".csv":
            table.write_csv(temporary)
        else:
            table.write_parquet(temporary)


def write_broken(path: StrPath, broken: Broken) -> str:
    """Write the list of what was skipped as CSV, if anything was; return a sentence about it."""
    if not broken.faults:
        return ""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Fault._fields)
        writer.writerows(broken.faults)
    return f"{len(broken.faults):,} broken items were skipped; the reasons are in {path}"


class Checker:
    """Applies rules to a table; each drops (or raises on) the rows that break it."""

    def __init__(self, path: StrPath, table: pl.DataFrame, broken: Broken, item: str) -> None:
        self.path, self.broken, self.item = Path(path), broken, item
        self.table = table.with_row_index("__row", offset=1)

    def rule(self, field: str, bad: pl.Expr, reason: str, value: bool = True) -> None:
        """Rows where `bad` holds are faulty in `field`."""
        rows = self.table.filter(bad)
        if rows.is_empty():
            return
        self.broken.add(
            Fault(
                self.path.name,
                row["__row"],
                f"{self.item.removesuffix('_id')} {row[self.item]!r}",
                field,
                f"{row[field]!r} {reason}" if value else reason,
            )
            for row in rows.iter_rows(named=True)
        )
        self.table = self.table.filter(~bad)

    def text(self, *columns: str) -> None:
        """Convert to text."""
        for column in columns:
            self.kind(column, not self.table.schema[column].is_nested(), "not text")
        self.table = self.table.with_columns(pl.col(columns).cast(pl.String))

    def kind(self, column: str, good: bool, reason: str) -> None:
        """Raise InputError about a column's type unless it is `good`."""
        if not good:
            dtype = self.table.schema[column]
            raise InputError(f"{self.path}: column '{column}' holds {dtype}, {reason}")

    def ids(self, column: str) -> None:
        """Ids are text, and neither empty nor blank. As a float, 7 would become '7.0'."""
        dtype = self.table.schema[column]
        good = dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)
        self.kind(column, good, "but ids are text or whole numbers")
        self.text(column)
        self.rule(
            column,
            pl.col(column).is_null() | (pl.col(column).str.strip_chars() == ""),
            "is no id: it is empty",
        )

    def numbers(self, column: str) -> None:
        """Convert to float64; what is no number, and NaN and infinities, are faults."""
        dtype = self.table.schema[column]
        good = dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)
        self.kind(column, good, "not numbers")
        as_number = pl.col(column).cast(pl.Float64, strict=False)
        self.rule(column, as_number.is_null() | ~as_number.is_finite(), "is not a finite number")
        self.rule(column, as_number.abs() > MAX_NUMBER, "is too large a number")
        self.table = self.table.with_columns(pl.col(column).cast(pl.Float64))

    def result(self) -> pl.DataFrame:
        """The rows that broke no rule; InputError if there are none."""
        if self.table.is_empty():
            raise InputError(f"{self.path}: no usable rows are left")
        return self.table.drop("__row")


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

    A timestamp is a date, a date with a time, or a number of seconds since 1970 (from 1973 on).

    Returns:
        Two tables as `read_listens` gives; the second is of the rows before `day` alone.

    Raises:
        InputError: as `read_listens`; no column `timestamp`, or no listen before the day.
    """
    log = _listens(path, value, broken, ("timestamp",))
    before = log.filter(pl.col("timestamp") < day)
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
        _days(check)
    return check.result()


def _days(check: Checker) -> None:
    """Make `timestamp` a day."""
    dtype, column = check.table.schema["timestamp"], pl.col("timestamp")
    if isinstance(dtype, pl.Datetime):
        day = (column.dt.convert_time_zone("UTC") if dtype.time_zone else column).dt.date()
    elif dtype == pl.Date:
        day = column
    else:
        check.text("timestamp")
        text = column.str.strip_chars()
        seconds = text.str.extract(r"^(\d{9,11})(?:\.\d*)?$").cast(pl.Int64)
        iso = text.str.extract(r"^(\d{4}-\d\d-\d\d)(?:[T ].*)?$")
        day = pl.coalesce(
            iso.str.to_date("%Y-%m-%d", strict=False), pl.from_epoch(seconds).dt.date()
        )
    check.rule("timestamp", day.is_null(), "is no time (YYYY-MM-DD, or seconds since 1970)")
    check.table = check.table.with_columns(timestamp=day)


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


def read_splits(path: StrPath) -> pl.DataFrame:
    """Read a split table: `track_id`, `split` (train, val or test), each track once."""
    broken = Broken(remedy="Mend it, or make it anew with `coldstart split`.")
    check = Checker(path, read_table(path, ["track_id", "split"]), broken, "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    check.text("split")
    valid = pl.col("split").is_in(SPLITS).fill_null(False)
    check.rule("split", ~valid, f"is none of {', '.join(SPLITS)}")
    return check.result().select("track_id", "split")


def read_ids(path: StrPath) -> list[str]:
    """Read the track_id column of a table."""
    return read_table(path, ["track_id"])["track_id"].cast(pl.String).drop_nulls().to_list()


def read_attributes(path: StrPath, broken: Broken | None = None) -> pl.DataFrame:
    """Read attributes: `track_id` and a column of finite numbers for each attribute.

    A track without annotations has no row; a cell can't be empty.

    Returns:
        Table of track_id (text) and float32 columns in the file's order.
    """
    table = read_table(path, ["track_id"])
    names = [column for column in table.columns if column != "track_id"]
    if not names:
        raise InputError(f"{path}: there is no attribute column beside 'track_id'")
    check = Checker(path, table, broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    for name in names:
        check.numbers(name)
    return check.result().select("track_id", pl.col(names).cast(pl.Float32))


def read_column(path: StrPath, column: str, broken: Broken | None = None) -> pl.DataFrame:
    """Read `track_id` and one column of text; rows whose cell is empty are left out.

    Returns:
        Table of track_id (text) and `column` (text).
    """
    check = Checker(path, read_table(path, ["track_id", column]), broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    check.text(column)
    table = check.result().select("track_id", column)
    return table.filter(pl.col(column).str.strip_chars().fill_null("") != "")


def read_vectors(
    path: StrPath, tracks: Sequence[str], broken: Broken | None = None
) -> dict[str, NDArray[np.float32]]:
    """Read one vector a track, all of one width.

    Args:
        path: Parquet with `track_id` and one column of lists of numbers; Parquet or CSV with
            `track_id` and a column a dimension; or an .npy [N, width] whose rows are `tracks`.
        tracks: N ids, which only an .npy needs.
        broken: collects broken rows.

    Returns:
        Track id → [width] float32.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return dict(zip(tracks, _matrix(path, len(tracks)), strict=True))
    table = read_table(path, ["track_id"])
    lists = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.List | pl.Array)]
    if not lists:
        wide = read_attributes(path, broken)
        rows = wide.drop("track_id").to_numpy().astype(np.float32)
        return dict(zip(wide["track_id"], rows, strict=True))
    if len(lists) > 1:
        raise InputError(f"{path}: has several columns of lists: {', '.join(lists)}; keep one")
    (column,) = lists
    check = Checker(path, table.select("track_id", column), broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    vector = pl.col(column).cast(pl.List(pl.Float32), strict=False)
    width = table.select(pl.col(column).cast(pl.List(pl.Float32)).list.len().mode().max()).item()
    check.rule(column, vector.list.len().fill_null(0) != width, f"is not {width} wide", False)
    finite = vector.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    check.rule(column, ~finite, "holds what is no finite number", False)
    vectors = check.result().select("track_id", vector)
    return {track: np.array(v, dtype=np.float32) for track, v in vectors.iter_rows()}


def _matrix(path: Path, rows: int) -> NDArray[np.float32]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            matrix = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable .npy ({error})") from error
    if matrix.ndim != 2 or len(matrix) != rows or matrix.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: holds {matrix.dtype} {matrix.shape}; needed are numbers [{rows}, width], a "
            "row for each row of the track table, in its order"
        )
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(1))[0])
        raise InputError(f"{path}: row {row} (counted from 0) holds what is no finite number")
    return matrix.astype(np.float32)
