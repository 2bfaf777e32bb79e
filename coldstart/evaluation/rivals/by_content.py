"""Rivals that describe listeners by the content of the tracks they played, without any factors.

A listener is a vector in the space of the content, or a sparse row of listens; memory grows with
listeners × features, never with listeners × tracks. The validation tracks choose one of a few
variants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor
from torch.nn import functional as F

from coldstart.evaluation.metrics import Scored, means
from coldstart.evaluation.rankings import UserScores
from coldstart.evaluation.rivals.features import features
from coldstart.evaluation.tasks import Task, ranking_task, user_rows
from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions
from coldstart.ranking import dot_scores

Matrix = Tensor | csr_matrix
"""[rows, D]; two of one kind are ranked by their dot product."""

CLOSEST = (20, 100, None)
"""With how many training tracks, the most similar ones, a candidate is compared; None: all."""


class Problem(NamedTuple):
    """What a rival learns from, and the quality by which it chooses its settings.

    Attributes:
        listens: [U, T] sparse: plays (or ratings) of the training tracks by all users of the log.
        train: [T, F] content of the training tracks; NaN where it is missing.
        val: [V, F] content of the validation tracks.
        test: [N, F] content of the candidates.
        quality: users [U, D] and validation tracks [V, D] → NDCG of ranking the latter.
        mixed: whether the training tracks are ranked, too.
    """

    listens: csr_matrix
    train: Tensor
    val: Tensor
    test: Tensor
    quality: Callable[[Matrix, Matrix], float]
    mixed: bool


class ListenerSpace(NamedTuple):
    """A rival's vectors of listeners and tracks; they rank by dot product.

    Attributes:
        users: [U, D].
        test: [N, D].
        warm: [T, D], for mixed candidates.
        chosen: the variant that validation chose, in a few words.
    """

    users: Matrix
    test: Matrix
    warm: Matrix | None
    chosen: str


Rival = Callable[[Problem, int], ListenerSpace]
"""A problem and a seed → vectors of listeners and tracks."""


class SparseScores(NamedTuple):
    """Scores by dot products of sparse vectors.

    Attributes:
        users: [U, D].
        columns: [D, N].
    """

    users: csr_matrix
    columns: csr_matrix

    def __call__(self, rows: slice) -> Tensor:
        """[block, N] of a block of users."""
        return torch.from_numpy((self.users[rows] @ self.columns).toarray()).float()

    def of(self, rows: slice) -> SparseScores:
        """The same of some of the users."""
        return self._replace(users=self.users[rows])


def matrix_scores(users: Matrix, items: Matrix) -> UserScores:
    """Dot products, in blocks of users. Both dense, or both sparse."""
    if isinstance(users, Tensor) and isinstance(items, Tensor):
        return dot_scores(users, items)
    return SparseScores(csr_matrix(users), csr_matrix(items).T.tocsr())


def problem_of(
    factors: Factors,
    content: tuple[Predictions, Predictions, Predictions],
    candidates: Sequence[str],
    users: int,
    mixed: bool,
) -> Problem:
    """The problem of a test.

    Args:
        factors: only their listens and ids are used, never a vector.
        content: of train, val and test tracks: [·, F].
        candidates: ids, in the order of `Problem.test`.
        users: at most this many count for the quality on the validation tracks.
        mixed: see `Problem`.
    """
    train, val, test = content
    warm = np.flatnonzero(~factors.folded)
    task = ranking_task(factors, val.track_ids).sample(users)
    rows = user_rows(factors, task)

    def quality(users: Matrix, items: Matrix) -> float:
        scores = matrix_scores(users[rows], items)
        return means(task.scored_by(scores, [torch.arange(len(val.track_ids))])[0].by_user).ndcg

    return Problem(
        listens=factors.listens[:, warm].tocsr(),
        train=_in_order(train, [factors.track_ids[row] for row in warm]),
        val=val.values,
        test=_in_order(test, candidates),
        quality=quality,
        mixed=mixed,
    )


def space_scored(task: Task, factors: Factors, space: ListenerSpace, seed: int = 0) -> Scored:
    """The figures of ranking a task's candidates in a rival's own space."""
    items, cold = space.test, space.test.shape[0]
    if task.warm is not None:
        both: Any = (space.test, space.warm)
        items = torch.cat(both) if isinstance(items, Tensor) else vstack(both, "csr")
    scores = matrix_scores(space.users[user_rows(factors, task)], items)
    return task.scored_by(scores, [torch.arange(cold)], seed)[0]


def profile(problem: Problem, seed: int = 0) -> ListenerSpace:
    """A user's mean content, by the dot product with a track's content.

    The vector space model of content-based filtering: M. Pazzani and D. Billsus, *Content-Based
    Recommendation Systems*, 2007. Validation chooses how features are scaled (see `features`), and
    whether each listen counts once or by the logarithm of its plays.
    """
    return _best(problem, _profiles(problem))


def item_neighbours(problem: Problem, seed: int = 0) -> ListenerSpace:
    """A track's score is the sum of its cosines to the tracks that a user has played.

    Item-based neighbours (B. Sarwar et al., WWW 2001), with the similarity of content, since a
    cold track has no plays. Validation chooses as in `profile`, and how many training tracks count:
    the 20 or 100 nearest, or all, in which case the sum is one dot product.
    """
    return _best(problem, _neighbourhoods(problem))


CONTENT_RIVALS: dict[str, tuple[str, Rival]] = {
    "profile": ("content profile", profile),
    "item_neighbours": ("item neighbours", item_neighbours),
}
"""Name in a plan → name in a table, and the function."""


class _Variant(NamedTuple):
    """One way to represent listeners and tracks; `items`: scaled content → vectors of tracks."""

    description: str
    users: Matrix
    parts: Sequence[Tensor]  # train, val, test: the content in this variant's scaling
    items: Callable[[Tensor], Matrix]


def _best(problem: Problem, variants: Iterator[_Variant]) -> ListenerSpace:
    """The variant of the highest quality; of equals, the first."""
    best, best_quality = None, -np.inf
    for variant in variants:
        quality = problem.quality(variant.users, variant.items(variant.parts[1]))
        if best is None or quality > best_quality:
            best, best_quality = variant, quality
    assert best is not None
    train, _, test = best.parts
    warm = best.items(train) if problem.mixed else None
    return ListenerSpace(best.users, best.items(test), warm, best.description)


def listening(listens: csr_matrix) -> dict[str, csr_matrix]:
    """Weights of the listens, in two ways: [U, T]; each user's add up to 1, dislikes get 0."""
    weightings = {}
    for name in ("each once", "log of plays"):
        weights = listens.astype(np.float32)
        positive = np.maximum(weights.data, 0)
        weights.data = np.log1p(positive) if name != "each once" else np.sign(positive)
        total = np.asarray(weights.sum(1)).ravel()
        scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
        weights.data *= np.repeat(scale, np.diff(weights.indptr))
        weightings[name] = weights
    return weightings


