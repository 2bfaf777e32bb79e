"""Splits: which track is for training, validation or test."""

from __future__ import annotations

import polars as pl

from coldstart.errors import Broken
from coldstart.files import StrPath
from coldstart.tables.table import Checker, read_table

SPLITS = ("train", "val", "test")
"""The sides of a split: what is learnt from and measured."""

NEW = "new"
"""The tracks that were added to a dataset: to be recommended, not learnt from or measured."""

IN_USE = (*SPLITS, NEW)
"""All tracks of a dataset: what is predicted, recommended and exported."""


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


def read_ids(path: StrPath, column: str = "track_id") -> list[str]:
    """Read a table's column of ids: of tracks, or of users."""
    broken = Broken(remedy="Mend it, or leave these rows out of the table.")
    check = Checker(path, read_table(path, [column]), broken, column)
    check.ids(column)
    return check.result()[column].to_list()
