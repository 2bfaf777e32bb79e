"""Rivals that predict factors from content: nearest neighbours and ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.data.batch import Batch
from coldstart.data.datamodule import ColdStartData
from coldstart.evaluation.metrics import means
from coldstart.evaluation.rivals import features
from coldstart.evaluation.tasks import ranking_task
from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions, by_track

RIVAL_USERS = 5000
"""Users by whom validation chooses between variants of a rival."""


class Guess(NamedTuple):
    """A rival's vectors for the candidates, in the space of the factors.

    Attributes:
        method: with what was chosen, in brackets.
        vectors: [N, K].
        quality: NDCG on the validation tracks, by which it was chosen.
    """

    method: str
    vectors: Tensor
    quality: float


class FactorProblem(NamedTuple):
    """Content and factors of the training tracks, and what vectors are wanted for.

    Attributes:
        scaled: content of train [T, F], val [V, F] and test [N, F], in each scaling.
        vectors: [T, K] factors of the training tracks.
        quality: vectors of the validation tracks → NDCG of ranking them.
    """

    scaled: dict[str, list[Tensor]]
    vectors: Tensor
    quality: Callable[[Tensor], float]


Content = tuple[Predictions, Predictions, Predictions]
"""[·, F] of the training, the validation and the test tracks."""


def contents(data: ColdStartData, describe_content: Callable[[Batch], Tensor]) -> Content:
    """Read all content once; a track that has none of it isn't there."""
    train, val, test = (
        by_track(data.batches([split], only=only, alone=True), describe_content)
        for split, only in (("train", None), ("val", None), ("test", data.candidates))
    )
    return train, val, test


def factor_problem(factors: Factors, content: Content, candidates: list[str]) -> FactorProblem:
    """What `nearest_neighbours` and `linear` work on."""
    train, val, test = content
    usable = factors.rows(train.track_ids)
    has = (usable >= 0) & ~factors.folded[usable]
    at = {track: i for i, track in enumerate(test.track_ids)}
    test_features = test.values[[at[track] for track in candidates]]
    val_task = ranking_task(factors, val.track_ids).sample(RIVAL_USERS)
    return FactorProblem(
        features.scalings(train.values[torch.from_numpy(has)], val.values, test_features),
        torch.from_numpy(factors.tracks[usable[has]]),
        lambda predicted: means(val_task.figures(predicted)).ndcg,
    )


def nearest_neighbours(problem: FactorProblem) -> Guess:
    """Factors of the training tracks with the nearest content; see `baselines.neighbours`."""
    # Each search takes train × others: the test tracks' neighbours only where they are wanted.
    tried = [
        (problem.quality(neighbours(x, problem.vectors, x_val)), x, x_test)
        for x, x_val, x_test in problem.scaled.values()
    ]
    quality, x, x_test = max(tried, key=lambda one: one[0])
    vectors = neighbours(x, problem.vectors, x_test)
    return Guess(f"{NEIGHBOURS} nearest neighbours", vectors, quality)


def linear(problem: FactorProblem) -> Guess:
    """Ridge regression from content to factors; see `baselines.ridge`."""
    tried = []
    for own, *rest in problem.scaled.values():
        made, penalty = ridge(own, problem.vectors, rest, problem.quality)
        tried.append(Guess(f"ridge (λ = {penalty:g})", made[1], problem.quality(made[0])))
    return max(tried, key=lambda guess: guess.quality)


FACTOR_RIVALS: dict[str, Callable[[FactorProblem], Guess]] = {
    "neighbours": nearest_neighbours,
    "ridge": linear,
}
"""Name in a plan → a rival that predicts factors from content."""

NEIGHBOURS = 20


RIDGE_LAMBDAS = tuple(round(10.0 ** (power / 2), 3) for power in range(-2, 10))


def neighbours(train: Tensor, factors: Tensor, test: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """The similarity-weighted mean factors of the k training tracks with the nearest content.

    Args:
        train: [N, F] features.
        factors: [N, K] their factors.
        test: [M, F].
        k: how many neighbours.

    Returns:
        [M, K].
    """
    known = F.normalize(train, dim=1)
    out: list[Tensor] = []
    for block in F.normalize(test, dim=1).split(1024):
        near = (block @ known.T).topk(min(k, len(known)), dim=1)
        weights = near.values.clamp_min(0) + 1e-6
        out.append((weights[:, :, None] * factors[near.indices]).sum(1) / weights.sum(1)[:, None])
    return torch.cat(out)


def ridge(
    train: Tensor,
    factors: Tensor,
    others: Sequence[Tensor],
    quality: Callable[[Tensor], float],
    lambdas: Sequence[float] = RIDGE_LAMBDAS,
) -> tuple[list[Tensor], float]:
    """Ridge regression from features to factors, λ chosen on the first of `others` (validation).

    Args:
        train: [N, F] features.
        factors: [N, K].
        others: features [M, F] to predict for; the first is the validation set.
        quality: predictions for the first → how good they are; higher is better.
        lambdas: to choose from.

    Returns:
        Predictions [M, K] for each of `others`, and the chosen λ.
    """
    x, y = train.double(), factors.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    values, vectors = torch.linalg.eigh(x.T @ x)
    right = vectors.T @ (x.T @ (y - mean_y))

    def fitted(part: Tensor, penalty: float) -> Tensor:
        weights = vectors @ (right / (values.clamp_min(0) + penalty)[:, None])
        out: Tensor = ((part.double() - mean_x) @ weights + mean_y).float()
        return out

    best = max(lambdas, key=lambda penalty: quality(fitted(others[0], penalty)))
    return [fitted(part, best) for part in others], best
