"""The lines beside the model's own: floors that need no content, and simple rivals that read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coldstart import baselines
from coldstart.data import ColdStartData
from coldstart.exposure import Exposure, expected_exposure, exposure
from coldstart.factors import Factors
from coldstart.metrics import (
    K,
    Scored,
    expected_at_random,
    expected_of_users,
    expected_parts,
    means,
    relevant_by_part,
)
from coldstart.predictions import by_track
from coldstart.streams import Batch
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


def rival_lines(
    factors: Factors,
    candidates: list[str],
    describe_content: Callable[[Batch], Tensor],
    data: ColdStartData,
    line: Callable[[str, Tensor], Line],
) -> list[Line]:
    """Nearest neighbours and ridge, from the same content as the model's."""
    train, val, test = (
        by_track(data.batches([split], only=only, alone=True), describe_content)
        for split, only in (("train", None), ("val", None), ("test", data.candidates))
    )
    usable = factors.rows(train.track_ids)
    has = (usable >= 0) & ~factors.folded[usable]
    vectors = torch.from_numpy(factors.tracks[usable[has]])
    at = {track: i for i, track in enumerate(test.track_ids)}
    test_features = test.values[[at[track] for track in candidates]]
    parts = baselines.scalings(train.values[torch.from_numpy(has)], val.values, test_features)
    val_task = ranking_task(factors, val.track_ids).sample(RIVAL_USERS)

    def quality(predicted: Tensor) -> float:
        return means(val_task.figures(predicted)).ndcg

    # Each search takes train × others: the test tracks' neighbours only where they are wanted.
    x, _, x_test = max(
        parts.values(), key=lambda part: quality(baselines.neighbours(part[0], vectors, part[1]))
    )
    linear = [baselines.ridge(own, vectors, rest, quality) for own, *rest in parts.values()]
    best_linear, penalty = max(linear, key=lambda made: quality(made[0][0]))
    return [
        line(
            f"{baselines.NEIGHBOURS} nearest neighbours", baselines.neighbours(x, vectors, x_test)
        ),
        line(f"ridge (λ = {penalty:g})", best_linear[1]),
    ]
