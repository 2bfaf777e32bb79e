"""Vectors → nearest tracks, and tracks for a user: exact, in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Scores = Callable[[slice], Tensor]
"""A block of users (rows) → their scores for all candidates, [block, N]."""


def dot_scores(users: Tensor, items: Tensor) -> Scores:
    """Score by dot product. [U, K], [N, K] → scores of a block of users.

    >>> score = dot_scores(torch.eye(2), torch.tensor([[1.0, 3.0], [2.0, 0.5]]))
    >>> score(slice(0, 2)).tolist()
    [[1.0, 2.0], [3.0, 0.5]]
    """
    return lambda rows: users[rows] @ items.T


def top_k(
    scores: Scores, users: int, candidates: int, k: int, *, seed: int = 0, block_mb: int = 256
) -> Iterator[tuple[slice, Tensor]]:
    """Rank the candidates for every user, best first; only the order of scores counts.

    Ties are broken at random (by `seed`), so that a method that can't tell candidates apart gains
    nothing from the order in which they are stored.

    Args:
        scores: see `Scores`.
        users: U.
        candidates: N.
        k: how many to keep; at most N are.
        seed: of the tie-break.
        block_mb: ceiling for one block's scores.

    Yields:
        Rows of a block of users, and their candidates [block, min(k, N)], best first.
    """
    size = max(1, int(block_mb * 1e6 / (4 * candidates)))
    order = torch.randperm(candidates, generator=torch.Generator().manual_seed(seed))
    for start in range(0, users, size):
        rows = slice(start, min(start + size, users))
        best = _stable_top(scores(rows)[:, order], min(k, candidates))
        yield rows, order[best]


def _stable_top(scores: Tensor, k: int) -> Tensor:
    """Indices of the k best in each row; of equals, the earlier comes first."""
    n = scores.shape[1]
    if k * 8 > n:
        return scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    # topk alone takes any of the equals: give it all that reach the k-th score, then sort.
    least = scores.topk(k, dim=1).values[:, -1:]
    wanted = scores >= least
    if int(wanted.sum(1).max()) == k:
        rows = wanted.nonzero()[:, 1].view(-1, k)
    else:
        surely = scores > least
        room = k - surely.sum(1, keepdim=True)
        equal = scores == least
        rows = (surely | (equal & (equal.cumsum(1) <= room))).nonzero()[:, 1].view(-1, k)
    inside = scores.gather(1, rows).argsort(dim=1, descending=True, stable=True)
    return rows.gather(1, inside)
