"""Tracks by words of their title and artist."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.retrieval.catalogue import Catalogue

LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"}
"""Letters that Unicode doesn't divide into a plain one and an accent."""


class WordSearch:
    """Finds tracks whose title and artist have all words of a text, or words that begin like them.

    Accents and capitals don't count: `bjork` finds Björk.

    Attributes:
        catalogue: the tracks.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        """Prepare the catalogue's titles and artists."""
        self.catalogue = catalogue
        labels = catalogue.labels
        self._texts = labels.select(
            title=plain(pl.col("title")),
            # A leading space, so that every word begins after one.
            all=pl.lit(" ") + plain(pl.concat_str("title", "artist", separator=" ")),
            plays="plays",
        )

    def rows(self, text: str, limit: int = 20) -> NDArray[np.int64]:
        """Rows of the catalogue, the best first.

        Titles that are the text come first, then those that begin with it, then all others; of
        these, what is played more. A text without a word finds nothing; the id of a track finds it.

        Args:
            text: some words, the last of which may be unfinished.
            limit: at most so many.
        """
        known = self.catalogue.row.get(text.strip())
        if known is not None:
            return np.array([known], np.int64)
        words = plain_text(text).split()
        if not words:
            return np.zeros(0, np.int64)
        whole = " ".join(words)
        found = (
            self._texts.lazy()
            .with_row_index("row")
            .filter(*(pl.col("all").str.contains(" " + word, literal=True) for word in words))
            .with_columns(
                exact=pl.col("title") == whole, begins=pl.col("title").str.starts_with(whole)
            )
            .sort("exact", "begins", "plays", "row", descending=[True, True, True, False])
            .head(limit)
            .select("row")
            .collect()
        )
        return found["row"].to_numpy().astype(np.int64)


def plain(text: pl.Expr) -> pl.Expr:
    """Small letters without accents, and single spaces in the place of everything else.

    >>> pl.select(plain(pl.lit("Sigur  Rós: Ágætis byrjun"))).item()
    'sigur ros agaetis byrjun'
    """
    return (
        text.str.to_lowercase()
        .str.normalize("NFKD")
        .str.replace_all(r"\p{M}", "")
        .str.replace_many(LETTERS)
        .str.replace_all(r"['’]", "")
        .str.replace_all(r"[^\p{L}\p{N}]+", " ")
        .str.strip_chars()
    )


def plain_text(text: str) -> str:
    """`plain` of one text.

    >>> plain_text("Mø – Don't")
    'mo dont'
    """
    return str(pl.select(plain(pl.lit(re.sub(r"\s+", " ", text)))).item())
