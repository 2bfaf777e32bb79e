"""Any table that people bring: reading and writing Parquet and CSV, checking rows."""

from __future__ import annotations

import csv
import difflib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath, atomic

log = logging.getLogger(__name__)

MAX_NUMBER = 1e18
"""Attributes and ratings beyond it are broken; the square of a larger one overflows float32."""


def read_table(path: StrPath, required: Sequence[str]) -> pl.DataFrame:
    """Read a Parquet or CSV table with at least the `required` columns.

    CSV cells stay text (numbers are converted where they are checked).

    Raises:
        InputError: no such file, another ending, unreadable, no rows, or a missing column.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    readers = {
        ".csv": lambda: pl.read_csv(path, infer_schema=False),
        ".parquet": lambda: pl.read_parquet(path),
    }
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: tables are read from .parquet or .csv files")
    try:
        table = readers[path.suffix.lower()]()
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a readable {path.suffix} table ({error})") from error
    for column in table.columns:
        copy = re.fullmatch(r"(.+)_duplicated_\d+", column)  # the CSV reader's name for it
        if copy and copy[1] in table.columns:
            raise InputError(f"{path}: there are two columns '{copy[1]}'; rename or remove one")
    for column in required:
        if column not in table.columns:
            similar = difflib.get_close_matches(column, table.columns, n=1, cutoff=0.5)
            hint = f" Is it '{similar[0]}'? Rename it." if similar else ""
            raise InputError(
                f"{path}: there is no column '{column}'; the table has: "
                f"{', '.join(table.columns)}.{hint}"
            )
    if table.is_empty():
        raise InputError(f"{path}: the table has no rows")
    return table


def write_table(path: StrPath, table: pl.DataFrame) -> None:
    """Write a table as Parquet or CSV (by the ending), atomically."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{path}: tables are written as .parquet or .csv files")
    with atomic(path) as temporary:
        if path.suffix.lower() == ".csv":
            table.write_csv(temporary)
        else:
            table.write_parquet(temporary)


def write_broken(path: StrPath, broken: Broken) -> str:
    """Write the list of what was skipped as CSV, if anything was; return a sentence about it."""
    if not broken.faults:
        return ""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Fault._fields)
        writer.writerows(broken.faults)
    return f"{len(broken.faults):,} broken items were skipped; the reasons are in {path}"


class Checker:
    """Applies rules to a table; each drops (or raises on) the rows that break it."""

    def __init__(self, path: StrPath, table: pl.DataFrame, broken: Broken, item: str) -> None:
        self.path, self.broken, self.item = Path(path), broken, item
        self.table = table.with_row_index("__row", offset=1)

    def rule(self, field: str, bad: pl.Expr, reason: str, value: bool = True) -> None:
        """Rows where `bad` holds are faulty in `field`."""
        rows = self.table.filter(bad)
        if rows.is_empty():
            return
        self.broken.add(
            Fault(
                self.path.name,
                row["__row"],
                f"{self.item.removesuffix('_id')} {row[self.item]!r}",
                field,
                f"{row[field]!r} {reason}" if value else reason,
            )
            for row in rows.iter_rows(named=True)
        )
        self.table = self.table.filter(~bad)

    def text(self, *columns: str) -> None:
        """Convert to text."""
        for column in columns:
            dtype = self.table.schema[column]
            good = not dtype.is_nested() and dtype not in (pl.Binary, pl.Object)
            self.kind(column, good, "not text")
        self.table = self.table.with_columns(pl.col(columns).cast(pl.String))

    def kind(self, column: str, good: bool, reason: str) -> None:
        """Raise InputError about a column's type unless it is `good`."""
        if not good:
            dtype = self.table.schema[column]
            raise InputError(f"{self.path}: column '{column}' holds {dtype}, {reason}")

    def ids(self, column: str) -> None:
        """Ids are text, and neither empty nor blank. As a float, 7 would become '7.0'."""
        dtype = self.table.schema[column]
        good = dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)
        self.kind(column, good, "but ids are text or whole numbers")
        self.text(column)
        self.rule(
            column,
            pl.col(column).is_null() | (pl.col(column).str.strip_chars() == ""),
            "is no id: it is empty",
        )
        spaced = self.table[column].filter(self.table[column].str.contains(r"^\s|\s$"))
        if len(spaced):
            log.warning(
                f"{self.path}: {spaced.n_unique():,} ids of column '{column}' begin or end with "
                f"a space, such as {spaced[0]!r}; they stay as they are, and are other ids than "
                "those without it"
            )

    def numbers(self, column: str) -> None:
        """Convert to float64; what is no number, and NaN and infinities, are faults."""
        dtype = self.table.schema[column]
        good = dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)
        self.kind(column, good, "not numbers")
        as_number = pl.col(column).cast(pl.Float64, strict=False)
        self.rule(column, as_number.is_null() | ~as_number.is_finite(), "is not a finite number")
        self.rule(column, as_number.abs() > MAX_NUMBER, "is too large a number")
        self.table = self.table.with_columns(pl.col(column).cast(pl.Float64))

    def result(self) -> pl.DataFrame:
        """The rows that broke no rule; InputError if there are none."""
        if self.table.is_empty():
            raise InputError(f"{self.path}: no usable rows are left")
        return self.table.drop("__row")
