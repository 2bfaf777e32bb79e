"""What users without a training listen would get: one list for all, for nobody knows them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coldstart.evaluation.metrics import expected_of_users
from coldstart.evaluation.tasks import played, training_tracks
from coldstart.factors.factors import Factors


class Strangers(NamedTuple):
    """NDCG@20 of lists that are the same for everybody, for the users who have no vector.

    Attributes:
        users: without a training listen who have played a candidate.
        ndcg_model: of the order that the mean listener gets.
        ndcg_popularity: of the candidates' artists' popularity.
        ndcg_random: of any order.
    """

    users: int
    ndcg_model: float
    ndcg_popularity: float
    ndcg_random: float


def strangers(
    factors: Factors, candidates: list[str], vectors: Tensor, popularity: Tensor
) -> Strangers | None:
    """The figures of the users whom a test leaves out; None if there are none.

    Equals stand in random order; figures are exact.

    Args:
        factors: with all listens.
        candidates: N ids, all cold.
        vectors: [N, K] predicted.
        popularity: [N] of the candidates' artists.
    """
    relevant = played(factors, candidates)
    known = training_tracks(factors) > 0
    rows = np.flatnonzero((np.diff(relevant.indptr) > 0) & ~known)
    if not len(rows) or not known.any():
        return None
    mean = torch.from_numpy(factors.users[known].mean(0, dtype=np.float64)).float()

    def ndcg(level: Tensor) -> float:
        return float(expected_of_users(level, relevant[rows])[1].double().mean())

    return Strangers(
        len(rows), ndcg(vectors @ mean), ndcg(popularity), ndcg(torch.zeros(len(candidates)))
    )
