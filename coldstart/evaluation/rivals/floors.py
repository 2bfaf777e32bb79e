"""The floors that stand beside every figure: random order and popularity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from coldstart.data.datamodule import ColdStartData
from coldstart.evaluation.exposure import Exposure, expected_exposure
from coldstart.evaluation.metrics import (
    K,
    expected_at_random,
    expected_of_users,
    expected_parts,
    relevant_by_part,
)
from coldstart.evaluation.results import Line
from coldstart.evaluation.tasks import Task
from coldstart.factors.factors import Factors


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
    plays = artist_popularity(
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


def artist_popularity(
    candidates: Sequence[str | None],
    training: Sequence[str | None],
    plays: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Tensor:
    """Plays of each candidate's artist's training tracks; 0 for an artist who has none.

    Args:
        candidates: N artist ids.
        training: M artist ids.
        plays: [M] of the training tracks.

    Returns:
        [N].

    >>> artist_popularity(["x", "y", None], ["x", "x", "z"], np.array([2.0, 3.0, 9.0])).tolist()
    [5.0, 0.0, 0.0]
    """
    total: dict[str, float] = {}
    for artist, count in zip(training, plays.tolist(), strict=True):
        if artist is not None:
            total[artist] = total.get(artist, 0.0) + count
    return torch.tensor([total.get(a, 0.0) if a is not None else 0.0 for a in candidates])
