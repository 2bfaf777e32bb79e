"""Factorisation on executors: by half-steps of our own; or Spark ML's ALS, ended by these."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import Array, random_tracks
from coldstart.factors.factorization import (
    Algorithm,
    FactorizationSettings,
    FactorPair,
    Listens,
    Solver,
    factorize_matrix,
)
from coldstart.files import StrPath
from coldstart.spark.exchange import exchange_folder
from coldstart.spark.half_steps import fold_in_on, half_step_on, stored_rows
from coldstart.spark.session import SparkOptions, reason_of, spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

WAY = "spark.coldstart.als"
"""Setting: `rows`, half-steps of our own alone, from the start that one machine has: nothing is
shuffled, and each machine maps the vectors of the other side, U × K × 4 bytes; or `ml`, Spark ML's
ALS, then a half-step a side, where these are too many for a machine."""

BLOCKS = "spark.coldstart.blocks"
"""Setting: the number of blocks of users, and of tracks, that Spark ML's ALS makes."""

BLOCK_LISTENS = 500_000
FEWEST_BLOCKS, MOST_BLOCKS = 4, 1_000
"""Each task that divides the log holds a buffer for each pair of blocks: a million at most."""

PART_LISTENS = 5_000_000
"""Listens in a file that is written for Spark."""

CHECKPOINT_ITERATIONS = 5
"""Vectors are written to shared storage that often: a lost executor costs no more iterations."""


@contextmanager
def spark_solver(options: SparkOptions, out: StrPath) -> Iterator[Solver]:
    """A Spark cluster as what solves, for the length of the block.

    Args:
        options: how it is reached.
        out: the folder of factors; it lies on storage that all machines share.
    """
    with spark_session(options) as session, exchange_folder(out) as folder:
        yield solver_on(session, folder)


def solver_on(session: SparkSession, folder: Path) -> Solver:
    """What solves on the executors of a session; `folder` is on storage that all machines share."""
    way = session.conf.get(WAY, "rows")
    if way not in ("ml", "rows"):
        raise InputError(f"--{WAY}: {way!r} is neither `ml` nor `rows`")

    def factorize(listens: Listens, settings: FactorizationSettings) -> FactorPair:
        als = functools.partial(spark_als, session, folder, settings.algorithm, way == "ml")
        return factorize_matrix(listens.matrix[listens.active, : listens.warm], settings, als=als)

    about = {"engine": "spark", "als": way}
    return Solver(factorize, functools.partial(fold_in_on, session, folder), about)


def spark_als(
    session: SparkSession,
    folder: Path,
    algorithm: Algorithm,
    by_ml: bool,
    strength: csr_matrix,
    *,
    factors: int,
    regularization: float,
    iterations: int,
    seed: int,
    shown: bool = False,
) -> tuple[Array, Array]:
    """ALS on executors: arguments as of `als.implicit_als`, but for the first ones.

    Args:
        session: an open one.
        folder: on storage that all machines share; what is written there is removed.
        algorithm: whose equations.
        by_ml: Spark ML's ALS, then users solved from its tracks, and tracks from these users, with
            the same λ for every row: the result is what a half-step of ours ends with. Else half-
            steps alone, from the start that one machine has.
        strength: [U, N] confidences or ratings.

    Returns:
        Track vectors [N, K] and user vectors [U, K], float32.

    Raises:
        InputError: for Spark ML, a confidence isn't above 1; or Spark gives up.
    """
    if by_ml:
        tracks = _tracks_by_ml(
            session,
            folder,
            algorithm,
            strength,
            factors=factors,
            regularization=regularization,
            iterations=iterations,
            seed=seed,
        )
        iterations = 1
    else:
        tracks = random_tracks(strength.shape, factors, seed, algorithm)
    places = [folder / "by_user", folder / "by_track"]
    try:
        by_user, by_track = map(stored_rows, places, (strength, strength.T.tocsr()))
        for number in range(1, iterations + 1):
            step, of = (regularization, algorithm), f" {number} of {iterations}" * (not by_ml)
            users = half_step_on(session, by_user, tracks, *step, f"solving users{of}")
            tracks = half_step_on(session, by_track, users, *step, f"solving tracks{of}")
    finally:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
    return tracks, users


