"""Attributes and texts: a column a value, a row a track."""

from __future__ import annotations

import polars as pl

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath
from coldstart.tables.table import Checker, read_table


def read_attributes(path: StrPath, broken: Broken | None = None) -> pl.DataFrame:
    """Read attributes: `track_id` and a column of finite numbers for each attribute.

    A track without annotations has no row; a cell can't be empty.

    Returns:
        Table of track_id (text) and float32 columns in the file's order.
    """
    table = read_table(path, ["track_id"])
    names = [column for column in table.columns if column != "track_id"]
    if not names:
        raise InputError(f"{path}: there is no attribute column beside 'track_id'")
    check = Checker(path, table, broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    for name in names:
        check.numbers(name)
    return check.result().select("track_id", pl.col(names).cast(pl.Float32))


def read_column(path: StrPath, column: str, broken: Broken | None = None) -> pl.DataFrame:
    """Read `track_id` and one column of text; rows whose cell is empty are left out.

    Returns:
        Table of track_id (text) and `column` (text).
    """
    check = Checker(path, read_table(path, ["track_id", column]), broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    check.text(column)
    table = check.result().select("track_id", column)
    return table.filter(pl.col(column).str.strip_chars().fill_null("") != "")