def _profiles(problem: Problem) -> Iterator[_Variant]:
    scalings = features(problem.train, problem.val, problem.test)
    for weighting, weights in listening(problem.listens).items():
        for scaling, parts in scalings.items():
            users = torch.from_numpy(weights @ parts[0].numpy())
            yield _Variant(f"{scaling}, {weighting}", users, parts, lambda content: content)


def _neighbourhoods(problem: Problem) -> Iterator[_Variant]:
    weightings = listening(problem.listens)
    for scaling, parts in features(problem.train, problem.val, problem.test).items():
        unit = [F.normalize(part, dim=1) for part in parts]
        for k in CLOSEST:
            if k is not None and k >= len(unit[0]):
                continue
            for weighting, weights in weightings.items():
                variant = f"{scaling}, {weighting}"
                if k is None:
                    users = torch.from_numpy(weights @ unit[0].numpy())
                    yield _Variant(f"all, {variant}", users, unit, lambda content: content)
                else:
                    items = partial(nearest, unit[0], k=k)
                    yield _Variant(f"{k} nearest, {variant}", weights, unit, items)


def nearest(train: Tensor, others: Tensor, k: int) -> csr_matrix:
    """Cosines of each track to the k most similar training tracks; negative ones become 0.

    Args:
        train: [T, F] unit rows.
        others: [M, F] unit rows.
        k: at most T.

    Returns:
        [M, T] sparse.
    """
    blocks = [(block @ train.T).topk(k, dim=1) for block in others.split(1024)]
    values = torch.cat([block.values for block in blocks]).clamp_min(0).flatten()
    columns = torch.cat([block.indices for block in blocks]).flatten()
    starts = np.arange(len(others) + 1) * k
    shape = (len(others), len(train))
    return csr_matrix((values.numpy(), columns.numpy(), starts), shape=shape)


def _in_order(content: Predictions, track_ids: Sequence[str]) -> Tensor:
    """Rows of these tracks; NaN for tracks without content."""
    at = {track: row for row, track in enumerate(content.track_ids)}
    rows = torch.tensor([at.get(track, -1) for track in track_ids], dtype=torch.int64)
    return torch.where((rows >= 0)[:, None], content.values[rows], torch.nan)
