"""The two matrix factorisations, and folding a new track into either."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tqdm import tqdm

Array = NDArray[np.float32]

_BLOCK = 1 << 28
"""Bytes that a block of K × K systems may take."""


def implicit_als(
    confidence: csr_matrix, *, factors: int, regularization: float, iterations: int, seed: int
) -> tuple[Array, Array]:
    """Confidence-weighted ALS by the `implicit` library (Hu, Koren, Volinsky, ICDM 2008).

    Args:
        confidence: [users, tracks], c_ui > 0 where the user played the track; elsewhere c = 1
            with preference 0.

    Returns:
        Track vectors [tracks, K] and user vectors [users, K], float32.
    """
    with _one_blas_thread():
        model = _model(factors, regularization, iterations, seed)
        model.fit(confidence.tocsr(), show_progress=True)
    return model.item_factors, model.user_factors


def explicit_als(
    ratings: csr_matrix, *, factors: int, regularization: float, iterations: int, seed: int
) -> tuple[Array, Array]:
    """Minimise Σ (r_ui − q_iᵀp_u)² + λ(‖q_i‖² + ‖p_u‖²) over the observed pairs (u, i), by ALS.

    The penalty stands inside the sum, so a row of n ratings is regularised n·λ.

    Args:
        ratings: [users, tracks] sparse; what isn't stored is not observed.

    Returns:
        Track vectors [tracks, K] and user vectors [users, K], float32.
    """
    by_user, by_track = ratings.tocsr(), ratings.T.tocsr()
    start = np.random.default_rng(seed).normal(0, factors**-0.5, (by_track.shape[0], factors))
    tracks = start.astype(np.float32)
    for _ in tqdm(range(iterations), desc="explicit ALS", unit="iteration"):
        users = _solve_explicit(by_user, tracks, regularization)
        tracks = _solve_explicit(by_track, users, regularization)
    return tracks, users


def fold_in(
    rows: csr_matrix,
    users: Array,
    regularization: float,
    algorithm: Literal["implicit", "explicit"],
) -> Array:
    """Solve the vectors of new tracks from their own plays, the users frozen: one ALS half-step.

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


def _solve_explicit(rows: csr_matrix, other: Array, regularization: float) -> Array:
    """Each row's least squares over its observed entries: (Σ q qᵀ + n λ I) p = Σ r q."""
    k = other.shape[1]
    out = np.zeros((rows.shape[0], k), dtype=np.float32)
    table, eye = torch.from_numpy(other), torch.eye(k)
    # Blocks of rows bound the memory of the K × K systems, and of one outer product an entry.
    starts = [0]
    budget = max(1, _BLOCK // (4 * k * k))
    for row in range(1, rows.shape[0] + 1):
        if rows.indptr[row] - rows.indptr[starts[-1]] + row - starts[-1] > budget:
            starts.append(max(row - 1, starts[-1] + 1))
    for start, end in zip(starts, [*starts[1:], rows.shape[0]], strict=True):
        block = rows[start:end]
        counts = torch.from_numpy(np.diff(block.indptr).astype(np.int64))
        row_of = torch.repeat_interleave(torch.arange(end - start), counts)
        q = table[torch.from_numpy(block.indices.astype(np.int64))]
        a = torch.zeros(end - start, k, k).index_add_(0, row_of, q[:, :, None] * q[:, None, :])
        b = torch.zeros(end - start, k)
        b.index_add_(0, row_of, q * torch.from_numpy(block.data.astype(np.float32))[:, None])
        # A row without entries gets the identity, hence the zero vector.
        a += eye * torch.where(counts > 0, regularization * counts, 1.0)[:, None, None]
        # λ = 0 with fewer ratings than factors is singular: the least-norm answer is meant then.
        solution = torch.linalg.solve_ex(a, b)[0]
        bad = ~solution.isfinite().all(1)
        if bad.any():
            solution[bad] = torch.linalg.lstsq(a[bad], b[bad, :, None], driver="gelsd").solution[
                ..., 0
            ]
        out[start:end] = solution.numpy()
    return out


def _model(factors: int, regularization: float, iterations: int, seed: int):  # type: ignore[no-untyped-def]
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares(
        factors=factors,
        regularization=regularization,
        iterations=iterations,
        random_state=seed,
    )


def _one_blas_thread():  # type: ignore[no-untyped-def]
    """`implicit` runs its own threads; BLAS threads inside them only get in the way."""
    import implicit.cpu.als  # noqa: F401  # what it loads must be there before it can be limited
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "blas")
