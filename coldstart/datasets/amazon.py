"""Amazon Reviews 2023, one category → tables. A product stands where a track would.

No checksums are published by the host, as far as we know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from coldstart.datasets.fetching import Remote
from coldstart.datasets.originals import About, Original, OriginalPaths, Originals
from coldstart.datasets.ratings import listens_of
from coldstart.datasets.reading import Tables, filter_by_listeners, pieces, require, whole_lines
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath

HOST = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023"
RATING = ("user_id", "parent_asin", "rating", "timestamp")
"""Columns of the ratings, and fields of a review."""
PRODUCT = ("parent_asin", "title", "store", "features", "description", "categories")
ABOUT = About(
    name="amazon-reviews",
    title="Amazon Reviews 2023 (McAuley Lab)",
    page="https://amazon-reviews-2023.github.io/",
    terms="we could read no licence: ask the authors",
    citation=(
        "Hou, Li, He, Yan, Chen, McAuley: Bridging Language and Items for Retrieval and "
        "Recommendation, 2024, arXiv:2403.03952"
    ),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    category: str,
    min_rating: float | None,
    min_listeners: int,
    skip_broken: bool,
) -> Summary:
    """See `amazon_reviews` in `loaders.py`; `min_rating` None: ratings as they are."""
    if not re.fullmatch(r"\w+", category):
        raise InputError(f"category: {category!r} is no name of one, such as Digital_Music")
    files, broken = Originals(_with(ABOUT, category), source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    csv, reviews = f"{category}.csv", f"{category}.jsonl"
    original = files.find(csv) or files.find(reviews) or files.need(csv)
    if original.name == csv:
        rows = pieces(original, RATING, broken, separator=",")
    else:
        rows = _reviews(original, broken)
    names = ("user_id", "parent_asin")
    tables.explicit = min_rating is None
    tables.stream(
        "listens",
        listens_of(original, rows, names, broken, unit="ms", min_rating=min_rating),
        # A user may have reviewed a product twice.
        lambda log: filter_by_listeners(log, min_listeners, each_once=False),
    )
    listened = tables.listened_tracks().sort("track_id")
    found: list[pl.DataFrame] = []

    def texts() -> Iterator[pl.DataFrame]:
        """The texts go to the disk, the rest stays here."""
        meta = files.need(f"meta_{category}.jsonl")
        for products in _products(meta, set(listened["track_id"]), broken):
            found.append(products.drop("text"))
            yield products.select("track_id", "text").filter(pl.col("text") != "")

    tables.stream("description", texts(), kind="texts")
    tables.write("tracks", _tracks(listened, pl.concat(found)))
    return tables.summary()


def _with(about: About, category: str) -> About:
    """The data set with the files of this category."""
    places = (
        f"benchmark/0core/rating_only/{category}.csv",
        f"raw/meta_categories/meta_{category}.jsonl",
    )
    remotes = (Remote(f"{place.rpartition('/')[2]}.gz", f"{HOST}/{place}.gz") for place in places)
    return replace(about, remotes=tuple(remotes))


def _tracks(listened: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """The rated products; of some nothing is known but their id."""
    # What is music has the store as "NAME Format: Audio CD".
    store = pl.col("store").str.replace(r"\s*\bFormat:.*$", "").str.strip_chars()
    name = pl.when(store != "").then(store)
    joined = listened.join(products, on="track_id", how="left", maintain_order="left")
    return joined.select(
        "track_id",
        pl.coalesce("title", "track_id").alias("title"),
        pl.coalesce(name, pl.lit("unknown")).alias("artist"),
        # Products without a store are not of one artist: the id stays empty.
        name.alias("artist_id"),
        "genres",
    )


def _reviews(original: Original, broken: Broken) -> Iterator[pl.DataFrame]:
    """User, product, rating and time of each review, as text."""
    for objects in _objects(original, RATING, broken):
        columns = {name: [_text(thing.get(name)) for _, thing in objects] for name in RATING}
        table = pl.DataFrame(columns, schema=dict.fromkeys(RATING, pl.String()))
        yield table.with_columns(pl.Series("__row", [row for row, _ in objects], pl.Int64))


def _products(original: Original, wanted: set[str], broken: Broken) -> Iterator[pl.DataFrame]:
    """Id, title, store, genres and text of the wanted products, the first line of each."""
    schema = {
        **dict.fromkeys(("track_id", "title", "store"), pl.String()),
        "genres": pl.List(pl.String),
        "text": pl.String(),
    }
    for objects in _objects(original, PRODUCT[:2], broken):
        rows = []
        for row, thing in objects:
            product, title, store = (_text(thing.get(name)) for name in PRODUCT[:3])
            if product is None:
                fault = "is no id: it is empty"
                broken.add([Fault(original.name, row, f"title {title!r}", "parent_asin", fault)])
            elif product in wanted:
                wanted.remove(product)
                features, description, categories = (
                    _texts(thing.get(name)) for name in PRODUCT[3:]
                )
                text = "\n".join([*_texts(title), *features, *description])
                rows.append((product, title, store, categories, text))
        yield pl.DataFrame(rows, schema=schema, orient="row")


def _objects(
    original: Original, fields: Sequence[str], broken: Broken
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """The objects of a file that has one a line, with their row's number, in pieces.

    Raises:
        InputError: the first of them lacks a field, or there are none.
    """
    before, known = 0, False
    for block in whole_lines(original):
        objects = []
        lines = block.split(b"\n")[:-1]
        for row, line in enumerate(lines, before + 1):
            try:
                thing = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError):
                thing = ()
            if isinstance(thing, dict):
                objects.append((row, thing))
            elif line.strip():
                item = f"line {line[:40].decode('utf-8', 'replace')!r}"
                broken.add([Fault(original.name, row, item, "line", "is no JSON object")])
        before += len(lines)
        if objects:
            if not known:
                require(original, list(objects[0][1]), fields)
                known = True
            yield objects
    if not known:
        raise InputError(f"{original}: the file has no rows")


def _text(value: object) -> str | None:
    """A value as text that can be written; None where it says nothing."""
    if not isinstance(value, str | int | float):
        return None
    return str(value).encode("utf-8", "replace").decode().strip() or None


def _texts(value: object) -> list[str]:
    """The texts of a list, or a text alone."""
    values = value if isinstance(value, list) else [value]
    return [text for text in map(_text, values) if text]
