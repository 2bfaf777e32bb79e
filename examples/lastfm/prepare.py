"""HetRec 2011 Last.fm files → coldstart's tables. An artist stands where a track would.

    python prepare.py FOLDER --out tables

Protocol: artists with at least 5 listeners and a tag; the 400 most used tags as attributes, graded
by log(1 + times assigned); genres, where a file artist_genres.tsv (artistID, genre) is there.
"""

import argparse
from pathlib import Path

import polars as pl

MIN_LISTENERS = 5
TAGS = 400


def read(path: Path) -> pl.DataFrame:
    """Read one of the tab-separated files; names are Latin-1 in places, and quotes mean nothing."""
    return pl.read_csv(path, separator="\t", quote_char=None, encoding="utf8-lossy")


def prepare(folder: Path, out: Path, binary: bool = False) -> None:
    """Write listens.parquet, tracks.parquet and mgp.parquet.

    Args:
        folder: with artists.dat, user_artists.dat, user_taggedartists.dat and tags.dat.
        out: folder for the tables.
        binary: attributes say whether a tag was given, not how often.
    """
    listens = read(folder / "user_artists.dat")
    tagged = read(folder / "user_taggedartists.dat")
    tags = read(folder / "tags.dat")
    artists = read(folder / "artists.dat").rename({"id": "artistID"})

    listeners = listens.group_by("artistID").len()
    kept = (
        listeners.filter(pl.col("len") >= MIN_LISTENERS)
        .join(tagged.select("artistID").unique(), on="artistID")
        .join(artists, on="artistID")
        .sort("artistID")
    )
    artist_ids = kept["artistID"]
    tracks = kept.select(track_id=pl.col("artistID").cast(pl.String), title="name", artist="name")
    if (folder / "artist_genres.tsv").is_file():
        genres = read(folder / "artist_genres.tsv").group_by("artistID").agg(genres="genre")
        tracks = tracks.join(
            genres.select(pl.col("artistID").cast(pl.String).alias("track_id"), "genres"),
            on="track_id",
            how="left",
            maintain_order="left",
        )

    assigned = tagged.filter(pl.col("artistID").is_in(artist_ids.implode()))
    counts = assigned.group_by("artistID", "tagID").len()
    top = (
        counts.group_by("tagID")
        .agg(pl.col("len").sum())
        .sort("len", "tagID", descending=[True, False])
    )
    top = top.head(TAGS).join(tags, on="tagID", how="left", maintain_order="left")
    grade = (
        (pl.col("len") > 0).cast(pl.Float32) if binary else pl.col("len").log1p().cast(pl.Float32)
    )
    wide = (
        counts.join(top.select("tagID", "tagValue"), on="tagID")
        .with_columns(grade.alias("grade"))
        .pivot("tagValue", index="artistID", values="grade")
    )
    # An artist whose tags are all rare ones has a row of zeros: none of the 400 was given.
    mgp = tracks.select("track_id").join(
        wide.with_columns(pl.col("artistID").cast(pl.String).alias("track_id")).drop("artistID"),
        on="track_id",
        how="left",
        maintain_order="left",
    )
    mgp = mgp.select("track_id", *top["tagValue"]).fill_null(0.0)

    out.mkdir(parents=True, exist_ok=True)
    tracks.write_parquet(out / "tracks.parquet")
    mgp.write_parquet(out / "mgp.parquet")
    listens.filter(pl.col("artistID").is_in(artist_ids.implode())).select(
        user_id=pl.col("userID").cast(pl.String),
        track_id=pl.col("artistID").cast(pl.String),
        plays="weight",
    ).write_parquet(out / "listens.parquet")
    print(f"{len(tracks):,} artists, {len(listens):,} listening counts, {TAGS} tags → {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the HetRec Last.fm files are")
    parser.add_argument("--out", type=Path, default=Path("tables"))
    parser.add_argument("--binary", action="store_true", help="tag or no tag, instead of counts")
    given = parser.parse_args()
    prepare(given.folder, given.out, given.binary)
