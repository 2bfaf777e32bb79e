"""Any table that people bring: reading and writing Parquet and CSV, checking rows."""

from __future__ import annotations

import csv
import difflib
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from coldstart.addresses.copies import origin_of
from coldstart.addresses.places import called, name_of
from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath, atomic
from coldstart.tables.column_names import flag_value, listed, plain, with_names
from coldstart.tables.formats import read_part
from coldstart.tables.parts import Part, here, parts_of
from coldstart.tables.times import check_years

log = logging.getLogger(__name__)

MAX_NUMBER = 1e18
"""Attributes and ratings beyond it are broken; the square of a larger one overflows float32."""


def read_table(
    path: StrPath,
    required: Sequence[str],
    columns: Mapping[str, str] | None = None,
    optional: Collection[str] = (),
) -> pl.DataFrame:
    """Read a table with at least the `required` columns.

    Cells of text files stay text (numbers are converted where they are checked).

    Args:
        path: a Parquet, CSV, TSV or JSON-lines file, text also as .gz or .zst; a folder or a
            pattern of several such files with the same columns; or the address of such.
        required: columns that it must have.
        columns: what the table calls its columns, of `column_names`; None where the user can't say.
        optional: columns that the table may call as they are read, whatever `columns` says.

    Raises:
        InputError: no such file, another ending, unreadable, no rows, or a missing column.
    """
    names = columns or {}
    headers = [names.get(column) or column for column in required]
    with here(path) as place:
        parts = parts_of(place)
        tables = [_read(part, headers) for part in parts]
        table = tables[0] if len(tables) == 1 else _joined(place, parts, tables)
    path = called(path)
    if names:
        table = with_names(path, table, names, optional)
    for column in required:
        if column not in table.columns:
            raise InputError(_missing(path, column, table.columns, columns is not None))
    if table.is_empty():
        raise InputError(f"{path}: the table has no rows")
    return table


def _read(part: Part, headers: Sequence[str]) -> pl.DataFrame:
    """One file, with what the names of its folders say."""
    table = read_part(part.path, headers)
    for column in table.columns:
        copy = re.fullmatch(r"(.+)_duplicated_\d+", column)  # the CSV reader's name for it
        if copy and copy[1] in table.columns:
            raise InputError(
                f"{part.path}: there are two columns '{copy[1]}'; rename or remove one"
            )
    values = {
        column: pl.lit(value, dtype=pl.String)
        for column, value in part.values.items()
        if column not in table.columns
    }
    return table.with_columns(**values) if values else table


def _joined(path: StrPath, parts: Sequence[Part], tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """All parts' rows.

    Raises:
        InputError: parts have other columns, or columns of other types.
    """
    first = tables[0]
    schemas = [table.schema for table in tables]  # each is made anew when it is asked for
    for part, table in zip(parts[1:], tables[1:], strict=True):
        _check_columns(path, (parts[0].path, first.columns), (part.path, table.columns))
        _check_columns(path, (part.path, table.columns), (parts[0].path, first.columns))
    for column in first.columns:
        known, where = schemas[0][column], parts[0].path
        for part, schema in zip(parts, schemas, strict=True):
            dtype = schema[column]
            if not _alike(known, dtype):
                raise InputError(
                    f"{path}: column '{column}' is {known} in {where}, but {dtype} in {part.path}"
                )
            if known == pl.Null:  # of a part in which the column is empty
                known, where = dtype, part.path
    table = pl.concat([each.select(first.columns) for each in tables], how="vertical_relaxed")
    log.info(f"{origin_of(path)}: {len(parts):,} parts, {len(table):,} rows")
    return table


def _check_columns(
    path: StrPath, one: tuple[Path, Sequence[str]], other: tuple[Path, Sequence[str]]
) -> None:
    """Raise InputError if a part has columns that another lacks."""
    present = set(other[1])
    names = [column for column in one[1] if column not in present]
    if names:
        raise InputError(
            f"{path}: its parts have different columns: {other[0]} lacks {listed(names)}, which "
            f"{one[0]} has"
        )


def _alike(one: pl.DataType, other: pl.DataType) -> bool:
    """Whether values of these types keep their meaning, and ids their text, in one column."""
    if one == other or pl.Null in (one, other):
        return True
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime):
        return one.time_zone == other.time_zone
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        inner, other_inner = one.inner, other.inner
        assert isinstance(inner, pl.DataType)
        assert isinstance(other_inner, pl.DataType)
        return _alike(inner, other_inner)
    return (one.is_integer() and other.is_integer()) or (one.is_float() and other.is_float())


