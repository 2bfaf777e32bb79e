"""What is ranked for whom in a test: candidates, users, and what is relevant."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from torch import Tensor
from torch.nn import functional as F

from coldstart.errors import InputError, one_of
from coldstart.evaluation.exposure import THIRDS, thirds
from coldstart.evaluation.metrics import Scored, score_parts
from coldstart.factors.factors import Factors
from coldstart.ranking import Scores, dot_scores

Lengths = Literal["unit", "typical", "own"]
"""What ranks warm beside cold tracks; see `mixed_task`."""


class Warm(NamedTuple):
    """Factorised tracks that are ranked among the cold ones, behind them in number.

    Attributes:
        vectors: [W, K] by which they are ranked.
        heard: [U, N] sparse: a user's own training listens, which are left out for that user.
        length: cold tracks' vectors are made this long; None: they stay as they are.
    """

    vectors: Tensor
    heard: csr_matrix
    length: float | None


class Task(NamedTuple):
    """Cold tracks, or cold and warm ones, to be ranked for users.

    Attributes:
        users: [U, K] vectors of the users who have a relevant candidate.
        relevant: [U, N] sparse: who played which candidate.
        counts: what is said beside the figures.
        user_ids: U ids.
        part: [N] int64: which of the named parts each candidate belongs to.
        parts: names of the parts.
        warm: of the N candidates, those behind the cold ones; None: all N are cold.
    """

    users: Tensor
    relevant: csr_matrix
    counts: dict[str, int]
    user_ids: list[str]
    part: Tensor
    parts: tuple[str, ...]
    warm: Warm | None = None

    def sample(self, users: int) -> Task:
        """At most this many of the users, evenly spaced: enough to choose a rival's λ by."""
        rows = np.unique(np.linspace(0, len(self.users) - 1, users).astype(int))
        if not len(self.users):
            return self
        return self._replace(
            users=self.users[rows],
            relevant=self.relevant[rows],
            user_ids=[self.user_ids[row] for row in rows],
            warm=self.warm and self.warm._replace(heard=self.warm.heard[rows]),
        )

    @property
    def rankable(self) -> Tensor:
        """[U] int64: how many candidates each user has."""
        counts = torch.full((len(self.users),), self.relevant.shape[1])
        if self.warm:
            counts -= torch.from_numpy(np.diff(self.warm.heard.indptr).astype(np.int64))
        return counts

    def figures(self, vectors: Tensor, seed: int = 0) -> Tensor:
        """Of each user, ranking by dot product with these vectors, as `scored`. → [3, U]."""
        return self.scored(vectors, [torch.arange(len(vectors))], seed)[0].by_user

    def scored(self, vectors: Tensor, deals: list[Tensor], seed: int = 0) -> list[Scored]:
        """All that ranking by vectors[deal] gives, for each permutation of them.

        Args:
            vectors: [C, K] of the cold candidates.
            deals: permutations [C].
            seed: of ties.
        """
        return self.scored_by(self._scores(vectors), deals, seed)

    def scored_by(self, scores: Scores, deals: list[Tensor], seed: int = 0) -> list[Scored]:
        """As `scored`, by any scores of these users, in blocks: [block, N].

        Of mixed candidates, what a user has heard is left out, whatever its score.
        """
        parts = (self.part, len(self.parts))
        if self.warm is None:
            return score_parts(scores, self.relevant, deals, *parts, seed=seed)
        behind = torch.arange(len(deals[0]), self.relevant.shape[1])
        return score_parts(
            _without_heard(scores, self.warm.heard),
            self.relevant,
            [torch.cat([deal, behind]) for deal in deals],
            *parts,
            seed=seed,
            rankable=self.rankable,
        )

    def _scores(self, cold: Tensor) -> Scores:
        """Dot products with the cold candidates' vectors, and with the warm ones'."""
        if self.warm is None:
            return dot_scores(self.users, cold)
        if self.warm.length is not None:
            cold = F.normalize(cold, dim=1) * self.warm.length
        return dot_scores(self.users, torch.cat([cold, self.warm.vectors]))


def _without_heard(scores: Scores, heard: csr_matrix) -> Scores:
    """What a user has heard gets -inf."""

    def masked(rows: slice) -> Tensor:
        block = scores(rows)
        user, track = (torch.from_numpy(at.astype(np.int64)) for at in heard[rows].nonzero())
        block[user, track] = -torch.inf
        return block

    return masked


