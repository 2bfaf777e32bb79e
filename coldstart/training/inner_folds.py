"""Cold starts among the training tracks, to choose a head's settings by the ranking they give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.evaluation.metrics import K, ndcg_at_k
from coldstart.factors.als import score_axes, turned
from coldstart.factors.factorization import FactorizationSettings, factorize_matrix
from coldstart.factors.factors import Factors
from coldstart.factors.folding import settings_of
from coldstart.factors.listener_axes import play_weights
from coldstart.fusion.base import FoldListeners, InnerFold

FOLDS = 4

USERS = 2000
"""Maximum number of users: those who have played most of the tracks."""

ITERATIONS = 8
"""Maximum number of ALS iterations: enough to compare settings."""

ENOUGH, MOST_DRAWS = 1000, 8
"""Of fewer tracks, folds are drawn so often that as many are hidden in all: a choice by a few dozen
hidden tracks would be chance."""

FEWEST = 40
"""Tracks, and users, below which a ranking says nothing."""


def inner_folds(
    factors: Factors, track_ids: Sequence[str], group: Tensor, seed: int = 0
) -> list[InnerFold]:
    """Hide each fold of the tracks in turn, and factorise the plays of the others anew.

    The users' vectors, too, are of the new factorisation: a factorisation that has seen a track
    says what its listeners are like, and so what was to be predicted.

    Args:
        factors: with the plays, and how they were factorised.
        track_ids: n training tracks with a vector.
        group: [n] int64; tracks of a group are hidden together.
        seed: of the division into folds, and of the factorisations.

    Returns:
        The folds, of several divisions where there are few tracks; none where plays are ratings, or
        tracks or listeners too few.
    """
    if factors.about["algorithm"] != "implicit" or len(track_ids) < FEWEST:
        return []
    plays = factors.listens.tocsc()[:, factors.rows(track_ids)].tocsr()
    counts = np.diff(plays.indptr)
    users = np.sort(np.argsort(-counts, kind="stable")[:USERS])
    plays = plays[users[counts[users] > 1]]
    if plays.shape[0] < FEWEST:
        return []
    settings = settings_of(factors.about)
    settings = settings._replace(iterations=min(settings.iterations, ITERATIONS), seed=seed)
    _, numbers = np.unique(group.cpu().numpy(), return_inverse=True)
    folds = []
    for draw in range(min(MOST_DRAWS, -(-ENOUGH // len(track_ids)))):
        fold_of = np.random.default_rng([seed, draw]).permutation(numbers.max() + 1) % FOLDS
        folds += [_inner_fold(plays, fold_of[numbers] == fold, settings) for fold in range(FOLDS)]
    return [fold for fold in folds if fold is not None]


def _inner_fold(
    plays: csr_matrix, hidden: NDArray[np.bool_], settings: FactorizationSettings
) -> InnerFold | None:
    """One fold; None where nothing is hidden or left, or nobody has played both."""
    seen, wanted = plays[:, ~hidden], plays[:, hidden]
    both = (np.diff(seen.indptr) > 0) & (np.diff(wanted.indptr) > 0)
    if not both.any():
        return None
    active = np.diff(seen.indptr) > 0
    found = factorize_matrix(seen[active], settings)
    axes = score_axes(found.users)  # a squared error there is one of users' scores
    vectors = np.zeros((len(hidden), settings.factors), np.float32)
    vectors[~hidden] = turned(found.tracks, axes.tracks)
    users = torch.from_numpy(turned(found.users, axes.users)[both[active]]).double()
    relevant = torch.from_numpy(wanted[both].toarray() > 0)
    k = min(K, relevant.shape[1])

    def of_scores(scores: Tensor) -> float:
        best = scores.cpu().topk(k, dim=1).indices
        return float(ndcg_at_k(relevant.gather(1, best), relevant.sum(1), k).mean())

    def of_vectors(predicted: Tensor) -> float:
        return of_scores(users @ predicted.cpu().double().T)

    weights = np.zeros((len(users), len(hidden)))
    weights[:, ~hidden] = play_weights(seen[both], settings).toarray()
    listeners = FoldListeners(users, torch.from_numpy(weights), of_scores)
    return InnerFold(torch.from_numpy(hidden), torch.from_numpy(vectors), of_vectors, listeners)