def _missing(path: StrPath, column: str, present: Sequence[str], can_name: bool) -> str:
    """The message about a column that isn't there, with a name that is nearly the same."""
    near = difflib.get_close_matches(
        plain(column), [plain(name) for name in present], n=1, cutoff=0.85
    )
    hint = ""
    if near:
        name = next(name for name in present if plain(name) == near[0])
        remedy = f"Pass --columns {flag_value(column, name)}" if can_name else "Rename it"
        hint = f" Is it '{name}'? {remedy}."
    elif can_name:
        hint = f" If it has another name: --columns {column}=NAME."
    return f"{path}: there is no column '{column}'; the table has: {listed(present)}.{hint}"


def shown(value: object) -> str:
    """A cell for a message, shortened.

    >>> shown("a" * 300) == repr("a" * 99 + "…")
    True
    """
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= 100 else text[:99] + "…"
    return repr(text) if isinstance(value, str) else text


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


def is_text(dtype: pl.DataType) -> bool:
    """Whether values of this type are texts, or can be written as such."""
    return not dtype.is_nested() and dtype not in (pl.Binary, pl.Object, pl.Duration)


class Checker:
    """Applies rules to a table; each drops (or raises on) the rows that break it."""

    def __init__(self, path: StrPath, table: pl.DataFrame, broken: Broken, item: str) -> None:
        self.path, self.broken, self.item = called(path), broken, item
        self.table = table.with_row_index("__row", offset=1)

    def rule(self, field: str, bad: pl.Expr, reason: str, value: bool = True) -> None:
        """Rows where `bad` holds are faulty in `field`."""
        mask = self.table.select(bad).to_series().fill_null(value=False)
        if mask.any():
            self._add(field, mask, reason, value)
            self.table = self.table.filter(~mask)

    def _add(self, field: str, mask: pl.Series, reason: str, value: bool = True) -> None:
        """Record faults of these rows in `field`."""
        rows = self.table.select({"__row", self.item, field}).filter(mask)
        self.broken.add(
            Fault(
                name_of(self.path),
                row["__row"],
                f"{self.item.removesuffix('_id')} {shown(row[self.item])}",
                field,
                f"{shown(row[field])} {reason}" if value else reason,
            )
            for row in rows.iter_rows(named=True)
        )

    def text(self, *columns: str) -> None:
        """Convert to text."""
        for column in columns:
            dtype = self.table.schema[column]
            self.kind(column, is_text(dtype), "not text")
            if dtype in (pl.Date, pl.Datetime):
                check_years(self.table[column], f"{self.path}: column '{column}'")
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

    def numbers(self, *columns: str) -> None:
        """Convert to float64; what is no number, and NaN and infinities, are faults.

        There may be thousands of columns: each is looked at alone, and the table, of which every
        change takes time for each of its columns, is changed once.
        """
        schema = self.table.schema
        for column in columns:
            dtype = schema[column]
            good = dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)
            self.kind(column, good, "not numbers")
        numbers = self.table.select(pl.col(columns).cast(pl.Float64, strict=False))
        kept = np.ones(len(numbers), bool)
        for cells in numbers:
            values = cells.to_numpy()  # NaN where a cell holds none
            finite, small = np.isfinite(values), np.abs(values) <= MAX_NUMBER
            for good, reason in (
                (finite, "is not a finite number"),
                (small | ~finite, "is too large a number"),
            ):
                if not good.all() and (bad := kept & ~good).any():
                    self._add(cells.name, pl.Series(bad), reason)
                    kept &= good
        table = self.table.with_columns(numbers)
        self.table = table if kept.all() else table.filter(pl.Series(kept))

    def result(self) -> pl.DataFrame:
        """The rows that broke no rule; InputError if there are none."""
        if self.table.is_empty():
            raise InputError(f"{self.path}: no usable rows are left")
        return self.table.drop("__row")
