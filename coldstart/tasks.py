"""What is ranked for whom in a test: candidates, users, and what is relevant."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.exposure import THIRDS, thirds
from coldstart.factors import Factors
from coldstart.metrics import Scored, score_parts
from coldstart.ranking import dot_scores


class Task(NamedTuple):
    """Cold tracks to be ranked for users.

    Attributes:
        users: [U, K] vectors of the users who have a relevant candidate.
        relevant: [U, N] sparse: who played which candidate.
        counts: what is said beside the figures.
        user_ids: U ids.
        part: [N] int64: which of the named parts each candidate belongs to.
        parts: names of the parts.
    """

    users: Tensor
    relevant: csr_matrix
    counts: dict[str, int]
    user_ids: list[str]
    part: Tensor
    parts: tuple[str, ...]

    def sample(self, users: int) -> Task:
        """At most this many of the users, evenly spaced: enough to choose a rival's λ by."""
        rows = np.unique(np.linspace(0, len(self.users) - 1, users).astype(int))
        if not len(self.users):
            return self
        return self._replace(
            users=self.users[rows],
            relevant=self.relevant[rows],
            user_ids=[self.user_ids[row] for row in rows],
        )

    def figures(self, vectors: Tensor, seed: int = 0) -> Tensor:
        """Of each user, ranking by dot product with these vectors [N, K]. → [3, U]."""
        return self.scored(vectors, [torch.arange(len(vectors))], seed)[0].by_user

    def scored(self, vectors: Tensor, deals: list[Tensor], seed: int = 0) -> list[Scored]:
        """All that ranking by vectors[deal] gives, for each permutation [N] of them."""
        scores = dot_scores(self.users, vectors)
        return score_parts(scores, self.relevant, deals, self.part, len(self.parts), seed=seed)


def ranking_task(factors: Factors, candidates: list[str]) -> Task:
    """Which users have which of these cold candidates as relevant.

    Users without training listens have no vector to rank by; users without a relevant candidate
    have nothing to find. Both are counted, and neither is averaged. The parts are head, middle and
    tail by all listeners of the log, whether or not they can be ranked for.
    """
    columns = factors.rows(candidates)
    there = np.flatnonzero(columns >= 0)
    found = factors.listens[:, columns[there]].tocoo()
    liked = found.data > 0  # of explicit ratings, those below 0 are dislikes
    relevant = csr_matrix(
        (np.ones(liked.sum(), dtype=np.int8), (found.row[liked], there[found.col[liked]])),
        shape=(len(factors.user_ids), len(candidates)),
    )
    part = thirds(np.bincount(relevant.indices, minlength=len(candidates)))
    has_relevant = np.diff(relevant.indptr) > 0
    known = np.diff(factors.listens[:, ~factors.folded].tocsr().indptr) > 0
    ranked = np.flatnonzero(has_relevant & known)
    return Task(
        users=torch.from_numpy(factors.users[ranked]),
        relevant=relevant[ranked],
        counts={
            "candidates": len(candidates),
            "users": len(ranked),
            "users_without_relevant": int((~has_relevant).sum()),
            "users_without_training_listens": int((has_relevant & ~known).sum()),
        },
        user_ids=[factors.user_ids[row] for row in ranked],
        part=part,
        parts=THIRDS,
    )
