"""FMA: A Dataset For Music Analysis → tables. The sha1s are those of its README."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import polars as pl

from coldstart.datasets.fetching import Remote
from coldstart.datasets.originals import About, Original, OriginalPaths, Originals, folder_of
from coldstart.datasets.reading import Rows, Tables, pieces, quoted, require
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, InputError
from coldstart.files import StrPath

ZIP = "fma_metadata.zip"
SUBSETS = ("small", "medium", "large")
REMEDY = "fetch it again"
SIDES = {"training": "train", "validation": "val", "test": "test"}
ABOUT = About(
    name="fma",
    title="FMA: A Dataset For Music Analysis",
    page="https://github.com/mdeff/fma",
    terms="metadata CC BY 4.0; each recording has its artist's own licence; meant for research",
    citation=(
        "Defferrard, Benzi, Vandergheynst, Bresson: FMA: A Dataset for Music Analysis, ISMIR 2017"
    ),
    remotes=(
        Remote(
            ZIP,
            f"https://os.unil.cloud.switch.ch/fma/{ZIP}",
            "sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733",
            by="the authors' README",
        ),
    ),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    size: Literal["small", "medium", "large", "full"],
    features: bool,
    audio: str | None,
    skip_broken: bool,
) -> Summary:
    """See `fma` in `loaders.py`."""
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    table = _chosen(files, size, broken)
    names = _genres(files)
    number = pl.col("track_id").cast(pl.Int64)
    name = number.cast(pl.String).str.zfill(6) + ".mp3"
    sound = [] if audio is None else [_sound(table.select(name).to_series(), folder_of(audio))]
    genre_ids = pl.col("track.genres").str.extract_all(r"\d+")
    tracks = table.select(
        "track_id",
        pl.coalesce("track.title", "track_id").alias("title"),
        pl.coalesce("artist.name", pl.lit("unknown")).alias("artist"),
        pl.col("artist.id").alias("artist_id"),
        genre_ids.list.eval(pl.element().replace_strict(names, default=None).drop_nulls()).alias(
            "genres"
        ),
        pl.col("album.date_released")
        .str.slice(0, 10)
        .str.to_date(strict=False)
        .alias("release_date"),
        *sound,
    )
    tables.write("tracks", tracks)
    tables.write(
        "splits", table.select("track_id", split=pl.col("set.split").replace_strict(SIDES))
    )
    counts = [
        pl.col(f"track.{what}").log1p().cast(pl.Float32).alias(f"log_{what}")
        for what in ("listens", "favorites")
    ]
    tables.write("popularity", table.select("track_id", *counts), "attributes")
    ids = tracks.select("track_id")
    echonest = list(_numbers(files.need("echonest.csv", ZIP), "audio_features", ids, broken))
    if sum(map(len, echonest)):
        tables.write("echonest", pl.concat(echonest), "attributes")
    if features:
        numbers = _numbers(files.need("features.csv", ZIP), "", ids, broken)
        tables.stream(
            "features",
            (
                piece.select("track_id", vector=pl.concat_list(pl.exclude("track_id")))
                for piece in numbers
            ),
            kind="embeddings",
        )
    return tables.summary()


def _chosen(files: Originals, size: str, broken: Broken) -> pl.DataFrame:
    """The subset's tracks; columns are called `group.name`, as the two lines of the header say."""
    original = files.need("tracks.csv", ZIP)
    table = quoted(original, has_header=False)
    if len(table) < 3:
        raise InputError(f"{original}: has no header of three lines; {REMEDY}")
    first, second = table.row(0), table.row(1)
    names = [f"{group}.{name}" for group, name in zip(first[1:], second[1:], strict=True)]
    columns = (
        *("set.split", "set.subset", "track.title", "track.genres", "track.listens"),
        *("track.favorites", "artist.name", "artist.id", "album.date_released"),
    )
    require(original, names, columns)
    if len(set(names)) < len(names):
        raise InputError(f"{original}: its header has two columns of one name; {REMEDY}")
    table = table.rename(dict(zip(table.columns, ["track_id", *names], strict=True)))
    # The third line of the header names the index.
    rows = Rows(original, table.slice(3).select("track_id", *columns), broken)
    rows.ids("track_id")
    rows.rule("track_id", ~pl.col("track_id").str.contains(r"^\d+$"), "is no number")
    rows.rule("set.split", ~pl.col("set.split").is_in(list(SIDES)).fill_null(False), "is no side")
    rows.count("track.listens")
    rows.count("track.favorites")
    subsets = SUBSETS if size == "full" else SUBSETS[: SUBSETS.index(size) + 1]
    return rows.rest().filter(pl.col("set.subset").is_in(subsets))


def _genres(files: Originals) -> dict[str, str]:
    """Number → name of a genre."""
    original = files.need("genres.csv", ZIP)
    table = quoted(original)
    require(original, table.columns, ["genre_id", "title"])
    return dict(table.select("genre_id", "title").iter_rows())


def _numbers(
    original: Original, group: str, tracks: pl.DataFrame, broken: Broken
) -> Iterator[pl.DataFrame]:
    """Read a table of numbers with three lines of header above the line `track_id,,,`.

    Args:
        original: features.csv or echonest.csv.
        group: only the columns for which the second line says so; empty: all.
        tracks: those whose rows are to be read: a column track_id.
        broken: collects broken rows.

    Yields:
        Tables of track_id and float32 columns.
    """
    head = [line.decode("utf-8", "replace").rstrip("\r").split(",") for line in _head(original)]
    if len(head) < 4 or head[3][0] != "track_id" or len(set(map(len, head[:3]))) > 1:
        raise InputError(
            f"{original}: has no header of three lines of equally many cells and a fourth that "
            f"begins with 'track_id'; {REMEDY}"
        )
    names = [".".join(cells) for cells in zip(*head[:3], strict=True)]
    names[0] = "track_id"
    columns = [
        name
        for name, its_group in zip(names[1:], head[1][1:], strict=True)
        if not group or its_group == group
    ]
    if not columns:
        raise InputError(f"{original}: there is no column of '{group}'")
    short = {name: name.rpartition(".")[2] for name in columns} if group else {}
    for piece in pieces(original, names, broken, separator=",", header=False, skip=4):
        rows = Rows(original, piece.select("__row", "track_id", *columns), broken)
        rows.ids("track_id")
        rows.table = rows.table.join(tracks, on="track_id", how="semi", maintain_order="left")
        rows.vectors(columns)
        yield rows.rest().select("track_id", *columns).rename(short)


def _head(original: Original) -> list[bytes]:
    text = b""
    for block in original.blocks():
        text += block
        if text.count(b"\n") >= 4:
            break
    return text.split(b"\n")[:4]


def _sound(names: pl.Series, folder: Path) -> pl.Series:
    """Path of each track's sound; empty where there is no such file."""
    paths = [folder / name[:3] / name for name in names]
    return pl.Series("audio", [str(path) if path.is_file() else None for path in paths], pl.String)
