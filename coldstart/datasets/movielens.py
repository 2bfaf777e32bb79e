"""MovieLens → tables. A film stands where a track would, and is its own artist.

GroupLens publishes md5s; those here are quoted from other projects. `latest-small` changes, and has
none that we know of.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from coldstart.datasets.fetching import Remote
from coldstart.datasets.originals import About, Original, OriginalPaths, Originals
from coldstart.datasets.ratings import listens_of
from coldstart.datasets.reading import Rows, Tables, filter_by_listeners, pieces, quoted, require
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath

HOST = "https://files.grouplens.org/datasets/movielens"
MD5 = {
    "latest-small": "",
    "20m": "md5:cd245b17a1ae2cc31bb14903e1204af3",
    "25m": "md5:6b51fb2759a8657d3bfcbfc42b592ada",
    "32m": "md5:d472be332d4daa821edc399621853b57",
}
NO_GENRES = "(no genres listed)"
ABOUT = About(
    name="movielens",
    title="MovieLens (GroupLens)",
    page="https://grouplens.org/datasets/movielens/",
    terms=(
        "research; no commercial use without permission; 20m and 25m must not be redistributed, "
        "the others only under their own terms; see the README in the .zip"
    ),
    citation=(
        "Harper, Konstan: The MovieLens Datasets: History and Context, ACM Transactions on "
        "Interactive Intelligent Systems 5(4), 2015; of the genome also Vig, Sen, Riedl: The Tag "
        "Genome, ACM Transactions on Interactive Intelligent Systems 2(3), 2012"
    ),
    remotes=tuple(
        Remote(f"ml-{size}.zip", f"{HOST}/ml-{size}.zip", md5, by="GroupLens, say other projects")
        for size, md5 in MD5.items()
    ),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    size: Literal["latest-small", "20m", "25m", "32m"],
    min_rating: float | None,
    min_listeners: int,
    skip_broken: bool,
) -> Summary:
    """See `movielens` in `loaders.py`; `min_rating` None: ratings as they are."""
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    archive = f"ml-{size}.zip"
    films = _films(files.need("movies.csv", archive), broken)
    original = files.need("ratings.csv", archive)
    rows = pieces(original, ["userId", "movieId", "rating", "timestamp"], broken, separator=",")
    listens = listens_of(
        original, rows, ("userId", "movieId"), broken, unit="s", min_rating=min_rating
    )
    ids = films.select("track_id")
    tables.explicit = min_rating is None
    tables.stream(
        "listens",
        (piece.join(ids, on="track_id", how="semi", maintain_order="left") for piece in listens),
        lambda log: filter_by_listeners(log, min_listeners),
    )
    films = films.join(tables.listened_tracks(), on="track_id", how="semi", maintain_order="left")
    tables.write("tracks", films)
    ids = films.select("track_id")
    if scores := files.find("genome-scores.csv"):
        names = _names(files.need("genome-tags.csv", archive), broken)
        genome = _genome(scores, names, ids, broken)
        if len(genome):
            tables.write("genome", genome, "attributes")
    if given := files.find("tags.csv"):
        tags = _tags(given, ids, broken)
        if len(tags):
            tables.write("tags", tags, "texts")
    return tables.summary()


def _films(original: Original, broken: Broken) -> pl.DataFrame:
    """Id, title, artist, genres and year; the title is as GroupLens writes it, with the year."""
    rows = _rows(original, ["movieId", "title", "genres"], broken)
    rows.rule("movieId", ~pl.col("movieId").is_first_distinct(), "is there twice")
    rows.rule("title", pl.col("title").is_null(), "is empty")
    genre = pl.element()
    genres = pl.col("genres").str.split("|")
    year = pl.col("title").str.extract(r"\(((?:18|19|20)\d\d)[^()]*\)\s*$")
    return rows.result().select(
        track_id="movieId",
        title="title",
        artist="title",
        artist_id="movieId",  # two films may have one title and year
        genres=genres.list.eval(genre.filter((genre != NO_GENRES) & (genre != ""))),
        release_date=year.cast(pl.Int32),
    )


def _names(original: Original, broken: Broken) -> pl.DataFrame:
    """Number and name of the genome's tags, in the file's order."""
    rows = _rows(original, ["tagId", "tag"], broken)
    rows.rule("tag", pl.col("tag").is_null(), "is empty")
    for column in ("tagId", "tag"):
        rows.rule(column, ~pl.col(column).is_first_distinct(), "is there twice")
    return rows.result().select("tagId", "tag")


def _genome(
    scores: Original, names: pl.DataFrame, films: pl.DataFrame, broken: Broken
) -> pl.DataFrame:
    """A row a film that has scores, a column a tag."""
    tags: list[str] = names["tag"].to_list()
    if "track_id" in tags:
        raise InputError("genome-tags.csv: a tag is called 'track_id', as the column of ids is")
    needed = ["movieId", "tagId", "relevance"]
    columns = names.with_row_index("column")
    schema = dict.fromkeys(tags, pl.Float32())
    frames = [pl.DataFrame(schema={"track_id": pl.String(), **schema})]
    for piece in pieces(scores, needed, broken, separator=","):
        rows = Rows(scores, piece.select("__row", *needed), broken, "movieId")
        rows.ids("movieId")
        known = pl.col("tagId").is_in(names["tagId"].to_list()).fill_null(value=False)
        rows.rule("tagId", ~known, "is none of genome-tags.csv")
        twice = ~pl.struct("movieId", "tagId").is_first_distinct()
        rows.rule("tagId", twice, "is there twice for this film")
        rows.numbers("relevance")
        table = rows.rest().join(columns, on="tagId", maintain_order="left")
        ids = table.select(track_id="movieId").unique(maintain_order=True)
        ids = ids.join(films, on="track_id", how="semi", maintain_order="left")
        table = table.join(ids.with_row_index("row"), left_on="movieId", right_on="track_id")
        cells = np.full((len(ids), len(tags)), np.nan, np.float32)
        cells[table["row"].to_numpy(), table["column"].to_numpy()] = table["relevance"].to_numpy()
        frames.append(pl.DataFrame(cells, schema=schema).insert_column(0, ids["track_id"]))
    # A film's scores may lie in two pieces; of a number and NaN, `max` is the number.
    joined = pl.concat(frames).group_by("track_id", maintain_order=True)
    genome = joined.agg(pl.col(tags).max())
    whole = pl.all_horizontal(pl.col(tags).is_not_nan())
    broken.add(
        Fault(scores.name, None, f"film {film!r}", "tagId", f"lacks some of the {len(tags):,} tags")
        for film in genome.filter(~whole)["track_id"]
    )
    return genome.filter(whole)


def _tags(original: Original, films: pl.DataFrame, broken: Broken) -> pl.DataFrame:
    """A text a film: the tags that users gave it, a line each, as often as they were given."""
    given = _rows(original, ["movieId", "tag"], broken).rest().drop_nulls("tag")
    texts = given.group_by(pl.col("movieId").alias("track_id"), maintain_order=True).agg(
        pl.col("tag").str.join("\n").alias("text")
    )
    return films.join(texts, on="track_id", maintain_order="left")


def _rows(original: Original, columns: list[str], broken: Broken) -> Rows:
    """The rows of a small file that may have quotes; the first column is an id."""
    table = quoted(original)
    require(original, table.columns, columns)
    rows = Rows(original, table.select(columns), broken, columns[0])
    rows.ids(columns[0])
    return rows
