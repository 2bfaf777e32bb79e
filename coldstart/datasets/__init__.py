"""Public data sets → coldstart's tables: one file a data set, one table of them here."""

from __future__ import annotations

from collections.abc import Callable

from coldstart.datasets import loaders
from coldstart.datasets.summary import Summary

LOADERS: dict[str, Callable[..., Summary]] = {
    "hetrec-lastfm": loaders.hetrec_lastfm,
    "music4all-onion": loaders.music4all_onion,
    "yambda": loaders.yambda,
    "taste-profile": loaders.taste_profile,
    "msd-a": loaders.msd_a,
    "mtg-jamendo": loaders.mtg_jamendo,
    "fma": loaders.fma,
    "movielens": loaders.movielens,
    "amazon-reviews": loaders.amazon_reviews,
}
"""Name of a data set → the function that makes its tables."""
