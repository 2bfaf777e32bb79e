"""Splits: which track is for training, validation or test."""

from __future__ import annotations

import polars as pl

from coldstart.errors import Broken
from coldstart.files import StrPath
from coldstart.tables.table import Checker, read_table

SPLITS = ("train", "val", "test")
"""The sides of a split."""


def read_splits(path: StrPath) -> pl.DataFrame:
    """Read a split table: `track_id`, `split` (train, val or test), each track once."""
    broken = Broken(remedy="Mend it, or make it anew with `coldstart split`.")
    check = Checker(path, read_table(path, ["track_id", "split"]), broken, "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    check.text("split")
    valid = pl.col("split").is_in(SPLITS).fill_null(False)
    check.rule("split", ~valid, f"is none of {', '.join(SPLITS)}")
    return check.result().select("track_id", "split")


def read_ids(path: StrPath) -> list[str]:
    """Read the track_id column of a table."""
    broken = Broken(remedy="Mend it, or leave these rows out of the table.")
    check = Checker(path, read_table(path, ["track_id"]), broken, "track_id")
    check.ids("track_id")
    return check.result()["track_id"].to_list()
