"""HetRec 2011 Last.fm 2k → tables. An artist stands where a track would.

The host publishes no checksum that we know of; the md5 is the one that DataRec
(github.com/sisinflab/DataRec) has recorded.
"""

from __future__ import annotations

import polars as pl

from coldstart.datasets.fetching import Remote
from coldstart.datasets.originals import About, Original, OriginalPaths, Originals
from coldstart.datasets.reading import Rows, Tables, pieces
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken
from coldstart.files import StrPath

ZIP = "hetrec2011-lastfm-2k.zip"
ABOUT = About(
    name="hetrec-lastfm",
    title="HetRec 2011 Last.fm 2k",
    page="https://grouplens.org/datasets/hetrec-2011/",
    terms="non-commercial use; for commercial use ask Last.fm",
    citation=(
        "Cantador, Brusilovsky, Kuflik: 2nd Workshop on Information Heterogeneity and Fusion in "
        "Recommender Systems, RecSys 2011; and Last.fm, http://www.lastfm.com"
    ),
    remotes=(
        Remote(
            ZIP,
            f"https://files.grouplens.org/datasets/hetrec2011/{ZIP}",
            "md5:296d61afe4e8632b173fc2dd3be20ce2",
            by="DataRec, not the host",
        ),
    ),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    binary: bool,
    min_listeners: int,
    tags: int,
    skip_broken: bool,
) -> Summary:
    """See `hetrec_lastfm` in `loaders.py`."""
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    listens = _read(files.need("user_artists.dat", ZIP), ["userID", "artistID", "weight"], broken)
    assignments = _read(files.need("user_taggedartists.dat", ZIP), ["artistID", "tagID"], broken)
    names = _read(files.need("tags.dat", ZIP), ["tagID"], broken, "tagID", text="tagValue")
    artists = _read(files.need("artists.dat", ZIP), ["id"], broken, "id", text="name")

    listeners = listens.group_by("artistID").len()
    usable = (
        listeners.filter(pl.col("len") >= min_listeners)
        .join(assignments.select("artistID").unique(), on="artistID")
        .join(artists.rename({"id": "artistID"}), on="artistID")
        .sort("artistID")
    )
    track = pl.col("artistID").cast(pl.String).alias("track_id")
    tracks = usable.select(track, title="name", artist="name")
    if extra := files.find("artist_genres.tsv"):
        table = _read(extra, ["artistID"], broken, text="genre")
        genres = table.group_by(track).agg(genres="genre")
        tracks = tracks.join(genres, on="track_id", how="left", maintain_order="left")

    tables = Tables(out, ABOUT, broken)
    listens = listens.join(usable, on="artistID", how="semi", maintain_order="left")
    tables.write(
        "listens",
        listens.select(pl.col("userID").cast(pl.String).alias("user_id"), track, plays="weight"),
    )
    tables.write("tracks", tracks)
    tables.write("mgp", _attributes(usable, assignments, names, tags, binary), "attributes")
    return tables.summary()


def _attributes(
    artists: pl.DataFrame, assignments: pl.DataFrame, names: pl.DataFrame, tags: int, binary: bool
) -> pl.DataFrame:
    """A row an artist, a column a tag, the most used first."""
    assignments = assignments.join(artists, on="artistID", how="semi")
    counts = assignments.group_by("artistID", "tagID").len()
    totals = counts.group_by("tagID").agg(pl.col("len").sum())
    top = totals.sort("len", "tagID", descending=[True, False]).head(tags)
    top = top.join(names, on="tagID", maintain_order="left")
    grade = (pl.col("len") > 0) if binary else pl.col("len").log1p()
    wide = (
        counts.join(top.select("tagID", "tagValue"), on="tagID")
        .with_columns(grade.cast(pl.Float32).alias("grade"))
        .pivot("tagValue", index="artistID", values="grade")
    )
    # An artist whose tags are all rare ones has a row of zeros: it has none of these tags.
    rows = artists.select("artistID").join(wide, on="artistID", how="left", maintain_order="left")
    track = pl.col("artistID").cast(pl.String).alias("track_id")
    return rows.select(track, *top["tagValue"]).fill_null(0.0)


def _read(
    original: Original, numbers: list[str], broken: Broken, item: str = "artistID", text: str = ""
) -> pl.DataFrame:
    """Read columns of whole numbers, and one of text; names are Latin-1 in places."""
    columns = [*numbers, text] if text else numbers
    frames = []
    for piece in pieces(original, columns, broken):
        rows = Rows(original, piece.select("__row", *columns), broken, item)
        for column in numbers:
            rows.count(column)
        if text:
            rows.rule(text, pl.col(text).is_null(), "is empty")
        frames.append(rows.rest())
    return pl.concat(frames)
