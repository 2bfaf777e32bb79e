"""Attribution of a score to its inputs: Shapley values and integrated gradients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

NODES = 16
"""Points of a piece of a path: of a smooth score they give what 256 equal steps do."""


def subsets(players: Collection[str]) -> list[frozenset[str]]:
    """All 2^M subsets of the players, the empty one first.

    >>> [sorted(subset) for subset in subsets("ab")]
    [[], ['a'], ['b'], ['a', 'b']]
    """
    sizes = range(len(players) + 1)
    return [frozenset(subset) for size in sizes for subset in combinations(players, size)]


def weight(before: int, players: int) -> float:
    """The probability that exactly `before` given players precede a player in a random order.

    >>> weight(0, 2), weight(1, 3)
    (0.5, 0.16666666666666666)
    """
    return 1 / (players * comb(players - 1, before))


def shapley(values: Mapping[frozenset[str], float]) -> dict[str, float]:
    """Each player's Shapley value: the mean of what it adds, over all orders of the players.

    L. S. Shapley, A value for n-person games, 1953: the only division that adds up, gives equal
    shares to equal players and nothing to one that changes nothing, and is linear.

    Args:
        values: every subset of the players → its value.

    Returns:
        Player → share; they add up to the value of all players minus that of none.

    Examples:
        >>> none, a, b, both = subsets("ab")
        >>> shapley({none: 0.0, a: 1.0, b: 3.0, both: 6.0})
        {'a': 2.0, 'b': 4.0}
    """
    players = sorted(frozenset[str]().union(*values))
    return {
        player: sum(
            weight(len(subset), len(players)) * (values[subset | {player}] - value)
            for subset, value in values.items()
            if player not in subset
        )
        for player in players
    }


def integrated_gradients(
    score: Callable[[Tensor], Tensor],
    values: Tensor,
    baseline: Tensor,
    steps: int = NODES,
    max_steps: int = 4096,
    tolerance: float = 5e-4,
) -> Tensor:
    """What each feature adds to a score on a straight path from a baseline to the values.

    Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017: the mean gradient along
    the path, times the distance; by Gauss-Legendre quadrature in pieces of the path, whose
    number is doubled until the sum is right.

    Args:
        score: [T, P, F] → [T].
        values: [P, F].
        baseline: [F].
        steps: points on the path at first, a multiple of `NODES`.
        max_steps: points on the path at most.
        tolerance: how far the sum may be from score(values) − score(baseline).

    Returns:
        [F], summed over the P pieces.

    Examples:
        >>> w = torch.tensor([2.0, -1.0, 0.0])
        >>> integrated_gradients(lambda x: (x @ w).sum(1), torch.ones(1, 3), torch.zeros(3))
        tensor([ 2., -1.,  0.])
    """
    distance = values - baseline
    with torch.no_grad():
        start, end = score(torch.stack([values - distance, values])).tolist()
    while True:
        position, share = (each.to(values)[:, None, None] for each in _quadrature(steps))
        with torch.enable_grad():
            path = (baseline + position * distance).requires_grad_()
            total = score(path).sum()
            (slopes,) = torch.autograd.grad(total, path, materialize_grads=True, allow_unused=True)
        parts = (distance * (share * slopes).sum(0)).sum(0)
        if steps >= max_steps or abs(parts.sum().item() - (end - start)) <= tolerance:
            return parts
        steps *= 2


def _quadrature(steps: int) -> tuple[Tensor, Tensor]:
    """Points from 0 to 1, and the weight of each, which add up to 1."""
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(NODES))
    pieces = steps // NODES
    position = (torch.arange(pieces)[:, None] + (nodes + 1) / 2) / pieces
    return position.flatten(), (weights / (2 * pieces)).repeat(pieces)
