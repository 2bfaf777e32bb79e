"""Yambda (Yandex Music) → tables. Hugging Face publishes each file's sha256, which is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import polars as pl

from coldstart.datasets.fetching import HuggingFace
from coldstart.datasets.originals import About, Original, OriginalPaths, Originals
from coldstart.datasets.reading import Tables, filter_by_listeners
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath
from coldstart.tables.column_names import listed
from coldstart.tables.unpacking import check_parquet

HOST = "https://huggingface.co/datasets/yandex/yambda/resolve/main"
SIZES = ("50m", "500m", "5b")
ARTISTS, EMBEDDINGS = "artist_item_mapping.parquet", "embeddings.parquet"
GROUP = 20_000_000
"""Listens that are added up at a time."""
DAY = 24 * 60 * 60
LAST = 26_000_000
"""Second at which the log ends, in the authors' benchmark."""

ABOUT = About(
    name="yambda",
    title="Yambda-5B (Yandex Music)",
    page="https://huggingface.co/datasets/yandex/yambda",
    terms="Apache 2.0",
    citation=(
        "Yambda-5B – A Large-Scale Multi-modal Dataset for Ranking And Retrieval, 2025, "
        "arXiv:2505.22238"
    ),
    remotes=tuple(
        HuggingFace(name, f"{HOST}/{name}")
        for name in (*(f"flat/{size}/listens.parquet" for size in SIZES), ARTISTS, EMBEDDINGS)
    ),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    size: Literal["50m", "500m", "5b"],
    min_played: int,
    min_listeners: int,
    timestamps: bool,
    vectors: bool,
    cold_days: float,
    skip_broken: bool,
) -> Summary:
    """See `yambda` in `loaders.py`."""
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    name = f"flat/{size}/listens.parquet"
    columns = ["uid", "item_id", "timestamp", "played_ratio_pct"]
    user, track = (
        pl.col(old).cast(pl.String).alias(new)
        for old, new in (("uid", "user_id"), ("item_id", "track_id"))
    )
    with _scan(files, name, columns) as whole:
        log = _checked(whole, columns, Path(name).name, broken)
        log = log.filter(pl.col("played_ratio_pct") >= min_played)
        if timestamps:
            plays = pl.lit(1, pl.Int64).alias("plays")
            listens = log.select(user, track, plays, "timestamp")
            tables.sink("listens", filter_by_listeners(listens, min_listeners, each_once=False))
        else:
            tables.stream(
                "listens",
                (part.select(user, track, "plays") for part in _sums(log)),
                lambda rows: filter_by_listeners(rows, min_listeners),
            )
        tracks = _tracks(files, tables)
        tables.write("tracks", tracks)
        ids = tracks.select("track_id").lazy()
        if cold_days > 0:
            first = log.group_by(track).agg(pl.col("timestamp").min())
            first = first.join(ids, on="track_id", how="semi")
            tables.write("splits", _split(first.collect(engine="streaming"), cold_days))
    if vectors:
        with _scan(files, EMBEDDINGS, ["item_id", "embed"]) as whole:
            audio = whole.drop_nulls().select(track, vector="embed")
            audio = audio.join(ids, on="track_id", how="semi", maintain_order="left")
            tables.sink("audio", audio, "embeddings")
    return tables.summary()


@contextmanager
def _scan(files: Originals, name: str, columns: list[str]) -> Iterator[pl.LazyFrame]:
    """Columns of a file, to be read in the block: only there is seen whether it is damaged.

    Raises:
        InputError: a column is missing, or the file is damaged.
    """
    original = files.need(name)
    if original.member:
        raise InputError(f"{original}: unpack the archive first; a Parquet file is read in place")
    try:
        check_parquet(original.path, in_pieces=True)
        table = pl.scan_parquet(original.path, glob=False)
        names = table.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(original, error) from error
    for column in columns:
        if column not in names:
            raise InputError(
                f"{original}: there is no column '{column}'; the table has: {listed(names)}. Is "
                "it another version of the data set, or its `sequential` form? `flat` is needed"
            )
    try:
        yield table.select(columns)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(original, error) from error


def _unreadable(original: Original, error: BaseException) -> InputError:
    # Of several lines, the others are advice to programmers.
    reason = str(error).strip().partition("\n")[0]
    return InputError(f"{original}: not a readable .parquet table ({reason}); fetch it again")


def _checked(log: pl.LazyFrame, columns: list[str], name: str, broken: Broken) -> pl.LazyFrame:
    """Leave out rows with an empty cell."""
    bad = pl.any_horizontal(pl.col(columns).is_null())
    rows = log.with_row_index("__row", offset=1).filter(bad).collect(engine="streaming")
    broken.add(
        Fault(name, row["__row"], f"track {str(row['item_id'])!r}", column, "is empty")
        for row in rows.iter_rows(named=True)
        for column in columns
        if row[column] is None
    )
    return log.filter(~bad)


def _sums(log: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Plays of each user and track, some users at a time, in the order of their ids.

    The file is sorted by user: each time, only the users' own part of it is read.
    """
    users = log.group_by("uid").len().sort("uid").collect(engine="streaming")
    group = (users["len"].cum_sum() - 1) // GROUP
    for number in group.unique(maintain_order=True):
        ids = users["uid"].filter(group == number)
        part = log.filter(pl.col("uid").is_between(ids[0], ids[-1]))
        plays = part.group_by("uid", "item_id").agg(pl.len().cast(pl.Int64).alias("plays"))
        yield plays.sort("uid", "item_id").collect(engine="streaming")


def _tracks(files: Originals, tables: Tables) -> pl.DataFrame:
    """Tracks that somebody has played, in the order of their numbers."""
    with _scan(files, ARTISTS, ["artist_id", "item_id"]) as whole:
        first = whole.group_by("item_id").agg(pl.col("artist_id").min())
        artists = first.select(pl.all().cast(pl.String)).collect(engine="streaming")
    tracks = tables.listened_tracks()
    joined = tracks.join(artists, left_on="track_id", right_on="item_id", how="left")
    artist = pl.col("artist_id").fill_null("unknown")
    ordered = joined.sort(pl.col("track_id").cast(pl.UInt64))
    # Tracks without an artist are not of one artist: the id stays empty.
    return ordered.select("track_id", artist.alias("artist"), "artist_id", title="track_id")


def _split(first: pl.DataFrame, days: float) -> pl.DataFrame:
    """Sides by the second at which a track was first played."""
    second, length = pl.col("timestamp"), int(days * DAY)
    side = (
        pl.when(second >= LAST - length)
        .then(pl.lit("test"))
        .when(second >= LAST - 2 * length)
        .then(pl.lit("val"))
        .otherwise(pl.lit("train"))
    )
    return first.sort(pl.col("track_id").cast(pl.UInt64)).select("track_id", split=side)
