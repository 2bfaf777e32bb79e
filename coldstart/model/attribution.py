"""Dividing a score among those who made it: Shapley values and integrated gradients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from math import comb

import torch
from torch import Tensor


def subsets(players: Collection[str]) -> list[frozenset[str]]:
    """All 2^M of them, the empty one first.

    >>> [sorted(subset) for subset in subsets("ab")]
    [[], ['a'], ['b'], ['a', 'b']]
    """
    sizes = range(len(players) + 1)
    return [frozenset(some) for size in sizes for some in combinations(players, size)]


def weight(before: int, players: int) -> float:
    """How often a player comes right after `before` certain others, if the order is drawn.

    >>> weight(0, 2), weight(1, 3)
    (0.5, 0.16666666666666666)
    """
    return 1 / (players * comb(players - 1, before))


def shapley(values: Mapping[frozenset[str], float]) -> dict[str, float]:
    """Each player's Shapley value: the mean of what it adds, over all orders of coming in.

    L. S. Shapley, A value for n-person games, 1953: the one division that adds up, treats alike
    players alike, gives nothing to one that changes nothing, and is linear.

    Args:
        values: every subset of the players → its value.

    Returns:
        Player → share; they add up to the value of all less that of none.

    Examples:
        >>> none, a, b, both = subsets("ab")
        >>> shapley({none: 0.0, a: 1.0, b: 3.0, both: 6.0})
        {'a': 2.0, 'b': 4.0}
    """
    players = sorted(frozenset[str]().union(*values))
    return {
        player: sum(
            weight(len(some), len(players)) * (values[some | {player}] - value)
            for some, value in values.items()
            if player not in some
        )
        for player in players
    }


def integrated_gradients(
    score: Callable[[Tensor], Tensor],
    values: Tensor,
    baseline: Tensor,
    steps: int = 256,
    most: int = 4096,
    tolerance: float = 5e-4,
) -> Tensor:
    """What each feature adds to a score as all go straight from a baseline to their values.

    Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017: the gradient's mean
    along the way, times the distance. Steps are doubled until the sum is right.

    Args:
        score: [T, P, F] → [T].
        values: [P, F].
        baseline: [F].
        steps: points of the way to begin with.
        most: points of the way at most.
        tolerance: how far the sum may be from score(values) − score(baseline).

    Returns:
        [F], summed over the P pieces.

    Examples:
        >>> w = torch.tensor([2.0, -1.0, 0.0])
        >>> integrated_gradients(lambda x: (x @ w).sum(1), torch.ones(1, 3), torch.zeros(3))
        tensor([ 2., -1.,  0.])
    """
    way = values - baseline
    with torch.no_grad():
        start, end = score(torch.stack([values - way, values])).tolist()
    while True:
        at = (torch.arange(steps, device=values.device) + 0.5)[:, None, None] / steps
        with torch.enable_grad():
            path = (baseline + at * way).requires_grad_()
            total = score(path).sum()
            (slopes,) = torch.autograd.grad(total, path, materialize_grads=True, allow_unused=True)
        added = (way * slopes.mean(0)).sum(0)
        if steps >= most or abs(added.sum().item() - (end - start)) <= tolerance:
            return added
        steps *= 2