def ranking_task(factors: Factors, candidates: list[str]) -> Task:
    """Which users have which of these cold candidates as relevant.

    Users without training listens have no vector to rank by; users without a relevant candidate
    have nothing to find. Both are counted, and neither is averaged. The parts are head, middle and
    tail by all listeners of the log, whether or not they can be ranked for.
    """
    relevant = _played(factors, candidates)
    part = thirds(np.bincount(relevant.indices, minlength=len(candidates)))
    return _of_users(factors, relevant, part, THIRDS, {})


def mixed_task(factors: Factors, cold: list[str], lengths: Lengths = "unit") -> Task:
    """All factorised tracks and these cold candidates, ranked together.

    A user's own training listens are left out of that user's ranking. Relevant are the cold
    candidates that the user played, and the warm ones that were withheld from the factorisation.
    Warm tracks are ranked by their factors, cold ones by what is predicted. The parts are cold and
    warm.

    Args:
        factors: of a strict factorisation.
        cold: C ids; they come first among the N candidates.
        lengths: `unit`: all vectors are directions, so that tracks are ranked by cosine, as
            `recommend` does. `typical`: warm vectors keep their lengths, and cold ones get the
            median length of the validation tracks' folded-in vectors (or of the warm ones, if
            there are none); ranked by dot product. `own`: as they are, for predictions whose
            lengths mean something.

    Raises:
        InputError: a candidate has been factorised, so it isn't cold.
    """
    one_of("lengths", lengths, ("unit", "typical", "own"))
    seen = np.flatnonzero(~factors.folded)
    known = {factors.track_ids[row] for row in seen}
    if strange := [track for track in cold if track in known]:
        raise InputError(
            f"track {strange[0]!r} was factorised ({factors.about['protocol']}), so it isn't cold: "
            "cold and warm candidates together need factors made with --strict true"
        )
    vectors = torch.from_numpy(factors.tracks[seen])
    length: float | None = None
    if lengths == "unit":
        vectors, length = F.normalize(vectors, dim=1), 1.0
    elif lengths == "typical":
        val = torch.from_numpy(factors.tracks[factors.folded & (factors.split == "val")])
        length = float((val if len(val) else vectors).norm(dim=1).median())
    played = _played(factors, cold)
    withheld = factors.listens * 0 if factors.withheld is None else factors.withheld
    relevant = csr_matrix(hstack([played, _liked(withheld[:, seen])], "csr"))
    # All that is stored: a rating of 0 was heard, too.
    trained = factors.listens[:, seen].tocsr()
    heard = csr_matrix(
        (np.ones(trained.nnz, dtype=np.int8), trained.indices + len(cold), trained.indptr),
        shape=relevant.shape,
    )
    part = (torch.arange(len(cold) + len(seen)) >= len(cold)).long()
    counts = {"cold_candidates": len(cold), "warm_candidates": len(seen)}
    return _of_users(
        factors, relevant, part, ("cold", "warm"), counts, Warm(vectors, heard, length)
    )


def _of_users(
    factors: Factors,
    relevant: csr_matrix,
    part: Tensor,
    parts: tuple[str, ...],
    counts: dict[str, int],
    warm: Warm | None = None,
) -> Task:
    """For the users who can be ranked for; `relevant` and `heard` are of all users."""
    has_relevant = np.diff(relevant.indptr) > 0
    known = np.diff(factors.listens[:, ~factors.folded].tocsr().indptr) > 0
    ranked = np.flatnonzero(has_relevant & known)
    return Task(
        users=torch.from_numpy(factors.users[ranked]),
        relevant=relevant[ranked],
        counts={
            "candidates": relevant.shape[1],
            **counts,
            "users": len(ranked),
            "users_without_relevant": int((~has_relevant).sum()),
            "users_without_training_listens": int((has_relevant & ~known).sum()),
        },
        user_ids=[factors.user_ids[row] for row in ranked],
        part=part,
        parts=parts,
        warm=warm and warm._replace(heard=warm.heard[ranked]),
    )


def _played(factors: Factors, candidates: list[str]) -> csr_matrix:
    """[all users, candidates]: 1 where one played (and didn't dislike) the other."""
    columns = factors.rows(candidates)
    there = np.flatnonzero(columns >= 0)
    return _liked(factors.listens[:, columns[there]], there, len(candidates))


def _liked(
    listens: csr_matrix, columns: NDArray[np.int64] | None = None, width: int | None = None
) -> csr_matrix:
    """1 where there is a listen; of explicit ratings, those below 0 are dislikes.

    Column i becomes column columns[i] of `width`.
    """
    found = listens.tocoo()
    liked = found.data > 0
    at = found.col[liked] if columns is None else columns[found.col[liked]]
    shape = (listens.shape[0], listens.shape[1] if width is None else width)
    return csr_matrix((np.ones(liked.sum(), dtype=np.int8), (found.row[liked], at)), shape=shape)
