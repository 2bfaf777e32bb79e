"""How sure figures are: the bootstrap over users, paired between methods.

The users are drawn anew, with replacement, and the same draw serves all methods: what makes a user
easy or hard for everybody cancels out of a difference. Nothing is said of other splits, other
factorisations or other seeds of a net: those take more runs.
B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, 1993.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RESAMPLES = 1000
LEVEL = 0.95
_AT_ONCE = 4_000_000  # numbers in memory


class Interval(NamedTuple):
    """Where 95 % of the resampled means lie."""

    low: float
    high: float


class Difference(NamedTuple):
    """A method's mean minus a rival's, over the same users.

    Attributes:
        mean: the difference.
        low: 95 % of the resampled differences lie between this
        high: and this.
        behind: share of the resamples in which the method isn't ahead, 0..1.
    """

    mean: float
    low: float
    high: float
    behind: float


def resampled_means(by_user: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """Means over users drawn with replacement; one draw serves all rows.

    Args:
        by_user: [M, U] a figure of each user by M methods; U ≥ 1.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        [resamples, M] float32.
    """
    users = by_user.shape[1]
    generator = torch.Generator().manual_seed(seed)
    step = max(1, _AT_ONCE // users)
    made = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = torch.randint(users, (count, users), generator=generator)
        times = torch.zeros(count, users).scatter_add_(1, drawn, torch.ones(drawn.shape))
        made.append(times @ by_user.float().T / users)
    return torch.cat(made)


def interval(resampled: Tensor) -> Interval:
    """Of one method's resampled means [resamples]."""
    tail = (1 - LEVEL) / 2
    low, high = resampled.quantile(torch.tensor([tail, 1 - tail])).tolist()
    return Interval(low, high)


def difference(by_user: Tensor, rival: Tensor, resampled: Tensor) -> Difference:
    """A method beside a rival.

    Args:
        by_user: [U] of the method.
        rival: [U] of the rival.
        resampled: [resamples, 2] of both, by `resampled_means`.

    >>> better, worse = torch.tensor([0.5, 0.7, 0.4]), torch.tensor([0.4, 0.6, 0.3])
    >>> resampled = resampled_means(torch.stack([better, worse]))
    >>> [round(number, 3) for number in difference(better, worse, resampled)]
    [0.1, 0.1, 0.1, 0.0]
    """
    gaps = resampled[:, 0] - resampled[:, 1]
    mean = float((by_user.double() - rival.double()).mean())
    return Difference(mean, *interval(gaps), float((gaps <= 0).float().mean()))
