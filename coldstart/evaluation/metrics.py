"""Ranking figures: Recall, NDCG, MAP, by rank alone, so that adding a constant changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.evaluation.lists import ListFigures, ListTraits
from coldstart.ranking import Scores, top_k_by

K = 20
"""Cut-off of Recall and NDCG."""

MAP_K = 500
"""Cut-off of MAP."""


def recall_at_k(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Share of the relevant tracks among the first k, divided by min(relevant, k).

    Args:
        hits: [U, ≥ min(k, N)] bool: is the track at this rank relevant?
        relevant: [U] number of relevant tracks, at least 1.
        k: cut-off.

    Returns:
        [U] float in 0..1.

    >>> recall_at_k(torch.tensor([[True, False, True]]), torch.tensor([4]), 3)
    tensor([0.6667])
    """
    return hits[:, :k].sum(1) / relevant.clamp(max=k)


def ndcg_at_k(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Normalised discounted cumulative gain of binary relevance. Arguments as in `recall_at_k`.

    >>> ndcg_at_k(torch.tensor([[True, True, False]]), torch.tensor([2]), 3)
    tensor([1.])
    """
    discount = 1 / torch.arange(2, max(k, hits.shape[1]) + 2).log2()
    ideal = discount.cumsum(0)[relevant.clamp(max=k) - 1]
    gained: Tensor = (hits[:, :k] * discount[: hits[:, :k].shape[1]]).sum(1)
    return gained / ideal


def average_precision_at_k(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Mean of the precision at each relevant track's rank, over min(relevant, k).

    Arguments as in `recall_at_k`.

    >>> average_precision_at_k(torch.tensor([[True, False, True]]), torch.tensor([2]), 3)
    tensor([0.8333])
    """
    first = hits[:, :k]
    precision = first.cumsum(1) / torch.arange(1, first.shape[1] + 1)
    return (precision * first).sum(1) / relevant.clamp(max=k)


class Figures(NamedTuple):
    """Means over the users who have a relevant candidate."""

    recall: float
    ndcg: float
    map: float


def means(by_user: Tensor) -> Figures:
    """[3, U] Recall, NDCG and average precision of each user → their means; NaN of nobody."""
    return Figures(*by_user.double().mean(1).tolist())


def rank_and_score(
    scores: Scores, relevant: csr_matrix, k: int = K, map_k: int = MAP_K, seed: int = 0
) -> Figures:
    """Rank all candidates for each user and average the figures.

    Args:
        scores: block of rows of `relevant` → [block, N].
        relevant: [U, N] sparse, non-zero where relevant; every row has at least one.
        k: cut-off of Recall and NDCG.
        map_k: cut-off of MAP.
        seed: breaks ties.
    """
    in_order = torch.arange(relevant.shape[1])
    return means(score_users(scores, relevant, [in_order], k, map_k, seed)[0])


class Scored(NamedTuple):
    """The figures of a ranking for all users.

    Attributes:
        by_user: [3, U] float32: Recall, NDCG and average precision of each user.
        parts: [P, 2, U] float32: Recall and NDCG of each user where only a part's candidates count
            as relevant; all stay in the ranking. NaN for users who have none there.
        exposure: [N] int64: how many users have each candidate among their first k.
        lists: [5, U] float32: what each user's first k are like, see `ListFigures`; [0, U] where
            nothing is known of the candidates.
    """

    by_user: Tensor
    parts: Tensor
    exposure: Tensor
    lists: Tensor


def score_users(
    scores: Scores,
    relevant: csr_matrix,
    permutations: Sequence[Tensor],
    k: int = K,
    map_k: int = MAP_K,
    seed: int = 0,
) -> list[Tensor]:
    """`by_user` alone of what `score_parts` gives for each permutation: [3, U] float32."""
    whole = torch.zeros(relevant.shape[1], dtype=torch.int64)
    all_scored = score_parts(scores, relevant, permutations, whole, 0, k, map_k, seed)
    return [scored.by_user for scored in all_scored]


def score_parts(
    scores: Scores,
    relevant: csr_matrix,
    permutations: Sequence[Tensor],
    part: Tensor,
    parts: int,
    k: int = K,
    map_k: int = MAP_K,
    seed: int = 0,
    rankable: Tensor | None = None,
    traits: ListTraits | None = None,
) -> list[Scored]:
    """Rank as `rank_and_score` does, with the columns of the scores assigned to other candidates.

    It ranks once for all permutations: these change only which candidate a ranked column means.

    Args:
        scores: see `rank_and_score`.
        relevant: see there.
        permutations: [N] each: candidate i gets the scores of column permutation[i].
        part: [N] int64: the part of each candidate, from 0.
        parts: P, the number of parts; 0 if none are needed.
        k: see `rank_and_score`.
        map_k: see there.
        seed: breaks ties, between candidates.
        rankable: [U] how many candidates each user has, if some are left out for some (by a score
            of -inf); else all N.
        traits: what lists are measured by beside their accuracy; None: they aren't.

    Returns:
        One for each permutation.
    """
    users, candidates = relevant.shape
    order = torch.randperm(candidates, generator=torch.Generator().manual_seed(seed))
    candidates_of = [permutation.argsort() for permutation in permutations]  # column → candidate
    results = [
        Scored(
            torch.empty(3, users),
            torch.empty(parts, 2, users),
            torch.zeros(candidates, dtype=torch.int64),
            torch.empty(0 if traits is None else len(ListFigures._fields), users),
        )
        for _ in permutations
    ]
    orders = [permutation[order] for permutation in permutations]
    in_part = relevant_by_part(relevant, part, parts)
    blank: Tensor | None = None  # as large as the first block, which is the largest
    for rows, ranked in top_k_by(scores, users, orders, max(k, map_k)):
        block = relevant[rows]
        blank = torch.zeros(block.shape, dtype=torch.bool) if blank is None else blank
        for scored, candidate_of, columns in zip(results, candidates_of, ranked, strict=True):
            best = candidate_of[columns]
            hits, counts = _hits(block, best, blank)
            scored.by_user[0, rows] = recall_at_k(hits, counts, k)
            scored.by_user[1, rows] = ndcg_at_k(hits, counts, k)
            scored.by_user[2, rows] = average_precision_at_k(hits, counts, map_k)
            first, first_hits = best[:, :k], hits[:, :k]
            shown = torch.ones_like(first_hits)
            if rankable is not None:
                shown = torch.arange(first.shape[1]) < rankable[rows, None]
            scored.exposure.add_(torch.bincount(first[shown], minlength=candidates))
            if traits is not None:
                scored.lists[:, rows] = traits.figures(first, first_hits, shown, rows)
            for number in range(parts):
                part_hits = first_hits & (part[first] == number)
                counts = in_part[number, rows]
                nan_without_any = torch.where(counts > 0, 0.0, torch.nan)
                counts = counts.clamp(min=1)
                scored.parts[number, 0, rows] = recall_at_k(part_hits, counts, k) + nan_without_any
                scored.parts[number, 1, rows] = ndcg_at_k(part_hits, counts, k) + nan_without_any
    return results


def relevant_by_part(relevant: csr_matrix, part: Tensor, parts: int) -> Tensor:
    """How many relevant candidates each user has in each part. [U, N], [N] → [P, U] int64."""
    counts = [
        relevant.astype(bool) @ (part == number).numpy().astype(int) for number in range(parts)
    ]
    return torch.from_numpy(np.array(counts, dtype=np.int64).reshape(parts, relevant.shape[0]))


def expected_parts(
    level: Tensor, relevant: csr_matrix, part: Tensor, parts: int, k: int = K
) -> Tensor:
    """As `expected_figures`, of each user and part, as in `Scored.parts`. → [P, 2, U] float32."""
    expected = torch.full((parts, 2, relevant.shape[0]), torch.nan)
    for number in range(parts):
        inside = csr_matrix(relevant.multiply((part == number).numpy()))
        inside.eliminate_zeros()
        has = np.diff(inside.indptr) > 0
        of_users = expected_of_users(level, inside[has], k)[:2].float()
        expected[number, :, torch.from_numpy(has)] = of_users
    return expected


def expected_figures(
    level: Tensor, relevant: csr_matrix, k: int = K, map_k: int = MAP_K
) -> Figures:
    """The mean figures when candidates of one level stand in random order.

    Exact, and without ranking anything: each of n candidates of a level is at each of the level's
    places with a probability of 1/n.

    Args:
        level: [N], the same for every user; the higher comes first.
        relevant: [U, N] sparse, non-zero where relevant; every row has at least one.
        k: cut-off of Recall and NDCG.
        map_k: cut-off of MAP.

    >>> one_of_four = csr_matrix(np.array([[0, 1, 0, 0]]))
    >>> expected_figures(torch.zeros(4), one_of_four, k=2).recall
    0.5
    """
    return means(expected_of_users(level, relevant, k, map_k))


def expected_of_users(
    level: Tensor, relevant: csr_matrix, k: int = K, map_k: int = MAP_K
) -> Tensor:
    """As `expected_figures`, of each user. → [3, U] float64."""
    users, candidates = relevant.shape
    _, group, sizes = np.unique(-level.numpy(), return_inverse=True, return_counts=True)
    ones = np.ones(candidates, dtype=np.int64)
    member = csr_matrix((ones, (np.arange(candidates), group)), (candidates, len(sizes)))
    counts = csr_matrix(relevant.astype(bool).astype(np.int64) @ member)
    counts.sort_indices()
    # An entry for each user and level with relevant candidates: r of the level's n candidates.
    row, r = np.repeat(np.arange(users), np.diff(counts.indptr)), counts.data
    n, start = sizes[counts.indices], (sizes.cumsum() - sizes)[counts.indices]
    total = np.bincount(row, r, users)
    before = r.cumsum() - r - (total.cumsum() - total)[row]  # relevant ones on higher levels

    def within(k: int, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """For each entry, the sum of the weights of its level's places among the first k."""
        sums = np.concatenate([[0.0], weight.cumsum()])
        within_k: NDArray[np.float64] = sums[np.clip(k, start, start + n)] - sums[start]
        return within_k

    place = np.arange(1, candidates + 1)
    discount = 1 / np.log2(place + 1)
    gained = np.bincount(row, r / n * within(k, discount), users)
    recalled = np.bincount(row, r / n * within(k, np.ones(candidates)), users)
    # If a relevant candidate is at place i, each of the i − start − 1 places of its level before it
    # holds another relevant one with a probability of (r − 1) / (n − 1).
    others = (r - 1) / np.maximum(n - 1, 1)
    precise = (before + 1 - (start + 1) * others) * within(map_k, 1 / place)
    precise += others * within(map_k, np.ones(candidates))
    precision = np.bincount(row, r / n * precise, users)
    ideal = discount.cumsum()[np.minimum(total, min(k, candidates)).astype(np.int64) - 1]
    figures = (
        recalled / np.minimum(total, k),
        gained / ideal,
        precision / np.minimum(total, map_k),
    )
    return torch.from_numpy(np.stack(figures))


def expected_at_random(
    relevant: Tensor, candidates: Tensor, k: int = K, map_k: int = MAP_K
) -> Tensor:
    """As `expected_of_users` in random order, where each user has candidates of their own.

    Args:
        relevant: [U] int64 how many of a user's candidates are relevant; where 0, the figures are
            NaN.
        candidates: [U] int64 how many candidates each user has, at least `relevant`.
        k: cut-off of Recall and NDCG.
        map_k: cut-off of MAP.

    Returns:
        [3, U] float64.

    >>> expected_at_random(torch.tensor([1]), torch.tensor([4]), k=2)[0].tolist()
    [0.5]
    """
    r, n = relevant.double(), candidates.double()
    place = torch.arange(1, max(k, map_k) + 1, dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    gain = torch.cat([zero, (1 / (place + 1).log2()).cumsum(0)])
    harmonic = torch.cat([zero, (1 / place).cumsum(0)])
    first, deep = candidates.clamp(max=k), candidates.clamp(max=map_k)
    # As in `expected_of_users`: other relevant candidates stand before a relevant one.
    others = (r - 1) / (n - 1).clamp(min=1)
    precise = harmonic[deep] * (1 - others) + others * deep
    return torch.stack(
        [
            r / n * first / r.clamp(max=k),
            r / n * gain[first] / gain[relevant.clamp(max=k)],
            r / n * precise / r.clamp(max=map_k),
        ]
    )


def _hits(relevant: csr_matrix, best: Tensor, blank: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the ranked tracks are relevant, [U, k], and how many are relevant in all, [U].

    `blank` is a table [≥ U, N] of False, and is so again afterwards: clearing the few relevant
    places is cheaper than a new table.
    """
    users, tracks = (torch.from_numpy(axis.astype(np.int64)) for axis in relevant.nonzero())
    blank[users, tracks] = True
    hits = blank[: len(best)].gather(1, best)
    blank[users, tracks] = False
    return hits, torch.bincount(users, minlength=len(best))