def _tracks_by_ml(
    session: SparkSession,
    folder: Path,
    algorithm: Algorithm,
    strength: csr_matrix,
    *,
    factors: int,
    regularization: float,
    iterations: int,
    seed: int,
) -> Array:
    """Track vectors [N, K] by Spark ML's ALS, as long as ours would be.

    It weighs λ by a row's number of plays, as our `explicit` does; `implicit` does not: there its λ
    is such that the geometric mean over users and tracks is ours.
    """
    implicit = algorithm == "implicit"
    if implicit and strength.data.min(initial=2) <= 1:
        raise InputError(
            "Spark's ALS needs confidences above 1, and by this weighting the least is "
            f"{strength.data.min():g}; give a larger --alpha, or --weighting linear"
        )
    blocks = _blocks(session, strength.nnz)
    _write_for_spark(folder / "listens", strength, 1 if implicit else 0)
    log.info(f"Spark's ALS: {strength.nnz:,} listens, {blocks} blocks a side")
    users_count, tracks_count = strength.shape
    # λ times the number of plays of a mean row; a common factor of all users' vectors can be taken
    # from all tracks', so that of both sides' λ the product alone counts.
    per_play = np.sqrt(users_count * tracks_count) / strength.nnz if implicit else 1.0
    options = {
        "rank": factors,
        "maxIter": iterations,
        "regParam": float(regularization * per_play),
        "implicitPrefs": implicit,
        "alpha": 1.0,
        "seed": seed,
        "numUserBlocks": blocks,
        "numItemBlocks": blocks,
        "checkpointInterval": CHECKPOINT_ITERATIONS,
        "userCol": "user",
        "itemCol": "track",
        "ratingCol": "strength",
    }
    tracks, users = _fit(session, folder, options)
    return balanced(tracks, users)[0] if implicit else tracks


def balanced(tracks: Array, users: Array) -> tuple[Array, Array]:
    """The same scores with equal sums of squares, as where λ is the same on both sides.

    >>> tracks, users = balanced(np.float32([[8.0]]), np.float32([[2.0], [0.0]]))
    >>> tracks.tolist(), users.tolist()
    ([[4.0]], [[4.0], [0.0]])
    """
    own, other = (np.linalg.norm(vectors.astype(np.float64)) for vectors in (tracks, users))
    if not own or not other:
        return tracks, users
    root = np.sqrt(other / own)
    return (tracks * root).astype(np.float32), (users / root).astype(np.float32)


def _blocks(session: SparkSession, listens: int) -> int:
    """Number of blocks a side: by the log alone, for the random start depends on it."""
    given = session.conf.get(BLOCKS, None)
    if given is None:
        return min(max(-(-listens // BLOCK_LISTENS), FEWEST_BLOCKS), MOST_BLOCKS)
    if not given.isdecimal() or not int(given):
        raise InputError(f"--{BLOCKS}: a whole number from 1 on, not {given!r}")
    return int(given)


def _write_for_spark(folder: Path, strength: csr_matrix, base: int) -> None:
    """A table of user, track (their rows and columns), and strength less `base`, in parts."""
    folder.mkdir()
    rows = strength.indptr
    starts = range(0, strength.nnz, PART_LISTENS)
    for number, start in enumerate(starts):
        end = min(start + PART_LISTENS, strength.nnz)
        user = np.searchsorted(rows, np.arange(start, end), side="right") - 1
        columns = {
            "user": user.astype(np.int32),
            "track": strength.indices[start:end].astype(np.int32),
            "strength": strength.data[start:end].astype(np.float32) - np.float32(base),
        }
        pl.DataFrame(columns).write_parquet(folder / f"part-{number:05d}.parquet")


def _fit(session: SparkSession, folder: Path, options: dict[str, Any]) -> tuple[Array, Array]:
    """Vectors of tracks and users by Spark's ALS on the table that `folder` has."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.ml.recommendation import ALS

    context = session.sparkContext
    context.setCheckpointDir((folder / "checkpoints").as_uri())
    context.setJobDescription("ALS")
    try:
        model = ALS(**options).fit(session.read.parquet((folder / "listens").as_uri()))
        for name, table in (("tracks", model.itemFactors), ("users", model.userFactors)):
            table.write.parquet((folder / name).as_uri())
    except (Py4JError, PySparkException) as error:
        raise InputError(f"Spark's ALS gave up: {reason_of(error)}") from error
    vectors = [_vectors(folder / name, options["rank"]) for name in ("tracks", "users")]
    for name in ("listens", "tracks", "users", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return vectors[0], vectors[1]


def _vectors(folder: Path, factors: int) -> Array:
    """[N, K] of the table that Spark has written of all ids from 0 to N - 1."""
    table = pl.read_parquet(folder / "*.parquet").sort("id")
    if not np.array_equal(table["id"].to_numpy(), np.arange(len(table))):
        raise InputError(f"{folder}: Spark's vectors aren't all there; run the command again")
    flat = table["features"].explode().to_numpy()
    return np.asarray(flat, dtype=np.float32).reshape(len(table), factors)
