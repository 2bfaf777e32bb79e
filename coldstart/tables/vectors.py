"""Embeddings: one vector a track."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.addresses.places import called, name_of
from coldstart.errors import Broken, InputError, one_line
from coldstart.files import StrPath, unusable
from coldstart.tables.attributes import read_attributes
from coldstart.tables.columns import ColumnChoice
from coldstart.tables.memory import check_fits
from coldstart.tables.parts import here
from coldstart.tables.table import MAX_NUMBER, Checker, read_table

log = logging.getLogger(__name__)

BRACKETED = r"^\s*(?:(?:np\.|numpy\.|torch\.)?(?:array|tensor)\s*\(\s*)?[\[(]"
"""How the text of a vector begins, as Python, JSON, numpy or torch print it."""

BARE = r"^\s*[-+.\d][^\s,;]*[\s,;]+[-+.\d][^\s,;]*[\s,;]+[-+.\d]"
"""How one without brackets begins: `0,1` alone may be a number with a decimal comma."""

BODY = (
    r"^\s*(?:(?:np\.|numpy\.|torch\.)?(?:array|tensor)\s*\()?[\s\[(]*([^\[\]()]*?)[,;]?\s*"
    r"\]*\)?(?:,\s*dtype=[\w.]+)?\s*\)?\s*$"
)
"""The numbers of such a text; one with several vectors doesn't match."""


def read_vectors(
    path: StrPath,
    tracks: Sequence[str],
    broken: Broken | None = None,
    choice: ColumnChoice | None = None,
    columns: Mapping[str, str] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Read one vector a track, all of one width.

    Args:
        path: Parquet with `track_id` and one column of lists (or arrays) of numbers; Parquet or CSV
            with `track_id` and such lists as text, or a column a dimension; or an .npy [N, width]
            whose rows are `tracks`.
        tracks: N ids, which only an .npy needs.
        broken: collects broken rows.
        choice: of the columns, if there is a column a dimension; as in `read_attributes`.
        columns: `track_id` → what the table calls it, unless it is called that.

    Returns:
        Track id → [width] float32.

    Raises:
        InputError: the file holds no vectors, or several a track; or a row is broken.
    """
    path = called(path)
    if name_of(path).lower().endswith(".npy"):
        with here(path) as place:
            return dict(zip(tracks, _matrix(place, len(tracks)), strict=True))
    table = read_table(path, ["track_id"], columns, optional=("track_id",))
    column = _vector_column(path, table)
    if not column:
        wide = read_attributes(path, broken, choice, columns)
        rows = wide.drop("track_id").to_numpy().astype(np.float32)
        return dict(zip(wide["track_id"], rows, strict=True))
    others = [name for name in table.columns if name not in ("track_id", column)]
    if others:
        shown = ", ".join(others[:5]) + (" …" if len(others) > 5 else "")
        log.info(f"{path}: vectors are read from column '{column}'; not used: {shown}")
    check = Checker(path, table.select("track_id", column), broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    if not isinstance(table.schema[column], pl.List | pl.Array):
        _lists_of_text(check, column)
    else:
        check.table = check.table.with_columns(_flat(check.table[column], check, column))
    track_ids, rows = checked_vectors(check, column)
    return dict(zip(track_ids, rows, strict=True))


def _vector_column(path: StrPath, table: pl.DataFrame) -> str:
    """The column of vectors; empty if each dimension has a column.

    Raises:
        InputError: several columns of vectors, or one of a type that holds none.
    """
    schema = table.schema
    others = [name for name in table.columns if name != "track_id"]
    lists = [name for name in others if isinstance(schema[name], pl.List | pl.Array)]
    texts = [name for name in others if schema[name] in (pl.String, pl.Categorical)]
    for name in texts:
        cells = table[name].cast(pl.String).drop_nulls()
        cells = cells.filter(cells.str.strip_chars() != "")
        # Without brackets only where nothing else can be meant: three numbers in the only column.
        bare = len(others) == 1 and 2 * int(cells.str.contains(BARE).sum()) > len(cells)
        if len(cells) and (bare or cells.str.contains(BRACKETED).all()):
            lists.append(name)
    if len(lists) > 1:
        raise InputError(f"{path}: has several columns of lists: {', '.join(lists)}; keep one")
    if not lists and len(others) == 1:
        dtype = schema[others[0]]
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            raise InputError(
                f"{path}: column '{others[0]}' holds {dtype}, not vectors; store each as a list of "
                "numbers"
            )
    return lists[0] if lists else ""


def _lists_of_text(check: Checker, column: str) -> None:
    """Make texts such as `[0.1, 0.2]` lists of numbers."""
    check.text(column)
    text = pl.col(column)
    shortened = text.str.contains(r"\.\.\.|…").fill_null(False)
    check.rule(column, shortened, "lacks numbers: it was shortened when it was printed", False)
    body = text.str.extract(BODY)
    blank = text.str.strip_chars().fill_null("") == ""
    brackets = [text.str.count_matches(pattern) for pattern in (r"[\[(]", r"[\])]")]
    bad = (body.is_null() & ~blank) | (brackets[0] != brackets[1]).fill_null(False)
    check.rule(column, bad, "is not the text of one vector")
    # `0,1; 0,2` has decimal commas, and is refused: a number has none.
    words = body.str.strip_chars()
    numbers = (
        pl.when(words.fill_null("") == "")
        .then(pl.lit([], dtype=pl.List(pl.String)))
        .when(words.str.contains(";", literal=True))
        .then(words.str.split(";"))
        .when(words.str.contains(",", literal=True))
        .then(words.str.split(","))
        .otherwise(words.str.replace_all(r"\s+", " ").str.split(" "))
    )
    stripped = numbers.list.eval(pl.element().str.strip_chars())
    check.table = check.table.with_columns(stripped.alias(column))


def _flat(vectors: pl.Series, check: Checker, column: str) -> pl.Series:
    """Lists of numbers or texts; levels of lists with one member each are taken away.

    Raises:
        InputError: a track has several vectors, or members are no numbers.
    """
    vectors = vectors.cast(_as_lists(vectors.dtype))
    inner = _inner(vectors.dtype)
    while isinstance(inner, pl.List):
        if (vectors.list.len().fill_null(0) <= 1).all():
            vectors = vectors.list.first()
        elif (vectors.explode().list.len().fill_null(1) == 1).all():
            vectors = vectors.list.eval(pl.element().list.first())
        else:
            row = int((vectors.list.len().fill_null(0) > 1).arg_true()[0])
            track = check.table["track_id"][row]
            raise InputError(
                f"{check.path}: column '{column}' has {len(vectors[row]):,} vectors for track "
                f"{track!r}; needed is one a track: take their mean, or choose one"
            )
        inner = _inner(vectors.dtype)
    good = inner.is_numeric() or inner in (pl.Boolean, pl.String, pl.Null)
    check.kind(column, good, "not lists of numbers")
    return vectors


def _as_lists(dtype: pl.DataType) -> pl.DataType:
    """The type with lists instead of arrays of a fixed size, at each level."""
    if not isinstance(dtype, pl.List | pl.Array):
        return dtype
    return pl.List(_as_lists(_inner(dtype)))


def _inner(dtype: pl.DataType) -> pl.DataType:
    """The type of a list's members."""
    assert isinstance(dtype, pl.List | pl.Array)
    inner = dtype.inner
    assert isinstance(inner, pl.DataType)
    return inner


def checked_vectors(check: Checker, column: str) -> tuple[pl.Series, NDArray[np.float32]]:
    """Vectors of one width, of finite numbers that float32 can hold.

    Args:
        check: of a table with lists of numbers in this column; broken rows are taken out.
        column: its name.

    Returns:
        N ids, of the column that `check` names rows by, and [N, width].
    """
    widths = check.table[column].list.len()
    filled = widths.filter(widths.fill_null(0) > 0)
    if filled.is_empty():
        raise InputError(f"{check.path}: column '{column}' has no vector: every cell is empty")
    width = int(filled.mode().to_numpy().max())
    check.rule(column, pl.col(column).list.len().fill_null(0) == 0, "is empty", False)
    check.rule(column, pl.col(column).list.len() != width, f"is not {width} wide", False)
    flat = check.table[column].explode()
    if not flat.dtype.is_float():
        flat = flat.cast(pl.Float64, strict=False)
    matrix = flat.fill_null(float("nan")).to_numpy().reshape(-1, width)
    matrix = matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False)
    finite, small = np.isfinite(matrix), np.abs(matrix) <= MAX_NUMBER
    check.table = check.table.with_columns(
        __finite=pl.Series(finite.all(1)), __small=pl.Series((small | ~finite).all(1))
    )
    matrix = matrix[(finite & small).all(1)]
    check.rule(column, ~pl.col("__finite"), "holds what is no finite number", False)
    check.rule(column, ~pl.col("__small"), f"holds a number above {MAX_NUMBER:g}", False)
    return check.result()[check.item], matrix.astype(np.float32)


