"""Music4All-Onion → tables. Zenodo publishes an md5 of each file, which is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from coldstart.datasets.fetching import Zenodo
from coldstart.datasets.originals import About, Original, OriginalPaths, Originals
from coldstart.datasets.reading import Rows, Tables, filter_by_listeners, pieces
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, InputError
from coldstart.files import StrPath

RECORD = "https://zenodo.org/records/15394646/files"
COUNTS, EVENTS = "userid_trackid_count.tsv", "userid_trackid_timestamp.tsv"
GENRES = "id_genres_tf-idf.tsv"


def _remote(name: str) -> Zenodo:
    return Zenodo(f"{name}.bz2", f"{RECORD}/{name}.bz2?download=1")


ABOUT = About(
    name="music4all-onion",
    title="Music4All-Onion",
    page="https://zenodo.org/records/15394646",
    terms="CC BY 4.0; Music4All itself (titles, artists, audio) only on request to its authors",
    citation=(
        "Moscati, Parada-Cabaleiro, Deldjoo, Zangerle, Schedl: Music4All-Onion – A Large-Scale "
        "Multi-Faceted Content-Centric Music Recommendation Dataset, CIKM 2022"
    ),
    remotes=(_remote(COUNTS), _remote(EVENTS), _remote(GENRES)),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    timestamps: bool,
    embeddings: list[str] | None,
    attributes: list[str] | None,
    min_plays: int,
    min_listeners: int,
    skip_broken: bool,
) -> Summary:
    """See `music4all_onion` in `loaders.py`."""
    about = _with(ABOUT, [*(embeddings or []), *(attributes or [])])
    files, broken = Originals(about, source), Broken(skip_broken)
    tables = Tables(out, about, broken)
    rows = _events(files, broken) if timestamps else _counts(files, broken, min_plays)
    tables.stream(
        "listens", rows, lambda log: filter_by_listeners(log, min_listeners, not timestamps)
    )
    tracks = tables.listened_tracks().sort("track_id")
    tables.write("tracks", _tracks(files, tracks, broken))
    for kind, names in (("embeddings", embeddings or []), ("attributes", attributes or [])):
        for name in names:
            original = files.need(f"id_{name}.tsv")
            vectors = _features(original, tracks, broken, as_list=kind == "embeddings")
            tables.stream(name.replace("-", "_"), vectors, kind=kind)
    return tables.summary()


def _with(about: About, features: list[str]) -> About:
    """The data set with the files of these features, too."""
    more = tuple(_remote(f"id_{name}.tsv") for name in features)
    names = {remote.name for remote in about.remotes}
    remotes = about.remotes + tuple(remote for remote in more if remote.name not in names)
    return replace(about, remotes=remotes)


def _counts(files: Originals, broken: Broken, least: int) -> Iterator[pl.DataFrame]:
    original = files.need(COUNTS)
    for piece in pieces(original, ["user_id", "track_id", "count"], broken):
        rows = Rows(original, piece, broken)
        rows.ids("track_id")
        rows.ids("user_id")
        rows.count("count", 1)
        listens = rows.rest().filter(pl.col("count") >= least)
        yield listens.select("user_id", "track_id", plays="count")


def _events(files: Originals, broken: Broken) -> Iterator[pl.DataFrame]:
    original = files.need(EVENTS)
    for piece in pieces(original, ["user_id", "track_id", "timestamp"], broken):
        rows = Rows(original, piece, broken)
        rows.ids("track_id")
        rows.ids("user_id")
        text = pl.col("timestamp")
        time = pl.coalesce(
            text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", strict=False),
            text.str.to_datetime("%Y-%m-%d %H:%M", time_unit="ms", strict=False),
            pl.from_epoch(text.cast(pl.Int64, strict=False)).cast(pl.Datetime("ms")),
        )
        rows.rule("timestamp", time.is_null(), "is no time (2019-02-20 12:28:00, or seconds)")
        plays = pl.lit(1, pl.Int64).alias("plays")
        yield rows.rest().select("user_id", "track_id", plays, time.alias("timestamp"))


def _tracks(files: Originals, ids: pl.DataFrame, broken: Broken) -> pl.DataFrame:
    """Id, title, artist and genres of the tracks that somebody has played."""
    track = pl.col("track_id")
    tracks = ids.with_columns(title=track, artist=track)
    if names := files.find("id_information.csv"):
        frames = []
        for piece in pieces(names, ["id", "artist", "song"], broken):
            rows = Rows(names, piece, broken, "id")
            rows.ids("id")
            frames.append(rows.rest().select("id", "song", "artist"))
        table = pl.concat(frames).unique("id", keep="first").rename({"id": "track_id"})
        tracks = ids.join(table, on="track_id", how="left", maintain_order="left").select(
            "track_id",
            pl.coalesce("song", "track_id").alias("title"),
            pl.col("artist").fill_null(""),
        )
    genres = pl.concat(
        piece.unpivot(index="track_id", variable_name="genres")
        .filter(pl.col("value") > 0)
        .group_by("track_id", maintain_order=True)
        .agg("genres")
        for piece in _features(files.need(GENRES), ids, broken)
    )
    return tracks.join(genres, on="track_id", how="left", maintain_order="left")


def _features(
    original: Original, tracks: pl.DataFrame, broken: Broken, as_list: bool = False
) -> Iterator[pl.DataFrame]:
    """A feature's rows: track_id and a column a dimension, or one list of them."""
    for piece in pieces(original, ["id"], broken):
        names = [name for name in piece.columns if name not in ("id", "__row")]
        if not names:
            raise InputError(f"{original}: there is no feature beside 'id'")
        rows = Rows(original, piece, broken, "id")
        rows.ids("id")
        rows.table = rows.table.join(
            tracks, left_on="id", right_on="track_id", how="semi", maintain_order="left"
        )
        rows.vectors(names)
        table = rows.rest().rename({"id": "track_id"})
        values = pl.col(names)
        yield table.select(
            "track_id", pl.concat_list(values).alias("vector") if as_list else values
        )
