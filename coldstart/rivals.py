"""The lines beside the model's own: floors that need no content, and simple rivals that read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coldstart import baselines
from coldstart.content_rivals import CONTENT_RIVALS, problem_of, space_scored
from coldstart.data.batch import Batch
from coldstart.data.datamodule import ColdStartData
from coldstart.exposure import Exposure, expected_exposure, exposure
from coldstart.factors.factors import Factors
from coldstart.metrics import (
    K,
    Scored,
    expected_at_random,
    expected_of_users,
    expected_parts,
    means,
    relevant_by_part,
)
from coldstart.model.predictions import Predictions, by_track
from coldstart.tasks import Task, ranking_task

RIVAL_USERS = 5000
"""Users by whom validation chooses between variants of a rival."""


class Line(NamedTuple):
    """What a row is made of.

    Attributes:
        method: what ranked.
        input: what it knew.
        cosine: mean distance, if it predicts vectors.
        by_user: [3, U] Recall, NDCG and average precision of each user.
        parts: [P, 2, U] Recall and NDCG within each part of the candidates; NaN: none there.
        exposure: how the users' first k spread over the candidates.
    """

    method: str
    input: str
    cosine: float | None
    by_user: Tensor
    parts: Tensor
    exposure: Exposure

    @classmethod
    def of(cls, method: str, input: str, cosine: float | None, scored: Scored) -> Line:
        """From what ranking gave."""
        spread = exposure(scored.exposure)
        return cls(method, input, cosine, scored.by_user, scored.parts, spread)


def mean_line(method: str, lines: list[Line]) -> Line:
    """Of several draws."""
    distances = [line.cosine for line in lines if line.cosine is not None]

    def mean(numbers: list[float | None]) -> float | None:
        there = [number for number in numbers if number is not None]
        return float(np.mean(there)) if there else None

    return Line(
        method,
        lines[0].input,
        float(np.mean(distances)),
        torch.stack([line.by_user for line in lines]).mean(0),
        torch.stack([line.parts for line in lines]).mean(0),
        Exposure(
            mean([line.exposure.coverage for line in lines]),
            mean([line.exposure.gini for line in lines]),
        ),
    )


def mixed_floor_lines(task: Task, factors: Factors) -> list[Line]:
    """Random order, exact (but for Gini), and the popularity of warm tracks, cold ones last.

    Equals in popularity, and so all cold tracks, stand in one random order.
    """
    assert task.warm is not None
    counts = task.rankable
    found = torch.from_numpy(np.diff(task.relevant.indptr).astype(np.int64))
    inside = relevant_by_part(task.relevant, task.part, len(task.parts))
    parts = torch.stack([expected_at_random(part, counts)[:2] for part in inside])
    random = Line(
        "random",
        "–",
        None,
        expected_at_random(found, counts).float(),
        torch.where(inside[:, None] > 0, parts, torch.nan).float(),
        Exposure(_expected_coverage(task, counts), None),
    )
    explicit = factors.about["algorithm"] == "explicit"  # then by how many rated a track
    level = factors.listens.getnnz(axis=0) if explicit else factors.plays
    plays = torch.from_numpy(level[~factors.folded].astype(np.float32))[:, None]
    popular = task._replace(
        users=torch.ones(len(task.users), 1), warm=task.warm._replace(vectors=plays, length=None)
    )
    cold = torch.zeros(task.counts["cold_candidates"], 1)
    (scored,) = popular.scored(cold, [torch.arange(len(cold))])
    return [random, Line.of("popularity", "plays", None, scored)]


def _expected_coverage(task: Task, counts: Tensor) -> float | None:
    """Share of candidates that are to be expected in someone's first k, all orders being equal."""
    if task.warm is None or not len(counts):
        return None
    away = np.log1p(-np.minimum(K / counts.clamp(min=1).double().numpy(), 1 - 1e-15))
    heard = task.warm.heard.astype(np.float64)
    nobody = np.exp(away.sum() - heard.T @ away)
    return float(1 - nobody.mean())


def floor_lines(
    task: Task, factors: Factors, candidates: list[str], data: ColdStartData
) -> list[Line]:
    """Random order, and the artist's popularity with equals in random order; both exact."""
    tracks = data.shards.all_tracks()
    artist = {track["track_id"]: track.get("artist_id") for track in tracks}
    training = factors.rows([t["track_id"] for t in tracks if t["split"] == "train"])
    # Of an order in which everything was factorised first, a test track's own plays don't count.
    known = [row for row in training if row >= 0 and not factors.folded[row]]
    plays = baselines.artist_popularity(
        [artist.get(track) for track in candidates],
        [artist.get(factors.track_ids[i]) for i in known],
        factors.plays[known],
    )

    def floor(method: str, input: str, level: Tensor) -> Line:
        return Line(
            method,
            input,
            None,
            expected_of_users(level, task.relevant).float(),
            expected_parts(level, task.relevant, task.part, len(task.parts)),
            expected_exposure(level, len(task.users), K),
        )

    return [
        floor("random", "–", torch.zeros(len(candidates))),
        floor("artist's popularity", "artist", plays),
    ]


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
        baselines.scalings(train.values[torch.from_numpy(has)], val.values, test_features),
        torch.from_numpy(factors.tracks[usable[has]]),
        lambda predicted: means(val_task.figures(predicted)).ndcg,
    )


def nearest_neighbours(problem: FactorProblem) -> Guess:
    """Factors of the training tracks with the nearest content; see `baselines.neighbours`."""
    # Each search takes train × others: the test tracks' neighbours only where they are wanted.
    tried = [
        (problem.quality(baselines.neighbours(x, problem.vectors, x_val)), x, x_test)
        for x, x_val, x_test in problem.scaled.values()
    ]
    quality, x, x_test = max(tried, key=lambda one: one[0])
    vectors = baselines.neighbours(x, problem.vectors, x_test)
    return Guess(f"{baselines.NEIGHBOURS} nearest neighbours", vectors, quality)


def linear(problem: FactorProblem) -> Guess:
    """Ridge regression from content to factors; see `baselines.ridge`."""
    tried = []
    for own, *rest in problem.scaled.values():
        made, penalty = baselines.ridge(own, problem.vectors, rest, problem.quality)
        tried.append(Guess(f"ridge (λ = {penalty:g})", made[1], problem.quality(made[0])))
    return max(tried, key=lambda guess: guess.quality)


FACTOR_RIVALS: dict[str, Callable[[FactorProblem], Guess]] = {
    "neighbours": nearest_neighbours,
    "ridge": linear,
}
"""Name in a plan → a rival that predicts factors from content."""


def rival_lines(
    task: Task,
    factors: Factors,
    candidates: list[str],
    describe_content: Callable[[Batch], Tensor],
    data: ColdStartData,
    line: Callable[[str, Tensor], Line],
    input: str,
    seed: int = 0,
) -> list[Line]:
    """Content alone, then nearest neighbours and ridge to factors, all from the model's content."""
    content = contents(data, describe_content)
    known = problem_of(factors, content, candidates, RIVAL_USERS, task.warm is not None)
    lines = []
    for name, rival in CONTENT_RIVALS.values():
        scored = space_scored(task, factors, rival(known, seed), seed)
        lines.append(Line.of(name, input, None, scored))
    problem = factor_problem(factors, content, candidates)
    guesses = [rival(problem) for rival in FACTOR_RIVALS.values()]
    return lines + [line(guess.method, guess.vectors) for guess in guesses]
