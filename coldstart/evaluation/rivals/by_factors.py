"""Rivals that predict factors from content: nearest neighbours and ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.data.batch import Batch
from coldstart.data.track_data import TrackData
from coldstart.evaluation.metrics import means
from coldstart.evaluation.rivals import features
from coldstart.evaluation.tasks import ranking_task
from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions, by_track

RIVAL_USERS = 5000
"""At most this many users count where validation chooses between variants of a rival."""


class Guess(NamedTuple):
    """A rival's vectors for the candidates, in the space of the factors.

    Attributes:
        method: its name, with the chosen setting in brackets.
        vectors: [N, K].
        of_val: [V, K] those of the validation tracks.
        quality: NDCG on the validation tracks, by which the setting was chosen.
    """

    method: str
    vectors: Tensor
    of_val: Tensor
    quality: float


class FactorProblem(NamedTuple):
    """Content and factors of the training tracks, and content of those to predict for.

    Attributes:
        scaled: content of train [T, F], val [V, F] and test [N, F], in each scaling.
        vectors: [T, K] factors of the training tracks.
        quality: vectors of the validation tracks → NDCG of ranking them.
    """

    scaled: dict[str, list[Tensor]]
    vectors: Tensor
    quality: Callable[[Tensor], float]


ContentBySplit = tuple[Predictions, Predictions, Predictions]
"""Content [·, F] of the training, the validation and the test tracks."""


def contents(data: TrackData, describe_content: Callable[[Batch], Tensor]) -> ContentBySplit:
    """Read all content once; tracks that have none are left out."""
    train, val, test = (
        by_track(data.batches([split], only=only, alone=True), describe_content)
        for split, only in (("train", None), ("val", None), ("test", data.candidates))
    )
    return train, val, test


def factor_problem(
    factors: Factors, content: ContentBySplit, candidates: list[str]
) -> FactorProblem:
    """The problem that `nearest_neighbours` and `linear` solve."""
    train, val, test = content
    rows = factors.rows(train.track_ids)
    factorised = (rows >= 0) & ~factors.folded[rows]
    row_of = {track: i for i, track in enumerate(test.track_ids)}
    test_features = test.values[[row_of[track] for track in candidates]]
    val_task = ranking_task(factors, val.track_ids).sample(RIVAL_USERS)
    return FactorProblem(
        features.scalings(train.values[torch.from_numpy(factorised)], val.values, test_features),
        torch.from_numpy(factors.tracks[rows[factorised]]),
        lambda predictions: means(val_task.figures(predictions)).ndcg,
    )


def nearest_neighbours(problem: FactorProblem) -> Guess:
    """Factors of the training tracks with the nearest content; see `neighbours`."""
    # A search compares all training tracks with all others, so the test tracks' neighbours are
    # searched in the best scaling alone.
    variants = []
    for train, val, test in problem.scaled.values():
        of_val = neighbours(train, problem.vectors, val)
        variants.append((problem.quality(of_val), of_val, train, test))
    quality, of_val, train, test = max(variants, key=lambda variant: variant[0])
    vectors = neighbours(train, problem.vectors, test)
    return Guess(f"{NEIGHBOURS} nearest neighbours", vectors, of_val, quality)


def linear(problem: FactorProblem) -> Guess:
    """Ridge regression from content to factors; see `ridge`."""
    guesses = []
    for train, val, test in problem.scaled.values():
        predictions, penalty = ridge(train, problem.vectors, [val, test], problem.quality)
        of_val, of_test = predictions
        quality = problem.quality(of_val)
        guesses.append(Guess(f"ridge (λ = {penalty:g})", of_test, of_val, quality))
    return max(guesses, key=lambda guess: guess.quality)


FACTOR_RIVALS: dict[str, Callable[[FactorProblem], Guess]] = {
    "neighbours": nearest_neighbours,
    "ridge": linear,
}
"""Name in a plan → a rival that predicts factors from content."""

NEIGHBOURS = 20
"""How many training tracks count for a candidate."""

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
    unit = F.normalize(train, dim=1)
    blocks: list[Tensor] = []
    for block in F.normalize(test, dim=1).split(1024):
        near = (block @ unit.T).topk(min(k, len(unit)), dim=1)
        weights = near.values.clamp_min(0) + 1e-6
        weighted = weights[:, :, None] * factors[near.indices]
        blocks.append(weighted.sum(1) / weights.sum(1)[:, None])
    return torch.cat(blocks)


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
        quality: of predictions for the first; higher is better.
        lambdas: the values of λ to choose from.

    Returns:
        Predictions [M, K] for each of `others`, and the chosen λ.
    """
    x, y = train.double(), factors.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    wide = x.shape[1] > len(x)  # then the same is solved between tracks: never F × F
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    right = vectors.T @ (y - mean_y if wide else x.T @ (y - mean_y))

    def along(part: Tensor) -> Tensor:
        centred = part.double() - mean_x
        projected: Tensor = (centred @ x.T if wide else centred) @ vectors
        return projected

    def predict(part: Tensor, penalty: float) -> Tensor:
        """From what `along` gives."""
        predictions: Tensor = part @ (right / (values.clamp_min(0) + penalty)[:, None]) + mean_y
        return predictions.float()

    validation = along(others[0])
    best = max(lambdas, key=lambda penalty: quality(predict(validation, penalty)))
    return [predict(along(part), best) for part in others], best
