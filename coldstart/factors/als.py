"""The two matrix factorisations, and folding a new track into either."""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.reporting.progress import Progress, tracked

Array = NDArray[np.float32]

_BLOCK = 1 << 28
"""Maximum bytes of a block of K × K systems."""


class Axes(NamedTuple):
    """From the axes of a factorisation to others in which scores are the same.

    Attributes:
        tracks: [K, K] float64: a track's vector times this is its vector in the new axes; a user's
            new vector times its transpose is the old one.
        users: [K, K] float64, the same of users; and of tracks, its transpose leads back.
    """

    tracks: NDArray[np.float64]
    users: NDArray[np.float64]


def implicit_als(
    confidence: csr_matrix,
    *,
    factors: int,
    regularization: float,
    iterations: int,
    seed: int,
    shown: bool = False,
) -> tuple[Array, Array]:
    """Confidence-weighted ALS by the `implicit` library (Hu, Koren, Volinsky, ICDM 2008).

    Args:
        confidence: [users, tracks], c_ui > 0 where the user played the track; elsewhere c = 1
            with preference 0.
        shown: whether to show progress.

    Returns:
        Track vectors [tracks, K] and user vectors [users, K], float32.
    """
    with _one_blas_thread():
        model = _model(factors, regularization, iterations, seed)
        plays = confidence.tocsr()
        if not shown:
            model.fit(plays, show_progress=False)
        else:
            with Progress("implicit ALS", iterations, "iterations") as display:
                model.fit(plays, show_progress=False, callback=lambda *_: display.add())
    return model.item_factors, model.user_factors


def explicit_als(
    ratings: csr_matrix,
    *,
    factors: int,
    regularization: float,
    iterations: int,
    seed: int,
    shown: bool = False,
) -> tuple[Array, Array]:
    """Minimise Σ (r_ui − q_iᵀp_u)² + λ(‖q_i‖² + ‖p_u‖²) over the observed pairs (u, i), by ALS.

    The penalty is inside the sum, so a row of n ratings is regularised with n·λ.

    Args:
        ratings: [users, tracks] sparse; what isn't stored is not observed.
        shown: whether to show progress.

    Returns:
        Track vectors [tracks, K] and user vectors [users, K], float32.
    """
    by_user, by_track = ratings.tocsr(), ratings.T.tocsr()
    tracks = random_tracks(ratings.shape, factors, seed, "explicit")
    steps = range(iterations)
    for _ in tracked(steps, "explicit ALS", "iterations") if shown else steps:
        users = _solve_explicit(by_user, tracks, regularization)
        tracks = _solve_explicit(by_track, users, regularization)
    return tracks, users


def random_tracks(
    shape: tuple[int, int], factors: int, seed: int, algorithm: Literal["implicit", "explicit"]
) -> Array:
    """The track vectors that an ALS begins with.

    Args:
        shape: numbers of users and tracks.
        factors: K.
        seed: of the random numbers.
        algorithm: that of `explicit_als`; or of the `implicit` library, by its own way.

    Returns:
        [tracks, K] float32.
    """
    generator = np.random.default_rng(seed)
    if algorithm == "explicit":
        return generator.normal(0, factors**-0.5, (shape[1], factors)).astype(np.float32)
    generator.random((shape[0], factors), dtype=np.float32)  # of users, which are solved first
    return generator.random((shape[1], factors), dtype=np.float32) * np.float32(0.01)


def fold_in(
    rows: csr_matrix,
    users: Array,
    regularization: float,
    algorithm: Literal["implicit", "explicit"],
) -> Array:
    """Solve the vectors of new tracks from their own plays, the users fixed: one ALS half-step.

    Args:
        rows: [new tracks, users], confidences (`implicit`) or ratings (`explicit`).
        users: [users, K].

    Returns:
        [new tracks, K] float32.
    """
    if rows.shape[0] == 0:
        return np.zeros((0, users.shape[1]), dtype=np.float32)
    if algorithm == "explicit":
        return _solve_explicit(rows, users, regularization)
    with _one_blas_thread():
        model = _model(users.shape[1], regularization, 1, 0)
        model.user_factors = users
        return np.asarray(model.recalculate_item(np.arange(rows.shape[0]), rows))


def solve_implicit(rows: csr_matrix, other: Array, gram: Array, regularization: float) -> Array:
    """Solve (gram + λ I + Σ (c − 1) p pᵀ) q = Σ c p for each row, by the library's solver.

    Args:
        rows: [N, U] sparse, c > 0; at least one entry a row.
        other: [U, K] the vectors p.
        gram: [K, K] what all rows have in common; of a half-step of ALS Σ p pᵀ.
        regularization: λ.

    Returns:
        [N, K] float32.

    Raises:
        ValueError: of LAPACK, where a system has no single solution.
    """
    with _one_blas_thread():
        model = _model(other.shape[1], regularization, 1, 0)
        model.user_factors = other
        model._XtX = gram  # where the library keeps what it would compute of `other`
        return np.asarray(model.recalculate_item(np.arange(rows.shape[0]), rows))


