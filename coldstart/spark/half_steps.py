"""Half-steps of ALS on executors: blocks of rows, each a Spark task; the other side is mapped."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.factors.als import Array, fold_in, solve_implicit
from coldstart.factors.factorization import Algorithm, understood
from coldstart.files import atomic
from coldstart.spark.tasks import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BLOCK_ENTRIES = 2_000_000
"""A task has about so many plays: seconds of work, so that a lost one costs little."""

BLOCK_ROWS = 100_000
"""A task has at most so many rows."""


class HalfStep(NamedTuple):
    """What all blocks of a half-step have in common.

    Attributes:
        other: file of the other side's vectors [U, K], which all processes of a machine map.
        gram: [K, K] of these; None for `explicit`.
        regularization: λ.
    """

    other: Path
    gram: Array | None
    regularization: float


def fold_in_on(
    session: SparkSession,
    folder: Path,
    rows: csr_matrix,
    other: Array,
    regularization: float,
    algorithm: Algorithm,
    entries: int = BLOCK_ENTRIES,
) -> Array:
    """Solve vectors from their own plays, the other side's fixed, on executors: as `als.fold_in`.

    Args:
        session: an open one.
        folder: on storage that all machines share; what is written there is removed.
        rows: [N, U] confidences (`implicit`) or ratings (`explicit`).
        other: [U, K].
        regularization: λ.
        algorithm: whose equations.
        entries: plays of a block, see `block_bounds`.

    Returns:
        [N, K] float32.
    """
    if rows.shape[0] == 0:
        return np.zeros((0, other.shape[1]), dtype=np.float32)
    place = folder / "folding"
    try:
        blocks = stored_rows(place, rows, entries)
        return half_step_on(session, blocks, other, regularization, algorithm, "folding in")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def stored_rows(folder: Path, rows: csr_matrix, entries: int = BLOCK_ENTRIES) -> list[Path]:
    """Write the rows of a sparse matrix in blocks, see `block_bounds`: a file each, in order."""
    folder.mkdir()
    files = []
    for number, (start, end) in enumerate(block_bounds(rows.indptr, entries)):
        part, file = rows[start:end], folder / f"{number}.npz"
        np.savez(file, indptr=part.indptr, indices=part.indices, data=part.data)
        files.append(file)
    return files


def half_step_on(
    session: SparkSession,
    blocks: list[Path],
    other: Array,
    regularization: float,
    algorithm: Algorithm,
    what: str,
) -> Array:
    """Solve the vectors of all rows, the other side's fixed.

    Each row's system is its own, so the result depends neither on the blocks nor on who solves
    them, and a task that is done twice writes the same file twice.

    Args:
        session: an open one.
        blocks: what `stored_rows` wrote, alone in a folder that all machines share.
        other: [U, K] the vectors of the rows' columns.
        regularization: λ.
        algorithm: whose equations.
        what: is solved, for the progress line.

    Returns:
        [N, K] float32.

    Raises:
        InputError: λ is too small for so few plays, or Spark gives up.
    """
    file = blocks[0].with_name("other.npy")
    np.save(file, other)
    gram = (other.T @ other).astype(np.float32) if algorithm == "implicit" else None
    step = HalfStep(file, gram, regularization)
    spread(session, blocks, functools.partial(solve_rows, step=step), what)
    return np.concatenate([np.load(block.with_suffix(".npy")) for block in blocks])


def block_bounds(
    indptr: NDArray[Any], entries: int = BLOCK_ENTRIES, rows: int = BLOCK_ROWS
) -> list[tuple[int, int]]:
    """First row of each block and the one after its last: about equally many entries each.

    A row isn't divided: a track that everybody plays is a block of its own.

    Args:
        indptr: [N + 1] where the rows of a sparse matrix begin.
        entries: a block has no more than these, if it has several rows.
        rows: nor more rows.

    >>> block_bounds(np.array([0, 1, 2, 9, 10]), entries=3)
    [(0, 2), (2, 3), (3, 4)]
    """
    bounds, start, count = [], 0, len(indptr) - 1
    while start < count:
        end = int(np.searchsorted(indptr, indptr[start] + entries, side="right")) - 1
        end = min(max(end, start + 1), start + rows, count)
        bounds.append((start, end))
        start = end
    return bounds


def solve_rows(block: Path, step: HalfStep) -> None:
    """Write the vectors [N, K] of a block of rows beside it.

    Raises:
        InputError: a system has no single solution.
    """
    other = np.load(step.other, mmap_mode="c")  # the solver wants memory that may be written
    with np.load(block) as stored:
        parts = (stored["data"], stored["indices"], stored["indptr"])
    rows = csr_matrix(parts, shape=(len(parts[2]) - 1, len(other)))
    with understood(step.regularization, other.shape[1]):
        if step.gram is None:
            solved = fold_in(rows, np.asarray(other), step.regularization, "explicit")
        else:
            solved = solve_implicit(rows, np.asarray(other), step.gram, step.regularization)
    with atomic(block.with_suffix(".npy")) as temporary:
        np.save(temporary, solved)
