"""How well a kernel and a penalty predict tracks that are left out, to choose them by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from coldstart.fusion.base import InnerFold
from coldstart.fusion.ridge import ridge


class Fitness(NamedTuple):
    """How good the best penalty is for a kernel.

    Attributes:
        quality: higher is better; comparable between kernels on the same tracks.
        penalty: λ.
    """

    quality: float
    penalty: float


Judge = Callable[[Tensor], Fitness]
"""The kernel between n tracks, [n, n] float64 → its fitness. Which n tracks, the judge knows."""


def by_error(targets: Tensor, group: Tensor, penalties: Sequence[float]) -> Judge:
    """By the squared error of vectors that are left out, group by group, in closed form.

    Args:
        targets: [n, K], centred.
        group: [n] int64, left out together.
        penalties: λ to choose from.

    Returns:
        A judge whose quality is 1 − error, as a share of the variance.
    """

    def judge(kernel: Tensor) -> Fitness:
        best = ridge(kernel, targets, penalties, group)
        return Fitness(1 - best.error, best.penalty)

    return judge


def by_ranking(folds: Sequence[InnerFold], penalties: Sequence[float]) -> Judge:
    """By the ranking of tracks that were hidden from factorisations of their own.

    Args:
        folds: of the n tracks, at least one.
        penalties: λ to choose from.

    Returns:
        A judge whose quality is the folds' mean.
    """

    def judge(kernel: Tensor) -> Fitness:
        qualities = torch.zeros(len(penalties), dtype=torch.float64)
        for fold in folds:
            parts = _decomposed(fold, kernel)
            for i, penalty in enumerate(penalties):
                predicted = (parts.towards / (parts.values + penalty)) @ parts.aims
                qualities[i] += fold.quality(predicted + parts.mean) / len(folds)
        best = int(qualities.argmax())
        return Fitness(float(qualities[best]), penalties[best])

    return judge


class _Decomposed(NamedTuple):
    """A fold in the axes of the kernel between its n seen tracks, h are hidden.

    Attributes:
        values: [n] eigenvalues.
        axes: [n, n].
        towards: [h, n] the kernel between hidden and seen tracks.
        aims: [n, K] the seen tracks' vectors without their mean.
        mean: [K].
    """

    values: Tensor
    axes: Tensor
    towards: Tensor
    aims: Tensor
    mean: Tensor


def _decomposed(fold: InnerFold, kernel: Tensor) -> _Decomposed:
    hidden = fold.hidden.nonzero()[:, 0]
    seen = (~fold.hidden).nonzero()[:, 0]
    vectors = fold.vectors[seen].to(kernel)
    mean = vectors.mean(0)
    values, axes = torch.linalg.eigh(kernel[seen][:, seen])
    towards = kernel[hidden][:, seen] @ axes
    return _Decomposed(values.clamp_min(0), axes, towards, axes.T @ (vectors - mean), mean)


class Sharing(NamedTuple):
    """How much listeners' own plays count.

    Attributes:
        share: of the score; 0: they don't rank better than vectors alone, but by chance.
        penalty: λ that goes with it.
    """

    share: float
    penalty: float


GAIN, MANY = 0.002, 2000
"""A smaller difference between two choices is chance, with so many tracks; with fewer, chance grows
with the root of their number."""


def sharing_by_ranking(
    folds: Sequence[InnerFold], kernel: Tensor, penalties: Sequence[float], shares: Sequence[float]
) -> Sharing:
    """The share of the score that listeners' own plays get, by the ranking of hidden tracks.

    Args:
        folds: of the n tracks.
        kernel: [n, n] float64.
        penalties: λ to choose from.
        shares: to choose from, each from above 0 to below 1.
    """
    tried = (0.0, *shares)
    qualities = torch.zeros(len(tried), len(penalties), dtype=torch.float64)
    for fold in folds:
        if fold.listeners is None:
            return Sharing(0.0, penalties[0])
        users, plays = (part.to(kernel) for part in fold.listeners[:2])
        parts = _decomposed(fold, kernel)
        own = plays[:, (~fold.hidden).nonzero()[:, 0]]
        own_aims = parts.axes.T @ (own - own.mean(1, keepdim=True)).T
        covariance = users.T @ users
        for j, penalty in enumerate(penalties):
            weights = parts.towards / (parts.values + penalty)
            by_vectors = users @ (weights @ parts.aims + parts.mean).T
            by_plays = (weights @ own_aims).T
            # Both parts get the same spread over what they were fitted on.
            kept = (parts.values / (parts.values + penalty))[:, None]
            fitted = kept * parts.aims
            spread = (kept * own_aims).square().sum().clamp_min(1e-300)
            scale = ((fitted @ covariance) * fitted).sum().div(spread).sqrt()
            for i, share in enumerate(tried):
                scores = (1 - share) * by_vectors + share * scale * by_plays
                qualities[i, j] += fold.listeners.quality(scores) / len(folds)
    best, column = divmod(int(qualities.argmax()), len(penalties))
    least = GAIN * max(1.0, (MANY / len(kernel)) ** 0.5)
    if float(qualities[best, column] - qualities[0].max()) < least:
        return Sharing(0.0, penalties[int(qualities[0].argmax())])
    return Sharing(tried[best], penalties[column])
