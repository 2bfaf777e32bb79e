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
            hidden = fold.hidden.nonzero()[:, 0]
            seen = (~fold.hidden).nonzero()[:, 0]
            vectors = fold.vectors[seen].to(kernel)
            mean = vectors.mean(0)
            values, axes = torch.linalg.eigh(kernel[seen][:, seen])
            aims, towards = axes.T @ (vectors - mean), kernel[hidden][:, seen] @ axes
            for i, penalty in enumerate(penalties):
                predicted = (towards / (values.clamp_min(0) + penalty)) @ aims
                qualities[i] += fold.quality(predicted + mean) / len(folds)
        best = int(qualities.argmax())
        return Fitness(float(qualities[best]), penalties[best])

    return judge
