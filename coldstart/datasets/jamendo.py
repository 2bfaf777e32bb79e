"""MTG-Jamendo → tables: tracks, tags and the authors' splits. It has no listens.

The tables come from the authors' repository at one commit, so they can't change. For the two large
ones the sha256 is one that another project has recorded; for the splits none is published. The
sound is not fetched: the authors' script does that and checks it against their sha256 lists.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from coldstart.datasets.fetching import Remote
from coldstart.datasets.originals import About, Original, OriginalPaths, Originals, folder_of
from coldstart.datasets.reading import Rows, Tables, require
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, Fault
from coldstart.files import StrPath

COMMIT = "cafd8e20c265ed84f1e61f1c875327971f43a62f"
HOST = f"https://raw.githubusercontent.com/MTG/mtg-jamendo-dataset/{COMMIT}"
META = "data/raw.meta.tsv"
SIDES = {"train": "train", "validation": "val", "test": "test"}
SUBSETS = ("all", "genre", "instrument", "moodtheme", "top50tags")
COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")
META_COLUMNS = (
    *("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "TRACK_NAME", "ARTIST_NAME", "ALBUM_NAME"),
    *("RELEASEDATE", "URL"),
)


def _split_name(tags: str, split: int, side: str) -> str:
    return f"data/splits/split-{split}/autotagging{'' if tags == 'all' else f'_{tags}'}-{side}.tsv"


_SPLITS = [_split_name(tags, n, side) for tags in SUBSETS for n in range(5) for side in SIDES]
ABOUT = About(
    name="mtg-jamendo",
    title="MTG-Jamendo",
    page="https://github.com/MTG/mtg-jamendo-dataset",
    terms=(
        "metadata CC BY-NC-SA 4.0; each recording has its own Creative Commons licence "
        "(audio_licenses.txt in the repository); non-commercial research"
    ),
    citation=(
        "Bogdanov, Won, Tovstogan, Porter, Serra: The MTG-Jamendo Dataset for Automatic Music "
        "Tagging, Machine Learning for Music Discovery Workshop, ICML 2019"
    ),
    remotes=(
        Remote(
            META,
            f"{HOST}/{META}",
            "sha256:bb1efa2876536cbe1a8b67db5dda15249ca144f0cff69e481b638803cbdc9aca",
            by="another project's audit, not the host",
        ),
        *(Remote(name, f"{HOST}/{name}") for name in _SPLITS),
    ),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    tags: Literal["all", "genre", "instrument", "moodtheme", "top50tags"],
    split: int,
    audio: str | None,
    skip_broken: bool,
) -> Summary:
    """See `mtg_jamendo` in `loaders.py`."""
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    table = pl.concat(
        _lines(files.need(_split_name(tags, split, side)), COLUMNS, broken).with_columns(
            split=pl.lit(name)
        )
        for side, name in SIDES.items()
    )
    rows = Rows(Original(Path(f"autotagging split {split}")), table, broken, "TRACK_ID")
    rows.ids("TRACK_ID")
    rows.rule("TRACK_ID", ~pl.col("TRACK_ID").is_first_distinct(), "is there twice")
    table = rows.rest().with_columns(pl.col("TAGS").str.split("\t"))

    meta = _lines(files.need(META), META_COLUMNS, broken).unique("TRACK_ID", keep="first")
    joined = table.join(meta, on="TRACK_ID", how="left", maintain_order="left", suffix="_META")
    date = pl.col("RELEASEDATE").str.extract(r"^(\d{4}-\d\d-\d\d)").str.to_date(strict=False)
    genre = pl.element().filter(pl.element().str.starts_with("genre---"))
    tracks = joined.select(
        pl.col("TRACK_ID").alias("track_id"),
        pl.coalesce("TRACK_NAME", "TRACK_ID").alias("title"),
        pl.coalesce("ARTIST_NAME", "ARTIST_ID").alias("artist"),
        pl.col("ARTIST_ID").alias("artist_id"),
        pl.col("TAGS").list.eval(genre.str.strip_prefix("genre---")).alias("genres"),
        date.alias("release_date"),
        *([_sound(joined["PATH"], folder_of(audio))] if audio is not None else []),
    )
    tables.write("tracks", tracks)
    tables.write("tags", _tags(table), "attributes")
    tables.write("splits", table.select(track_id="TRACK_ID", split="split"))
    return tables.summary()


def _tags(table: pl.DataFrame) -> pl.DataFrame:
    """A row a track, a column a tag, in the order of their names."""
    long = table.select(track_id="TRACK_ID", tag="TAGS").explode("tag").unique()
    wide = long.with_columns(value=pl.lit(1.0, pl.Float32)).pivot(
        "tag", index="track_id", values="value"
    )
    ordered = table.select(track_id="TRACK_ID").join(
        wide, on="track_id", how="left", maintain_order="left"
    )
    names = sorted(name for name in wide.columns if name != "track_id")
    return ordered.select("track_id", pl.col(names).fill_null(0.0))


def _sound(paths: pl.Series, folder: Path) -> pl.Series:
    """Path of each track's sound; empty where there is no such file."""
    files: list[str | None] = []
    for path in paths:
        names = (path, path.removesuffix(".mp3") + ".low.mp3")
        existing = [str(folder / name) for name in names if (folder / name).is_file()]
        files.append(existing[0] if existing else None)
    return pl.Series("audio", files, pl.String)


def _lines(original: Original, columns: tuple[str, ...], broken: Broken) -> pl.DataFrame:
    """Read lines without quotes; a last column TAGS takes the rest of the line, with its tabs."""
    header, *lines = original.bytes().decode("utf-8", "replace").splitlines() or [""]
    require(original, header.split("\t"), columns)
    cells = [line.split("\t", len(columns) - 1 if "TAGS" in columns else -1) for line in lines]
    if "TAGS" not in columns:  # two titles are followed by an empty cell too many
        cells = [[*row[:4], *row[5:]] if len(row) == 9 and not row[4] else row for row in cells]
    broken.add(
        Fault(original.name, i, f"line {lines[i - 1][:40]!r}", "line", f"has {len(row)} cells")
        for i, row in enumerate(cells, start=1)
        if len(row) != len(columns)
    )
    whole = [row for row in cells if len(row) == len(columns)]
    table = pl.DataFrame(whole, schema=dict.fromkeys(columns, pl.String()), orient="row")
    return table.with_columns(pl.col(name).replace("", None) for name in columns)