def noise_level(confidence: csr_matrix) -> float:
    """About the largest singular value of a matrix of such entries with random places and signs.

    A penalty should be relative to it: a direction in which the log is no stronger than this can't
    be distinguished from chance. For independent entries of mean 0, it is the square root of the
    largest row's sum of variances plus that of the largest column's (R. Latała, Proc. AMS 2005);
    here the mean row and column are used instead of the largest.

    Args:
        confidence: [users, tracks] sparse, no empty table.

    >>> round(noise_level(csr_matrix(np.full((100, 400), 2.0))), 1)
    60.0
    """
    squares = float(np.square(confidence.data, dtype=np.float64).sum())
    return float(sum(np.sqrt(squares / n) for n in confidence.shape))


def score_axes(users: Array) -> Axes:
    """Other axes with the same scores, in which distances are differences between users' scores.

    Users' vectors are uncorrelated there, with a mean square of 1 in each axis; so the mean over
    users of the squared difference between two tracks' scores is the squared distance of their
    vectors, and a squared error of a predicted vector is one of predicted scores.

    Args:
        users: [U, K], of the users that the mean is over.

    Returns:
        The way to the new axes, the strongest first. Axes in which no user differs become 0.

    >>> tracks, users = np.float32([[1, 2], [3, 1]]), np.float32([[2, 1], [0, 1], [1, 1]])
    >>> axes = score_axes(users)
    >>> new_tracks, new_users = turned(tracks, axes.tracks), turned(users, axes.users)
    >>> bool(np.allclose(new_users @ new_tracks.T, users @ tracks.T, atol=1e-5))
    True
    >>> bool(np.allclose(new_users.T @ new_users / 3, np.eye(2), atol=1e-5))
    True
    """
    table = users.astype(np.float64)
    values, axes = np.linalg.eigh(table.T @ table / max(1, len(table)))
    values, axes = values[::-1].clip(0), axes[:, ::-1]
    # Smaller values are rounding errors of float32; scores along these axes become 0.
    root = np.sqrt(np.where(values > 1e-10 * max(values[0], 1e-300), values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    return Axes(axes * root, axes * inverse)


def turned(vectors: Array, matrix: NDArray[np.float64]) -> Array:
    """Vectors [N, K] times a matrix [K, K], computed in float64."""
    return (vectors.astype(np.float64) @ matrix).astype(np.float32)


def _solve_explicit(rows: csr_matrix, other: Array, regularization: float) -> Array:
    """Each row's least squares over its observed entries: (Σ q qᵀ + n λ I) p = Σ r q."""
    solution = np.zeros((rows.shape[0], other.shape[1]), dtype=np.float32)
    vectors = torch.from_numpy(other)
    starts = _block_starts(rows, other.shape[1])
    for start, end in zip(starts, [*starts[1:], rows.shape[0]], strict=True):
        solution[start:end] = _solve_block(rows[start:end], vectors, regularization).numpy()
    return solution


def _block_starts(rows: csr_matrix, dim: int) -> list[int]:
    """First rows of blocks that bound the memory of K × K systems and outer products of entries."""
    starts = [0]
    budget = max(1, _BLOCK // (4 * dim * dim))
    for row in range(1, rows.shape[0] + 1):
        if rows.indptr[row] - rows.indptr[starts[-1]] + row - starts[-1] > budget:
            starts.append(max(row - 1, starts[-1] + 1))
    return starts


def _solve_block(rows: csr_matrix, vectors: torch.Tensor, regularization: float) -> torch.Tensor:
    count, dim = rows.shape[0], vectors.shape[1]
    entries = torch.from_numpy(np.diff(rows.indptr).astype(np.int64))
    row = torch.repeat_interleave(torch.arange(count), entries)
    q = vectors[torch.from_numpy(rows.indices.astype(np.int64))]
    ratings = torch.from_numpy(rows.data.astype(np.float32))
    a = torch.zeros(count, dim, dim).index_add_(0, row, q[:, :, None] * q[:, None, :])
    b = torch.zeros(count, dim).index_add_(0, row, q * ratings[:, None])
    # A row without entries gets the identity, hence the zero vector.
    a += torch.eye(dim) * torch.where(entries > 0, regularization * entries, 1.0)[:, None, None]
    solution: torch.Tensor = torch.linalg.solve_ex(a, b)[0]
    # λ = 0 with fewer ratings than factors is singular: take the solution of least norm.
    singular = ~solution.isfinite().all(1)
    if singular.any():
        least_norm = torch.linalg.lstsq(a[singular], b[singular, :, None], driver="gelsd")
        solution[singular] = least_norm.solution[..., 0]
    return solution


def _model(factors: int, regularization: float, iterations: int, seed: int):  # type: ignore[no-untyped-def]
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(
        factors=factors,
        regularization=regularization,
        iterations=iterations,
        random_state=seed,
    )


def _one_blas_thread():  # type: ignore[no-untyped-def]
    """`implicit` runs its own threads; BLAS threads inside them only slow them down."""
    return _blas().limit(limits=1, user_api="blas")


@functools.cache
def _blas():  # type: ignore[no-untyped-def]
    """The libraries that can be limited: looking for them takes longer than a small solution."""
    import implicit.cpu.als  # noqa: F401  # only a library that is loaded can be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
