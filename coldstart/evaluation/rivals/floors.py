"""The floors beside every figure: random order and popularity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coldstart.data.track_data import TrackData
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
    """For mixed candidates: random order, exact (without Gini), and popularity, cold tracks last.

    Tracks of equal popularity, and so all cold ones, stand in one random order.
    """
    assert task.warm is not None
    counts = task.rankable
    relevant = torch.from_numpy(np.diff(task.relevant.indptr).astype(np.int64))
    by_part = relevant_by_part(task.relevant, task.part, len(task.parts))
    parts = torch.stack([expected_at_random(part, counts)[:2] for part in by_part])
    random = Line(
        "random",
        "–",
        None,
        expected_at_random(relevant, counts).float(),
        torch.where(by_part[:, None] > 0, parts, torch.nan).float(),
        Exposure(_expected_coverage(task, counts), None),
        _drawn_lists(task, torch.zeros(task.relevant.shape[1])),
    )
    explicit = factors.about["algorithm"] == "explicit"  # then by how many users rated a track
    popularity = factors.listens.getnnz(axis=0) if explicit else factors.plays
    # Vectors of one dimension: the dot product is the popularity.
    warm = torch.from_numpy(popularity[~factors.folded].astype(np.float32))[:, None]
    cold = torch.zeros(task.counts["cold_candidates"], 1)
    by_popularity = task._replace(
        users=torch.ones(len(task.users), 1), warm=task.warm._replace(vectors=warm, length=None)
    )
    (scored,) = by_popularity.scored(cold, [torch.arange(len(cold))])
    return [random, Line.of("popularity", "plays", None, scored, len(cold))]


def _drawn_lists(task: Task, level: Tensor, seed: int = 0) -> Tensor:
    """What a list of each user is like where equals stand in an order drawn for each; see `Scored`.

    Args:
        task: whose candidates are ranked.
        level: [N], the same for every user; the higher comes first.
        seed: of the orders.
    """
    scores = _DrawnOrders(level.unique(return_inverse=True)[1], seed)
    return task.scored_by(scores, [torch.arange(task.cold)], seed)[0].lists


class _DrawnOrders(NamedTuple):
    """Scores by which candidates of one place stand in an order drawn for each user.

    Attributes:
        place: [N] int64: the higher comes first.
        seed: of the numbers; a block of users has a stream of its own, which begins with this and
            the number of its first user, so that it is the same whoever ranks the block.
        first: the user who is row 0.
    """

    place: Tensor
    seed: int
    first: int = 0

    def __call__(self, rows: slice) -> Tensor:
        """[block, N] of a block of users, float64."""
        shape = (rows.stop - rows.start, len(self.place))
        generator = torch.Generator().manual_seed(self.seed + self.first + rows.start)
        drawn = torch.rand(shape, dtype=torch.float64, generator=generator)
        return torch.as_tensor(self.place.double() + drawn)

    def of(self, rows: slice) -> _DrawnOrders:
        """The same of some of the users."""
        return self._replace(first=self.first + rows.start)


def _expected_coverage(task: Task, counts: Tensor) -> float | None:
    """Expected share of the candidates that are in some user's first k, in random order.

    Args:
        task: with warm tracks.
        counts: [U] how many candidates each user has.
    """
    if task.warm is None or not len(counts):
        return None
    # Logarithm of the probability that a candidate is not in a user's first k.
    log_absent = np.log1p(-np.minimum(K / counts.clamp(min=1).double().numpy(), 1 - 1e-15))
    listens = task.warm.listens.astype(np.float64)  # who listened to a track can't be shown it
    in_no_list = np.exp(log_absent.sum() - listens.T @ log_absent)
    return float(1 - in_no_list.mean())


def floor_lines(task: Task, factors: Factors, candidates: list[str], data: TrackData) -> list[Line]:
    """Random order, and the artist's popularity with equals in random order; both exact.

    Where no candidate's artist has known tracks, as after a split by artist, the second would be
    the first under another name, and is left out.
    """
    plays = plays_of_artists(factors, candidates, data)

    def floor(method: str, input: str, level: Tensor) -> Line:
        return Line(
            method,
            input,
            None,
            expected_of_users(level, task.relevant).float(),
            expected_parts(level, task.relevant, task.part, len(task.parts)),
            expected_exposure(level, len(task.users), K),
            _drawn_lists(task, level),
        )

    lines = [floor("random", "–", torch.zeros(len(candidates)))]
    if len(plays) and plays.min() < plays.max():
        lines.append(floor("artist's popularity", "artist", plays))
    return lines


def plays_of_artists(factors: Factors, candidates: Sequence[str], data: TrackData) -> Tensor:
    """[N] the candidates' artists' plays in training."""
    tracks = data.shards.all_tracks()
    artist = {track["track_id"]: track.get("artist_id") for track in tracks}
    training = factors.rows([t["track_id"] for t in tracks if t["split"] == "train"])
    # Training tracks alone: where everything was factorised, test tracks have plays, too.
    rows = [row for row in training if row >= 0 and not factors.folded[row]]
    return artist_popularity(
        [artist.get(track) for track in candidates],
        [artist.get(factors.track_ids[row]) for row in rows],
        factors.plays[rows],
    )


def artist_popularity(
    candidates: Sequence[str | None],
    training: Sequence[str | None],
    plays: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Tensor:
    """Total plays of the training tracks by each candidate's artist; 0 if there are none.

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
