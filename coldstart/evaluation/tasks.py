"""What is ranked for whom in a test: candidates, users, and what is relevant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from torch import Tensor
from torch.nn import functional as F

from coldstart.errors import InputError, one_of
from coldstart.evaluation.exposure import THIRDS, thirds
from coldstart.evaluation.lists import ListTraits, list_traits
from coldstart.evaluation.metrics import K, Scored
from coldstart.evaluation.rankings import Ranker, Ranking, UserScores, left_over
from coldstart.factors.factors import Factors
from coldstart.ranking import DotScores, dot_scores

Lengths = Literal["ensemble", "unit", "typical", "own"]
"""What ranks warm beside cold tracks; see `mixed_task`."""

TestCandidates = Literal["cold", "mixed"]
"""What a test ranks: cold tracks alone, or cold and warm ones together."""


class Warm(NamedTuple):
    """Factorised tracks that are ranked among the cold ones; as candidates they come after those.

    Attributes:
        vectors: [W, K] by which they are ranked.
        listens: [U, N] sparse: a user's own training listens, which are left out for that user.
        length: cold tracks' vectors are made this long; None: they stay as they are.
    """

    vectors: Tensor
    listens: csr_matrix
    length: float | None


class Task(NamedTuple):
    """Cold tracks, or cold and warm ones, to be ranked for users.

    Attributes:
        users: [U, K] vectors of the users who have a relevant candidate.
        relevant: [U, N] sparse: who played which candidate.
        counts: how many candidates and users there are, for the results.
        user_ids: U ids.
        part: [N] int64: which of the named parts each candidate belongs to.
        parts: names of the parts.
        warm: of the N candidates, those after the cold ones; None: all N are cold.
        traits: what lists are measured by beside their accuracy; None: they aren't.
        ranker: what ranks, elsewhere; None: this process.
    """

    users: Tensor
    relevant: csr_matrix
    counts: dict[str, int]
    user_ids: list[str]
    part: Tensor
    parts: tuple[str, ...]
    warm: Warm | None = None
    traits: ListTraits | None = None
    ranker: Ranker | None = None

    def sample(self, users: int) -> Task:
        """At most this many of the users, evenly spaced: enough to choose a rival's λ. Their lists
        aren't measured.
        """
        rows = evenly_spaced(len(self.users), users)
        if len(rows) == len(self.users):
            return self._replace(traits=None)
        return self._replace(
            traits=None,
            users=self.users[rows],
            relevant=self.relevant[rows],
            user_ids=[self.user_ids[row] for row in rows],
            warm=self.warm and self.warm._replace(listens=self.warm.listens[rows]),
        )

    @property
    def cold(self) -> int:
        """How many of the candidates, the first ones, are cold."""
        return self.counts.get("cold_candidates", self.relevant.shape[1])

    @property
    def rankable(self) -> Tensor:
        """[U] int64: how many candidates each user has."""
        if self.warm:
            return left_over(self.warm.listens)
        return torch.full((len(self.users),), self.relevant.shape[1])

    def figures(self, vectors: Tensor, seed: int = 0) -> Tensor:
        """Figures of each user when these vectors [C, K] rank, as in `scored`. → [3, U]."""
        return self.scored(vectors, [torch.arange(len(vectors))], seed)[0].by_user

    def scored(self, vectors: Tensor, permutations: list[Tensor], seed: int = 0) -> list[Scored]:
        """The figures of ranking by vectors[permutation], for each permutation.

        Args:
            vectors: [C, K] of the cold candidates.
            permutations: [C] each.
            seed: of ties.
        """
        return self.scored_by(self._scores(vectors), permutations, seed)

    def scored_by(
        self, scores: UserScores, permutations: list[Tensor], seed: int = 0
    ) -> list[Scored]:
        """As `scored`, by any scores of these users, in blocks: [block, N].

        Of mixed candidates, a user's training listens are left out, whatever their score.
        """
        warm = torch.arange(len(permutations[0]), self.relevant.shape[1])  # they keep their places
        ranking = Ranking(
            scores,
            self.relevant,
            [torch.cat([permutation, warm]) for permutation in permutations],
            self.part,
            len(self.parts),
            seed,
            None if self.warm is None else self.warm.listens,
            self.traits,
        )
        return ranking.scored() if self.ranker is None else self.ranker(ranking)

    def _scores(self, cold: Tensor) -> DotScores:
        """Dot products with the cold candidates' vectors, and with the warm ones'."""
        if self.warm is None:
            return dot_scores(self.users, cold)
        if self.warm.length is not None:
            cold = F.normalize(cold, dim=1) * self.warm.length
        return dot_scores(self.users, torch.cat([cold, self.warm.vectors]))


def with_traits(
    task: Task, factors: Factors, cold: list[str], genres: Mapping[str, Sequence[str]]
) -> Task:
    """The task, with what its lists are measured by beside their accuracy.

    Args:
        task: as `ranking_task` or `mixed_task` gives it.
        factors: from which it was made.
        cold: ids of its cold candidates.
        genres: track id → names, of the whole dataset.
    """
    candidates, ids = factors.rows(cold), cold
    if task.warm is not None:
        warm = np.flatnonzero(~factors.folded)
        candidates = np.concatenate([candidates, warm])
        ids = [*cold, *(factors.track_ids[row] for row in warm)]
    users = user_rows(factors, task)
    return task._replace(traits=list_traits(factors, candidates, ids, users, genres, K))


def training_tracks(factors: Factors) -> NDArray[np.int64]:
    """[U] how many factorised tracks each user of the log has listened to; 0: no vector."""
    return np.diff(factors.listens[:, ~factors.folded].tocsr().indptr).astype(np.int64)


def user_rows(factors: Factors, task: Task) -> NDArray[np.int64]:
    """Rows of a task's users among all users of the log."""
    at = {user: row for row, user in enumerate(factors.user_ids)}
    return np.array([at[user] for user in task.user_ids], dtype=np.int64)


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the rows 0 to `count` − 1, ascending; all of them if there are no more.

    >>> evenly_spaced(9, 3).tolist(), evenly_spaced(2, 3).tolist()
    ([0, 4, 8], [0, 1])
    """
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64))


def ranking_task(factors: Factors, candidates: list[str]) -> Task:
    """These cold candidates, ranked for the users who played any of them.

    Users without training listens have no vector to rank by; users without a relevant candidate
    have nothing to find. Both are counted, and neither is averaged. The parts are head, middle and
    tail by all listeners of the log, also those for whom nothing can be ranked.
    """
    relevant = played(factors, candidates)
    part = thirds(np.bincount(relevant.indices, minlength=len(candidates)))
    return _for_users(factors, relevant, part, THIRDS, {})


def mixed_task(factors: Factors, cold: list[str], lengths: Lengths = "unit") -> Task:
    """All factorised tracks and these cold candidates, ranked together.

    A user's own training listens are left out of that user's ranking. Relevant are the cold
    candidates that the user played, and the warm ones that were withheld from the factorisation.
    Warm tracks are ranked by their factors, cold ones by what is predicted. The parts are cold and
    warm.

    Args:
        factors: of a strict factorisation.
        cold: C ids; they come first among the N candidates.
        lengths: `ensemble`: as they are; the caller has made equal scores of cold and warm ones say
            the same. `unit`: all vectors are directions, so that tracks are ranked by cosine, as
            `recommend` does. `typical`: warm vectors keep their lengths, and cold ones get the
            median length of the validation tracks' folded-in vectors (or of the warm ones, if
            there are none); ranked by dot product. `own`: as they are, for predictions whose
            lengths mean something.

    Raises:
        InputError: a candidate has been factorised, so it isn't cold.
    """
    one_of("lengths", lengths, ("ensemble", "unit", "typical", "own"))
    warm_rows = np.flatnonzero(~factors.folded)
    warm_ids = {factors.track_ids[row] for row in warm_rows}
    if strange := [track for track in cold if track in warm_ids]:
        raise InputError(
            f"track {strange[0]!r} was factorised ({factors.about['protocol']}), so it isn't cold: "
            "cold and warm candidates together need factors made with --strict true"
        )
    vectors = torch.from_numpy(factors.tracks[warm_rows])
    length: float | None = None
    if lengths == "unit":
        vectors, length = F.normalize(vectors, dim=1), 1.0
    elif lengths == "typical":
        val = torch.from_numpy(factors.tracks[factors.folded & (factors.split == "val")])
        length = float((val if len(val) else vectors).norm(dim=1).median())
    withheld = factors.listens * 0 if factors.withheld is None else factors.withheld
    relevant = csr_matrix(hstack([played(factors, cold), _liked(withheld[:, warm_rows])], "csr"))
    # All that is stored: a track that was rated 0 was listened to, too.
    training = factors.listens[:, warm_rows].tocsr()
    listens = csr_matrix(
        (np.ones(training.nnz, dtype=np.int8), training.indices + len(cold), training.indptr),
        shape=relevant.shape,
    )
    part = (torch.arange(len(cold) + len(warm_rows)) >= len(cold)).long()
    counts = {"cold_candidates": len(cold), "warm_candidates": len(warm_rows)}
    warm = Warm(vectors, listens, length)
    return _for_users(factors, relevant, part, ("cold", "warm"), counts, warm)


def _for_users(
    factors: Factors,
    relevant: csr_matrix,
    part: Tensor,
    parts: tuple[str, ...],
    counts: dict[str, int],
    warm: Warm | None = None,
) -> Task:
    """The task of the users who have a vector and something relevant.

    `relevant` and `warm.listens` have rows for all users of the log.
    """
    has_relevant = np.diff(relevant.indptr) > 0
    has_vector = training_tracks(factors) > 0
    rows = np.flatnonzero(has_relevant & has_vector)
    return Task(
        users=torch.from_numpy(factors.users[rows]),
        relevant=relevant[rows],
        counts={
            "candidates": relevant.shape[1],
            **counts,
            "users": len(rows),
            "users_without_relevant": int((~has_relevant).sum()),
            "users_without_training_listens": int((has_relevant & ~has_vector).sum()),
        },
        user_ids=[factors.user_ids[row] for row in rows],
        part=part,
        parts=parts,
        warm=warm and warm._replace(listens=warm.listens[rows]),
    )


def played(factors: Factors, candidates: list[str]) -> csr_matrix:
    """[all users, candidates]: 1 where the user played the track and didn't dislike it."""
    rows = factors.rows(candidates)
    with_plays = np.flatnonzero(rows >= 0)
    return _liked(factors.listens[:, rows[with_plays]], with_plays, len(candidates))


def _liked(
    listens: csr_matrix, columns: NDArray[np.int64] | None = None, width: int | None = None
) -> csr_matrix:
    """1 for each listen; explicit ratings of 0 and below count nothing.

    With `columns`, column i becomes column columns[i] of `width`.
    """
    entries = listens.tocoo()
    liked = entries.data > 0
    row, old = entries.row[liked], entries.col[liked]
    column = old if columns is None else columns[old]
    shape = (listens.shape[0], listens.shape[1] if width is None else width)
    return csr_matrix((np.ones(liked.sum(), dtype=np.int8), (row, column)), shape=shape)
