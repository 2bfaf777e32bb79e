"""Vectors → nearest tracks, and tracks for a user: exact, in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Scores(Protocol):
    """A block of users (rows) → their scores for all candidates, [block, N]."""

    def __call__(self, rows: slice, /) -> Tensor:
        """The scores."""
        ...


BLOCK_MB = 256
"""Maximum size of one block's scores; finding the best of them takes about as much memory again."""


class DotScores(NamedTuple):
    """Scores by dot product.

    Attributes:
        users: [U, K].
        items: [N, K].
    """

    users: Tensor
    items: Tensor

    def __call__(self, rows: slice) -> Tensor:
        """[block, N] of a block of users."""
        return self.users[rows] @ self.items.T

    def of(self, rows: slice) -> DotScores:
        """The same of some of the users."""
        return self._replace(users=self.users[rows])


def dot_scores(users: Tensor, items: Tensor) -> DotScores:
    """Score by dot product. [U, K], [N, K] → scores of a block of users.

    >>> score = dot_scores(torch.eye(2), torch.tensor([[1.0, 3.0], [2.0, 0.5]]))
    >>> score(slice(0, 2)).tolist()
    [[1.0, 2.0], [3.0, 0.5]]
    """
    return DotScores(users, items)


def block_users(candidates: int, block_mb: float | None = None) -> int:
    """How many users are ranked at a time.

    >>> block_users(100_000), block_users(1_000, block_mb=1)
    (640, 250)
    """
    return max(1, int((block_mb or BLOCK_MB) * 1e6 / (4 * candidates)))


def top_k(
    scores: Scores,
    users: int,
    candidates: int,
    k: int,
    *,
    seed: int = 0,
    block_mb: float | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Rank the candidates for every user, best first; only the order of scores counts.

    Ties are broken at random (by `seed`), so that a method that can't tell candidates apart gains
    nothing from the order in which they are stored.

    Args:
        scores: see `Scores`.
        users: U.
        candidates: N.
        k: length of the ranking; at most N.
        seed: of the tie-break.
        block_mb: maximum size of one block's scores; by default `BLOCK_MB`.

    Yields:
        Rows of a block of users, and their candidates [block, min(k, N)], best first.
    """
    order = torch.randperm(candidates, generator=torch.Generator().manual_seed(seed))
    for rows, (best,) in top_k_by(scores, users, [order], k, block_mb=block_mb):
        yield rows, best


def top_k_by(
    scores: Scores,
    users: int,
    orders: Sequence[Tensor],
    k: int,
    *,
    block_mb: float | None = None,
) -> Iterator[tuple[slice, list[Tensor]]]:
    """As `top_k`, for several orders of the candidates [N], which decide between equal scores.

    The scores are computed and searched once, for only ties depend on the order.
    """
    candidates = len(orders[0])
    size = block_users(candidates, block_mb)
    for start in range(0, users, size):
        rows = slice(start, min(start + size, users))
        yield rows, _tops(scores(rows), orders, min(k, candidates))


def _tops(scores: Tensor, orders: Sequence[Tensor], k: int) -> list[Tensor]:
    """For each order: indices of the k best in each row, best first."""
    if k * 8 > scores.shape[1]:
        return [order[_stable_top(scores[:, order], k)] for order in orders]
    # One more than k: if its score is equal to the k-th, the limit separates equals.
    values, indices = scores.topk(k + 1, dim=1)
    equal = values[:, 1:] == values[:, :-1]
    has_ties, tied_at_limit = equal[:, :-1].any(1), equal[:, -1]
    indices = indices[:, :k]
    if not has_ties.any() and not tied_at_limit.any():
        return [indices] * len(orders)
    values = values[has_ties]
    tops = []
    for order in orders:
        top = indices.clone()
        as_ordered = order.argsort()[indices[has_ties]].argsort(dim=1)
        ordered_values = values.gather(1, as_ordered)
        ranks = ordered_values.argsort(dim=1, descending=True, stable=True)
        top[has_ties] = indices[has_ties].gather(1, as_ordered.gather(1, ranks))
        if tied_at_limit.any():
            top[tied_at_limit] = order[_stable_top(scores[tied_at_limit][:, order], k)]
        tops.append(top)
    return tops


def _stable_top(scores: Tensor, k: int) -> Tensor:
    """Indices of the k best in each row; of equals, the earlier comes first."""
    n = scores.shape[1]
    if k * 8 > n:
        return scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    # topk alone takes any of the equals: select by the k-th score, equals by position, then sort.
    limit = scores.topk(k, dim=1).values[:, -1:]
    above, equal = scores > limit, scores == limit
    missing = k - above.sum(1, keepdim=True)
    selected = above | (equal & (equal.cumsum(1) <= missing))
    columns = selected.nonzero()[:, 1].view(-1, k)
    ranks = scores.gather(1, columns).argsort(dim=1, descending=True, stable=True)
    return columns.gather(1, ranks)