def _matrix(path: Path, rows: int) -> NDArray[np.float32]:
    if reason := unusable(path):
        raise InputError(f"{path}: {reason}")
    try:
        # A map of the file: a header that promises more than the file has is refused.
        matrix: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, SyntaxError, TokenError, TypeError, ArithmeticError) as error:
        reason = one_line(error)
        raise InputError(
            f"{path}: not a readable .npy ({reason}); make it anew with numpy.save"
        ) from error
    shape = matrix.shape
    if matrix.ndim > 2 and matrix.size == np.prod(shape[:1]) * max(shape[1:]):
        matrix = matrix.reshape(shape[0], -1)  # [N, 1, width]
    if matrix.ndim != 2 or len(matrix) != rows or matrix.dtype.kind not in "fiu" or not matrix.size:
        raise InputError(
            f"{path}: holds {matrix.dtype} {shape}; needed are numbers [{rows}, width], a "
            "row for each row of the track table, in its order"
        )
    check_fits(path, 4 * matrix.size)
    matrix = matrix.astype(np.promote_types(matrix.dtype, np.float32), copy=False)
    for bad, what in (
        (~np.isfinite(matrix).all(1), "what is no finite number"),
        (~(np.abs(matrix) <= MAX_NUMBER).all(1), f"a number above {MAX_NUMBER:g}"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(f"{path}: row {row} (counted from 0) holds {what}")
    return np.array(matrix, dtype=np.float32)
