"""Yambda (Yandex Music) → tables. Hugging Face publishes each file's sha256, which is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import polars as pl

from coldstart.datasets.fetching import HuggingFace
from coldstart.datasets.originals import About, Originals, Source
from coldstart.datasets.reading import Tables, often_heard
from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath

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


def yambda(
    *,
    out: StrPath,
    source: Source = None,
    size: Literal["50m", "500m", "5b"] = "50m",
    min_played: int = 50,
    min_listeners: int = 1,
    timestamps: bool = False,
    vectors: bool = False,
    cold_days: float = 0,
    skip_broken: bool = False,
) -> None:
    """Yambda: up to 1 million users, 9.39 million tracks, 4.79 billion events; audio embeddings.

    Writes listens.parquet and tracks.parquet; audio.parquet with `--vectors`. Everything is
    a number there: the track's id stands for its title, the (first) artist's id for the artist.

    Args:
        out: folder for the tables.
        source: folder with flat/SIZE/listens.parquet, artist_item_mapping.parquet and
            embeddings.parquet; without it they are downloaded.
        size: `50m`, `500m` or `5b`.
        min_played: per cent of a track that must have been played for a listen to count; the
            authors' benchmark takes 50.
        min_listeners: of a track.
        timestamps: one row a listen, with its second, instead of one row a user and track.
        vectors: also the tracks' audio embeddings (14 GB to download).
        cold_days: if above 0, also splits.parquet: tracks that were first heard in the last so many
            days are the test, those of as many days before are validation. It is our split; the
            authors' divides listens, not tracks.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Raises:
        InputError: a file or column is missing, or a row is broken.
    """
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    name = f"flat/{size}/listens.parquet"
    columns = ["uid", "item_id", "timestamp", "played_ratio_pct"]
    log = _checked(_scan(files, name, columns), columns, Path(name).name, broken)
    log = log.filter(pl.col("played_ratio_pct") >= min_played)
    user, track = (
        pl.col(old).cast(pl.String).alias(new)
        for old, new in (("uid", "user_id"), ("item_id", "track_id"))
    )
    if timestamps:
        plays = pl.lit(1, pl.Int64).alias("plays")
        listens = log.select(user, track, plays, "timestamp")
        tables.sink("listens", often_heard(listens, min_listeners, each_once=False))
    else:
        tables.stream(
            "listens",
            (part.select(user, track, "plays") for part in _added_up(log)),
            lambda rows: often_heard(rows, min_listeners),
        )
    tracks = _tracks(files, tables)
    tables.write("tracks", tracks)
    heard = tracks.select("track_id").lazy()
    if cold_days > 0:
        first = (
            log.group_by(track)
            .agg(pl.col("timestamp").min())
            .join(heard, on="track_id", how="semi")
        )
        tables.write("splits", _split(first.collect(engine="streaming"), cold_days))
    if vectors:
        audio = _scan(files, EMBEDDINGS, ["item_id", "embed"]).drop_nulls()
        audio = audio.select(track, vector="embed")
        known = audio.join(heard, on="track_id", how="semi", maintain_order="left")
        tables.sink("audio", known, "embeddings")
    tables.finish()


def _scan(files: Originals, name: str, columns: list[str]) -> pl.LazyFrame:
    original = files.need(name)
    if original.member:
        raise InputError(f"{original}: unpack the archive first; a Parquet file is read in place")
    try:
        table = pl.scan_parquet(original.path)
        there = table.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{original}: not a readable .parquet table ({error})") from error
    for column in columns:
        if column not in there:
            raise InputError(
                f"{original}: there is no column '{column}'; the table has: {', '.join(there)}. Is "
                "it another version of the data set, or its `sequential` form? `flat` is needed"
            )
    return table.select(columns)


def _checked(log: pl.LazyFrame, columns: list[str], name: str, broken: Broken) -> pl.LazyFrame:
    """Leave out rows in which something is missing."""
    bad = pl.any_horizontal(pl.col(columns).is_null())
    rows = log.with_row_index("__row", offset=1).filter(bad).collect(engine="streaming")
    broken.add(
        Fault(name, row["__row"], f"track {str(row['item_id'])!r}", column, "is empty")
        for row in rows.iter_rows(named=True)
        for column in columns
        if row[column] is None
    )
    return log.filter(~bad)


def _added_up(log: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Plays of each user and track, some users at a time, in the order of their ids.

    The file is sorted by user, so that each time only the part of it that they are in is read.
    """
    users = log.group_by("uid").len().sort("uid").collect(engine="streaming")
    group = (users["len"].cum_sum() - 1) // GROUP
    for number in group.unique(maintain_order=True):
        ids = users["uid"].filter(group == number)
        part = log.filter(pl.col("uid").is_between(ids[0], ids[-1]))
        plays = part.group_by("uid", "item_id").agg(pl.len().cast(pl.Int64).alias("plays"))
        yield plays.sort("uid", "item_id").collect(engine="streaming")


def _tracks(files: Originals, tables: Tables) -> pl.DataFrame:
    """Tracks that somebody has heard, in the order of their numbers."""
    heard = (
        pl.scan_parquet(tables.path("listens"))
        .select("track_id")
        .unique()
        .collect(engine="streaming")
    )
    by = (
        _scan(files, ARTISTS, ["artist_id", "item_id"])
        .group_by("item_id")
        .agg(pl.col("artist_id").min())
    )
    artists = by.select(pl.all().cast(pl.String)).collect(engine="streaming")
    joined = heard.join(artists, left_on="track_id", right_on="item_id", how="left")
    artist = pl.col("artist_id").fill_null("unknown")
    ordered = joined.sort(pl.col("track_id").cast(pl.UInt64))
    # Nobody's tracks are not one artist's: the id stays empty.
    return ordered.select("track_id", artist.alias("artist"), "artist_id", title="track_id")


def _split(first: pl.DataFrame, days: float) -> pl.DataFrame:
    """Sides by the second at which a track was first heard."""
    second, length = pl.col("timestamp"), int(days * DAY)
    side = (
        pl.when(second >= LAST - length)
        .then(pl.lit("test"))
        .when(second >= LAST - 2 * length)
        .then(pl.lit("val"))
        .otherwise(pl.lit("train"))
    )
    return first.sort(pl.col("track_id").cast(pl.UInt64)).select("track_id", split=side)
