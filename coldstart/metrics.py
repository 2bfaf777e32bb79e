"""Ranking figures: Recall, NDCG, MAP, by rank alone, so that adding a constant changes nothing."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.ranking import Scores, top_k

K = 20
MAP_K = 500


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
    users, candidates = relevant.shape
    totals = torch.zeros(3, dtype=torch.float64)
    for rows, best in top_k(scores, users, candidates, max(k, map_k), seed=seed):
        block = relevant[rows]
        truth = torch.from_numpy(block.toarray() != 0)
        hits, counts = truth.gather(1, best), truth.sum(1)
        figures = (
            recall_at_k(hits, counts, k),
            ndcg_at_k(hits, counts, k),
            average_precision_at_k(hits, counts, map_k),
        )
        totals += torch.stack([figure.double().sum() for figure in figures])
    return Figures(*(totals / users).tolist())
