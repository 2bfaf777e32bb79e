"""Kernel ridge regression on more tracks than a matrix has room for: conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

RANK = 2048
"""Tracks that the preconditioner is made of; at most a quarter of all."""

TOLERANCE = 0.03
"""Residual at which it ends, relative to the targets: the ranking has long been the exact one's."""

LIMIT = 60
"""Maximum number of iterations."""

_ENTRIES = 1 << 26
"""Maximum entries of a block of the kernel: 256 MB."""

_JITTER = 1e-4
"""Added to the diagonal of the preconditioner's kernel, relative to its mean: tracks of one content
would make it singular."""


class RidgeSolution(NamedTuple):
    """What was reached.

    Attributes:
        coefficients: [N, K].
        residual: relative to the targets.
        iterations: each of them is a pass over all pairs of tracks.
    """

    coefficients: Tensor
    residual: float
    iterations: int


Block = Callable[[slice, slice], Tensor]
"""The kernel between tracks of these rows, and of those: [A, B] float32."""


def conjugate_ridge(
    kernel: Block, targets: Tensor, penalty: float, rank: int = RANK
) -> RidgeSolution:
    """Solve (K + λ I) C = Y without ever holding K.

    By conjugate gradients, for all columns side by side, preconditioned by a Nyström approximation
    of K (Frangella, Tropp, Udell, "Randomized Nyström preconditioning", SIAM J. Matrix Anal. 2023).
    Time grows with N² at each iteration, memory with N.

    Args:
        kernel: between N tracks in random order: the first ones make the preconditioner.
        targets: [N, K], centred.
        penalty: λ.
        rank: of the preconditioner.
    """
    right = targets.float()
    precondition = _preconditioner(kernel, right, penalty, min(rank, max(1, len(right) // 4)))
    found, residual = torch.zeros_like(right), right.clone()
    scale = float(right.norm()) or 1.0
    improved = precondition(residual)
    direction, product = improved.clone(), _dots(residual, improved)
    iteration = 0
    while float(residual.norm()) > TOLERANCE * scale and iteration < LIMIT:
        iteration += 1
        applied = penalty * direction
        for rows in _blocks(len(right), len(right)):
            applied[rows] += kernel(rows, slice(None)) @ direction
        step = _ratio(product, _dots(direction, applied))
        found += step * direction
        residual -= step * applied
        improved = precondition(residual)
        before, product = product, _dots(residual, improved)
        direction = improved + _ratio(product, before) * direction
    return RidgeSolution(found, float(residual.norm()) / scale, iteration)


def _preconditioner(
    kernel: Block, targets: Tensor, penalty: float, rank: int
) -> Callable[[Tensor], Tensor]:
    """Residuals [N, K] → about (K + λ I)⁻¹ times them, K approximated by B Bᵀ, B [N, rank]."""
    first = slice(rank)
    inner = kernel(first, first).double()
    inner.diagonal().add_(_JITTER * float(inner.diagonal().mean()))
    factor = torch.linalg.cholesky(inner)
    root = targets.new_empty(len(targets), rank)
    gram = inner.new_zeros(rank, rank)
    for rows in _blocks(len(targets), rank):
        near = kernel(rows, first).double()
        root[rows] = torch.linalg.solve_triangular(factor, near.T, upper=False).T.float()
        gram += root[rows].double().T @ root[rows].double()
    gram.diagonal().add_(penalty)
    solved = torch.linalg.cholesky(gram)

    def precondition(residual: Tensor) -> Tensor:
        inside = torch.cholesky_solve((root.T @ residual).double(), solved).float()
        return (residual - root @ inside) / penalty

    return precondition


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Rows, so many at a time that a block of the kernel has at most `_ENTRIES`."""
    size = max(1, _ENTRIES // max(1, columns))
    return (slice(start, start + size) for start in range(0, rows, size))


def _dots(left: Tensor, right: Tensor) -> Tensor:
    """The product of each column with its partner, in float64. [N, K], [N, K] → [K]."""
    return torch.einsum("nk,nk->k", left.double(), right.double())


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """Elementwise, float32; 0 where a column is solved already."""
    return torch.where(under > 0, over / under, 0.0).float()
