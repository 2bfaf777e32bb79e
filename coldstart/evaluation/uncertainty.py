"""How certain figures are: the bootstrap over users, paired between methods.

Users are drawn with replacement, and the same draw serves all methods: what makes a user easy or
hard for every method cancels out of a difference. This says nothing about other splits, other
factorisations or other seeds of a net: those take more runs, and `pooled` combines them.
B. Efron and R. Tibshirani, *An Introduction to the Bootstrap*, 1993.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coldstart.errors import InputError

RESAMPLES = 1000
"""Draws of the bootstrap."""

FLIPS = 9999
"""Draws of the sign-flip test."""

LEVEL = 0.95
"""Of an interval."""

_BLOCK = 4_000_000
"""Numbers in memory at once."""


class Interval(NamedTuple):
    """Where 95 % of the resampled means lie."""

    low: float
    high: float


class Difference(NamedTuple):
    """A method's mean minus a rival's, over the same users.

    Attributes:
        mean: the difference.
        low: lower end of the interval with 95 % of the resampled differences.
        high: its upper end.
        behind: share of the resamples in which the method isn't ahead, 0..1.
        p: two-sided, of the sign-flip test over users; see `sign_flip_p`.
    """

    mean: float
    low: float
    high: float
    behind: float
    p: float


class Pooled(NamedTuple):
    """Several splits' figures, combined.

    Attributes:
        mean: [M] of each method: the mean over the users of a split, averaged over the splits.
        resampled: [resamples, M] the same for each draw of users.
        by_user: [M, users of all splits] each user's contribution to `mean`; they add up to it.
    """

    mean: Tensor
    resampled: Tensor
    by_user: Tensor

    def interval(self, method: int) -> Interval:
        """Of one method's mean."""
        return interval(self.resampled[:, method])

    def difference(self, method: int, rival: int, seed: int = 0) -> Difference:
        """One method beside another, over the same users in the same splits."""
        gaps = self.resampled[:, method] - self.resampled[:, rival]
        each = self.by_user[method] - self.by_user[rival]
        return _difference(float(each.sum()), gaps, each, seed)


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
    step = max(1, _BLOCK // users)
    blocks = []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        draws = torch.randint(users, (count, users), generator=generator)
        times = torch.zeros(count, users).scatter_add_(1, draws, torch.ones(draws.shape))
        blocks.append(times @ by_user.float().T / users)
    return torch.cat(blocks)


def interval(resampled: Tensor) -> Interval:
    """Of one method's resampled means [resamples]."""
    tail = (1 - LEVEL) / 2
    low, high = resampled.quantile(torch.tensor([tail, 1 - tail])).tolist()
    return Interval(low, high)


def difference(by_user: Tensor, rival: Tensor, resampled: Tensor, seed: int = 0) -> Difference:
    """A method beside a rival.

    Args:
        by_user: [U] of the method.
        rival: [U] of the rival.
        resampled: [resamples, 2] of both, by `resampled_means`.
        seed: of the flips.

    >>> better, worse = torch.tensor([0.5, 0.7, 0.4]), torch.tensor([0.4, 0.6, 0.3])
    >>> resampled = resampled_means(torch.stack([better, worse]))
    >>> [round(number, 2) for number in difference(better, worse, resampled)]
    [0.1, 0.1, 0.1, 0.0, 0.26]
    """
    gaps = by_user.double() - rival.double()
    return _difference(float(gaps.mean()), resampled[:, 0] - resampled[:, 1], gaps, seed)


def _difference(mean: float, resampled: Tensor, by_user: Tensor, seed: int) -> Difference:
    behind = float((resampled <= 0).float().mean())
    return Difference(mean, *interval(resampled), behind, sign_flip_p(by_user, seed=seed))


def sign_flip_p(gaps: Tensor, flips: int = FLIPS, seed: int = 0) -> float:
    """The probability of a difference at least as large as this one, either way, by chance alone.

    If two methods were equally good, each user's difference could as well have had the other sign.
    So all signs are drawn at random, many times, and the sums that are at least as far from 0 are
    counted; the true one counts too, so p is never 0. Users whose difference is 0 change nothing.
    Draws are seeded: the same users, in the same order, have the same p.

    R. A. Fisher, *The Design of Experiments*, 1935; M. Smucker, J. Allan and B. Carterette,
    *A comparison of statistical significance tests for information retrieval*, CIKM 2007.

    Args:
        gaps: [U] a user's figure by one method minus that by the other.
        flips: how many draws.
        seed: of the draws.

    Returns:
        1 / (flips + 1) … 1.

    >>> sign_flip_p(torch.tensor([0.1, -0.1, 0.0]))
    1.0
    """
    different = gaps[gaps != 0].double().numpy()
    if not len(different):
        return 1.0
    sizes = np.abs(different)
    # Less a little: sums of the same numbers in another order differ in their last bits.
    limit = abs(different.sum()) - 1e-12 * sizes.sum()
    generator = np.random.default_rng(seed)
    step, extreme = max(1, _BLOCK // len(sizes)), 0
    width = -(-len(sizes) // 8)  # bytes that hold a bit for each user
    for start in range(0, flips, step):
        count = min(step, flips - start)
        bits = generator.integers(0, 256, (count, width), dtype=np.uint8)
        negative = np.unpackbits(bits, axis=1, count=len(sizes))
        extreme += int((np.abs(sizes.sum() - 2 * (negative @ sizes)) >= limit).sum())
    return (extreme + 1) / (flips + 1)


def pooled(
    user_ids: Sequence[Sequence[str]],
    by_user: Sequence[Tensor],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Pooled:
    """Pool several splits (or seeds) of one log: the mean over users of each, averaged.

    A listener in several splits is one listener: the bootstrap draws user ids, each with its
    figures in all splits (the cluster bootstrap). What differs between splits beside the users
    (candidates, factors) isn't resampled.

    Args:
        user_ids: of each of S splits, U_s ids, none twice.
        by_user: of each split, [M, U_s] a figure of each user by the same M methods; U_s ≥ 1.
        resamples: how many draws.
        seed: of the draws.

    Raises:
        InputError: there are no splits, or ids and figures don't match.

    >>> both = pooled([["a", "b"], ["b"]], [torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5]])])
    >>> both.mean.tolist()
    [0.5]
    """
    if not by_user or len(user_ids) != len(by_user):
        raise InputError(f"pooling: {len(user_ids)} lists of users for {len(by_user)} splits")
    methods = by_user[0].shape[0]
    for ids, figures in zip(user_ids, by_user, strict=True):
        if figures.shape != (methods, len(ids)) or not ids or len(set(ids)) < len(ids):
            raise InputError(
                f"pooling: figures {tuple(figures.shape)} for {len(set(ids))} different users; "
                f"needed are [{methods}, users], and at least one user in each split"
            )
    row = {user: i for i, user in enumerate(sorted({user for ids in user_ids for user in ids}))}
    table = torch.zeros(len(by_user), methods, len(row), dtype=torch.float64)  # 0: not in the split
    present = torch.zeros(len(by_user), len(row), dtype=torch.float64)
    for number, (ids, figures) in enumerate(zip(user_ids, by_user, strict=True)):
        rows = torch.tensor([row[user] for user in ids])
        table[number][:, rows] = figures.double()
        present[number, rows] = 1
    contributions = (table / present.sum(1)[:, None, None]).mean(0)
    generator = torch.Generator().manual_seed(seed)
    step, blocks = max(1, _BLOCK // len(row)), []
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        draws = torch.randint(len(row), (count, len(row)), generator=generator)
        ones = torch.ones(draws.shape, dtype=torch.float64)
        times = torch.zeros(count, len(row), dtype=torch.float64).scatter_add_(1, draws, ones)
        means = torch.einsum("ru,smu->srm", times, table) / (times @ present.T).T[:, :, None]
        blocks.append(means.nanmean(0))  # NaN: a small split of which nobody was drawn
    return Pooled(contributions.sum(1), torch.cat(blocks).float(), contributions)
