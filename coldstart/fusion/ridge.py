"""Kernel ridge regression in closed form, with the penalty that predicts left-out groups best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Fit(NamedTuple):
    """A ridge regression on a kernel, and its error on rows that are left out.

    Attributes:
        penalty: λ.
        error: mean squared error of rows that were left out, as a share of the targets' variance.
        coefficients: [N, K].
    """

    penalty: float
    error: float
    coefficients: Tensor


def ridge(kernel: Tensor, targets: Tensor, penalties: Sequence[float], group: Tensor) -> Fit:
    """Kernel ridge regression, with the penalty of the smallest leave-one-group-out error.

    With M = (K + λI)⁻¹ and coefficients C = M Y, the residual of rows B that were left out together
    is M_BB⁻¹ C_B.

    Args:
        kernel: [N, N], symmetric, no eigenvalue below 0.
        targets: [N, K], centred.
        penalties: λ, each above 0.
        group: [N] int64: rows with the same number are left out together.

    Examples:
        >>> kernel = torch.eye(2).double() + 1
        >>> targets = torch.tensor([[1.0], [-1.0]]).double()
        >>> fit = ridge(kernel, targets, [1.0], torch.tensor([0, 1]))
        >>> fit.coefficients.ravel().round(decimals=6).tolist()
        [0.5, -0.5]
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(kernel)
    projections = eigenvectors.T @ targets
    variance = float(targets.square().sum())
    blocks = [(rows, eigenvectors[rows]) for rows in _rows_by_group(group)]
    fits = []
    for penalty in penalties:
        inverse = 1 / (eigenvalues.clamp_min(0) + penalty)
        coefficients = eigenvectors @ (inverse[:, None] * projections)
        error = 0.0
        for rows, block in blocks:
            missed = torch.linalg.solve((block * inverse) @ block.mT, coefficients[rows])
            error += float(missed.square().sum())
        fits.append(Fit(penalty, error / variance if variance else 0.0, coefficients))
    return min(fits, key=lambda fit: fit.error)


def residuals(coefficients: Tensor, group: Tensor, inverse: Callable[[Tensor], Tensor]) -> Tensor:
    """How far each row is from its prediction by a regression without its group.

    Args:
        coefficients: [N, K] of the regression on all rows.
        group: [N] int64.
        inverse: rows [groups, size] → the blocks [groups, size, size] of M of `ridge`.

    Returns:
        [N, K] truth − prediction.
    """
    found = torch.zeros_like(coefficients)
    for rows in _rows_by_group(group):
        found[rows] = torch.linalg.solve(inverse(rows), coefficients[rows])
    return found


def _rows_by_group(group: Tensor) -> list[Tensor]:
    """The rows of each group, one tensor [groups, size] for all groups of the same size."""
    counts = group.unique(return_counts=True)[1].tolist()
    by_size: dict[int, list[Tensor]] = {}
    for rows in group.argsort(stable=True).split(counts):
        by_size.setdefault(len(rows), []).append(rows)
    return [torch.stack(groups) for groups in by_size.values()]
