"""Embeddings: one vector a track."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath
from coldstart.tables.attributes import read_attributes
from coldstart.tables.table import Checker, read_table


def read_vectors(
    path: StrPath, tracks: Sequence[str], broken: Broken | None = None
) -> dict[str, NDArray[np.float32]]:
    """Read one vector a track, all of one width.

    Args:
        path: Parquet with `track_id` and one column of lists of numbers; Parquet or CSV with
            `track_id` and a column a dimension; or an .npy [N, width] whose rows are `tracks`.
        tracks: N ids, which only an .npy needs.
        broken: collects broken rows.

    Returns:
        Track id → [width] float32.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return dict(zip(tracks, _matrix(path, len(tracks)), strict=True))
    table = read_table(path, ["track_id"])
    lists = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.List | pl.Array)]
    if not lists:
        wide = read_attributes(path, broken)
        rows = wide.drop("track_id").to_numpy().astype(np.float32)
        return dict(zip(wide["track_id"], rows, strict=True))
    if len(lists) > 1:
        raise InputError(f"{path}: has several columns of lists: {', '.join(lists)}; keep one")
    (column,) = lists
    check = Checker(path, table.select("track_id", column), broken or Broken(), "track_id")
    check.ids("track_id")
    check.rule("track_id", ~pl.col("track_id").is_first_distinct(), "is there twice")
    vector = pl.col(column).cast(pl.List(pl.Float32), strict=False)
    width = table.select(pl.col(column).cast(pl.List(pl.Float32)).list.len().mode().max()).item()
    check.rule(column, vector.list.len().fill_null(0) != width, f"is not {width} wide", False)
    finite = vector.list.eval(pl.element().is_finite().fill_null(False)).list.all()
    check.rule(column, ~finite, "holds what is no finite number", False)
    vectors = check.result().select("track_id", vector)
    return {track: np.array(v, dtype=np.float32) for track, v in vectors.iter_rows()}


def _matrix(path: Path, rows: int) -> NDArray[np.float32]:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            matrix = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable .npy ({error})") from error
    if matrix.ndim != 2 or len(matrix) != rows or matrix.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: holds {matrix.dtype} {matrix.shape}; needed are numbers [{rows}, width], a "
            "row for each row of the track table, in its order"
        )
    if not np.isfinite(matrix).all():
        row = int(np.flatnonzero(~np.isfinite(matrix).all(1))[0])
        raise InputError(f"{path}: row {row} (counted from 0) holds what is no finite number")
    return matrix.astype(np.float32)
