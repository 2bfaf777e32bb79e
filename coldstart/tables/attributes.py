"""Attributes and texts: a column a value, a row a track."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath
from coldstart.tables.columns import (
    ColumnChoice,
    doubtful_columns,
    refuse_columns,
    unreadable_columns,
    without_index,
)
from coldstart.tables.table import Checker, read_table


def read_attributes(
    path: StrPath,
    broken: Broken | None = None,
    choice: ColumnChoice | None = None,
    columns: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Read attributes: `track_id` and a column of finite numbers for each attribute.

    A track without annotations has no row; a cell can't be empty.

    Args:
        path: a table; see `read_table`.
        broken: collects broken rows.
        choice: columns that are no attributes, and such that are though they look otherwise.
        columns: `track_id` → what the table calls it, unless it is called that.

    Returns:
        Table of track_id (text) and float32 columns in the file's order.

    Raises:
        InputError: a column may be no attribute, such as an id, and `choice` doesn't name it.
    """
    choice = choice or ColumnChoice()
    table = without_index(
        path, read_table(path, ["track_id"], columns, optional=("track_id",)), choice
    )
    names = [column for column in table.columns if column != "track_id"]
    if not names:
        raise InputError(f"{path}: there is no attribute column beside 'track_id'")
    unreadable = unreadable_columns(table, names)
    names = [name for name in names if name not in unreadable]
    check = Checker(path, table, broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    check.numbers(*names)
    table = check.result()
    doubtful = doubtful_columns({name: table[name].to_numpy() for name in names}, choice)
    refuse_columns(path, unreadable, doubtful)
    return table.select("track_id", pl.col(names).cast(pl.Float32))


def read_column(
    path: StrPath,
    column: str,
    broken: Broken | None = None,
    columns: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Read `track_id` and one column of text; rows whose cell is empty are left out.

    Args:
        path: a table; see `read_table`.
        column: `text` or `path`.
        broken: collects broken rows.
        columns: what the table calls these two; `track_id` may be called that all the same.

    Returns:
        Table of track_id (text) and `column` (text).
    """
    names = {name: each for name, each in (columns or {}).items() if name in ("track_id", column)}
    table = read_table(path, ["track_id", column], names, optional=("track_id",))
    check = Checker(path, table, broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    check.text(column)
    table = check.result().select("track_id", column)
    return table.filter(pl.col(column).str.strip_chars().fill_null("") != "")
