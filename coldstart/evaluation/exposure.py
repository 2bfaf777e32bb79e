"""Who is recommended: head, middle and tail of the candidates, catalogue coverage, concentration.

A ranking can be accurate and yet show the same few tracks to everybody; these figures show that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

THIRDS = ("head", "middle", "tail")
"""Parts of the candidates, by popularity."""


class Exposure(NamedTuple):
    """How a method spreads its users' first k over the candidates; None if that is undefined.

    Attributes:
        coverage: share of the candidates that are in at least one user's first k, 0..1.
        gini: Gini coefficient of how many users have each candidate among their first k: 0 if it
            is the same number for all, near 1 if a few candidates take all places.
        new_share: of the users' first k, the share of cold ones, where warm ones are candidates.
    """

    coverage: float | None
    gini: float | None
    new_share: float | None = None


def thirds(listens: NDArray[np.integer | np.floating]) -> Tensor:
    """Which candidates are head (0), middle (1) and tail (2), by share of interactions.

    The most played ones come first. A candidate is in the head if those played more than it make
    up less than a third of all interactions, in the middle if less than two thirds, else in the
    tail. So equals are never separated, and the track in which a third is reached belongs to it.

    Args:
        listens: [N] interactions (listener and track, counted once) of each candidate, ≥ 0.

    Returns:
        [N] int64.

    >>> thirds(np.array([1, 5, 2, 0, 4, 3])).tolist()  # of 15: 5 | 4 + 3 | 2 + 1 + 0
    [2, 0, 2, 2, 1, 1]
    """
    counts, group = np.unique(-np.asarray(listens, dtype=np.int64), return_inverse=True)
    sums = np.bincount(group, listens, len(counts))
    before = np.cumsum(sums) - sums
    # In whole numbers: a third of the sum is not always a float.
    label = (3 * before >= sums.sum()).astype(np.int64) + (3 * before >= 2 * sums.sum())
    return torch.from_numpy(label[group])


def exposure(times: Tensor, cold: int | None = None) -> Exposure:
    """Coverage and concentration, from how many users have each candidate [N] in their first k.

    Args:
        times: [N] how many users.
        cold: how many of the candidates, the first ones, are cold; None: all are.

    >>> exposure(torch.tensor([2, 2, 0, 0]), 1)
    Exposure(coverage=0.5, gini=0.5, new_share=0.5)
    >>> exposure(torch.zeros(4))
    Exposure(coverage=None, gini=None, new_share=None)
    """
    n, total = len(times), float(times.sum())
    if not total:
        return Exposure(None, None)
    place = torch.arange(1, n + 1, dtype=torch.float64)
    gini = ((2 * place - n - 1) * times.double().sort().values).sum() / (n * total)
    share = None if cold is None else float(times[:cold].sum()) / total
    return Exposure(float((times > 0).double().mean()), float(gini), share)


def expected_exposure(level: Tensor, users: int, k: int) -> Exposure:
    """The mean of `exposure` if equals stand in a random order for each user; exact.

    Args:
        level: [N], the same for every user; the higher comes first.
        users: U.
        k: cut-off.

    >>> expected_exposure(torch.zeros(4), 1, 2)  # one user: two candidates once, two never
    Exposure(coverage=0.5, gini=0.5, new_share=None)
    """
    n, k = len(level), min(k, len(level))
    if not users or not k:
        return Exposure(None, None)
    limit = float(level.sort(descending=True).values[k - 1])
    # Three kinds of candidates: above the limit (always shown), at it, and below it (never shown).
    above, equal = int((level > limit).sum()), int((level == limit).sum())
    below, places = n - above - equal, k - above
    chance = places / equal
    coverage = (above + equal * (1 - (1 - chance) ** users)) / n
    # The Gini coefficient sums |difference| over all pairs: of different kinds, and of equals.
    different = above * equal * (1 - chance) + above * below + equal * below * chance
    equals = 0.0
    if equal > 1:
        one_ahead = places * (equal - places) / (equal * (equal - 1))
        equals = equal * (equal - 1) / 2 * _mean_distance(one_ahead, users)
    return Exposure(coverage, (users * different + equals) / (n * users * k))


def _mean_distance(q: float, steps: int) -> float:
    """E |S| of a random walk that steps +1 and -1 with probability q each, else stays.

    Only a step from 0 changes the mean of |S|, by 2q; so E |S| is 2q · Σ P(S = 0) over the steps
    before. P(S = 0) is the mean over the circle of a power of the characteristic function, and
    this many points on the circle give that mean exactly.
    """
    if not q:
        return 0.0
    angle = np.pi * (np.arange(steps) + 0.5) / steps
    away = 2 * q * (1 - np.cos(angle))
    return float(2 * q * np.mean((1 - (1 - away) ** steps) / away))
