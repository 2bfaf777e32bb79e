"""How well a kernel and a penalty predict tracks that are left out, to choose them by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.factors.content_listeners import equations_of, solved, spread_ratio
from coldstart.fusion.base import InnerFold
from coldstart.fusion.ridge import residuals, ridge


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
            parts = decomposed_fold(fold, kernel)
            for i, penalty in enumerate(penalties):
                predicted = (parts.towards / (parts.values + penalty)) @ parts.aims
                qualities[i] += fold.quality(predicted + parts.mean) / len(folds)
        best = int(qualities.argmax())
        return Fitness(float(qualities[best]), penalties[best])

    return judge


class Decomposed(NamedTuple):
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


def decomposed_fold(fold: InnerFold, kernel: Tensor) -> Decomposed:
    """A fold of the n tracks, whose kernel is [n, n] float64, in the axes of its seen tracks."""
    hidden = fold.hidden.nonzero()[:, 0]
    seen = (~fold.hidden).nonzero()[:, 0]
    vectors = fold.vectors[seen].to(kernel)
    mean = vectors.mean(0)
    values, axes = torch.linalg.eigh(kernel[seen][:, seen])
    towards = kernel[hidden][:, seen] @ axes
    return Decomposed(values.clamp_min(0), axes, towards, axes.T @ (vectors - mean), mean)


class Among(NamedTuple):
    """What is chosen among.

    Attributes:
        penalties: λ.
        own: shares of the score for listeners' own plays, each from above 0 to below 1.
        content: shares of listeners' vectors for what content says of them, from above 0 to 1.
    """

    penalties: Sequence[float]
    own: Sequence[float]
    content: Sequence[float]


class Shares(NamedTuple):
    """How much is asked of listeners' plays beside their vectors.

    Attributes:
        own: share of the score that their own plays get.
        content: share of their vectors that comes from content.
        fitness: with these; its λ may be another one.
    """

    own: float
    content: float
    fitness: Fitness


def shares_by_ranking(
    folds: Sequence[InnerFold],
    kernel: Tensor,
    group: Tensor,
    best: Fitness,
    among: Among,
) -> Shares:
    """Choose both shares by the ranking of hidden tracks: first that of content, then the other.

    Args:
        folds: of the n tracks, at least one.
        kernel: [n, n] float64, the one that was chosen.
        group: [n] int64: tracks that are left out together.
        best: without either.
        among: what to choose from.
    """
    parts = [decomposed_fold(fold, kernel) for fold in folds]
    group = group.to(kernel.device)
    by_content = content_by_ranking(folds, parts, best.penalty, group, among.content)
    sharing = sharing_by_ranking(by_content.folds, parts, among.penalties, among.own)
    fitness = best
    if by_content.share:
        fitness = Fitness(by_content.quality, best.penalty)
    if sharing.share:
        fitness = fitness._replace(penalty=sharing.penalty)
    return Shares(sharing.share, by_content.share, fitness)


class ContentSharing(NamedTuple):
    """How much content says of listeners.

    Attributes:
        share: of a listener's vector; 0: hidden tracks are ranked best without.
        quality: of the hidden tracks' ranking with it.
        folds: with listeners' vectors as they then are.
    """

    share: float
    quality: float
    folds: Sequence[InnerFold]


def content_by_ranking(
    folds: Sequence[InnerFold],
    decomposed: Sequence[Decomposed],
    penalty: float,
    group: Tensor,
    shares: Sequence[float],
) -> ContentSharing:
    """The share of listeners' vectors that comes from content, by the ranking of hidden tracks.

    Args:
        folds: of the n tracks.
        decomposed: the same in the axes of their kernels.
        penalty: λ.
        group: [n] int64: tracks that are left out together.
        shares: to choose from, each from above 0 to 1.
    """
    tried = (0.0, *shares)
    qualities, made = torch.zeros(len(tried), dtype=torch.float64), []
    for fold, parts in zip(folds, decomposed, strict=True):
        listeners = fold.listeners
        if listeners is None or not shares:
            return ContentSharing(0.0, 0.0, folds)
        seen = (~fold.hidden).nonzero()[:, 0]
        inverse = 1 / (parts.values + penalty)
        coefficients = parts.axes @ (inverse[:, None] * parts.aims)

        def block(rows: Tensor, axes: Tensor = parts.axes, inverse: Tensor = inverse) -> Tensor:
            return (axes[rows] * inverse) @ axes[rows].mT

        missed = residuals(coefficients, group[seen.to(group.device)], block)
        unseen = (fold.vectors[seen].to(missed) - missed).cpu().numpy().astype(np.float32)
        users = listeners.users.numpy()
        plays = csr_matrix(listeners.plays[:, seen].numpy())
        vectors = solved(plays, equations_of(unseen, users.astype(np.float32)))
        scale = spread_ratio(users, vectors, unseen)
        by_content = torch.from_numpy(scale * vectors.astype(np.float64))
        hidden = (parts.towards * inverse) @ parts.aims + parts.mean
        own_scores = listeners.users.to(hidden) @ hidden.T
        content_scores = by_content.to(hidden) @ hidden.T
        for i, share in enumerate(tried):
            scores = (1 - share) * own_scores + share * content_scores
            qualities[i] += listeners.quality(scores) / len(folds)
        made.append(by_content)
    best = int(qualities.argmax())
    share = tried[best]
    mixed = [
        fold._replace(
            listeners=fold.listeners._replace(
                users=(1 - share) * fold.listeners.users + share * by_content
            )
        )
        for fold, by_content in zip(folds, made, strict=True)
        if fold.listeners is not None
    ]
    return ContentSharing(share, float(qualities[best]), mixed)


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
    folds: Sequence[InnerFold],
    decomposed: Sequence[Decomposed],
    penalties: Sequence[float],
    shares: Sequence[float],
) -> Sharing:
    """The share of the score that listeners' own plays get, by the ranking of hidden tracks.

    Args:
        folds: of the n tracks.
        decomposed: the same in the axes of their kernels.
        penalties: λ to choose from.
        shares: to choose from, each from above 0 to below 1.
    """
    tried = (0.0, *shares)
    qualities = torch.zeros(len(tried), len(penalties), dtype=torch.float64)
    for fold, parts in zip(folds, decomposed, strict=True):
        if fold.listeners is None or not shares:
            return Sharing(0.0, penalties[0])
        users, plays = (part.to(parts.axes) for part in fold.listeners[:2])
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
    least = GAIN * max(1.0, (MANY / len(folds[0].hidden)) ** 0.5)
    if float(qualities[best, column] - qualities[0].max()) < least:
        return Sharing(0.0, penalties[int(qualities[0].argmax())])
    return Sharing(tried[best], penalties[column])
