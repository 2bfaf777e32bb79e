"""A ranking as data: what is scored for whom, to be divided by users and computed anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.evaluation.lists import ListTraits
from coldstart.evaluation.metrics import Scored, score_parts
from coldstart.ranking import Scores, block_users


class UserScores(Protocol):
    """Scores of users for all candidates."""

    def __call__(self, rows: slice, /) -> Tensor:
        """[block, N] of a block of users."""
        ...

    def of(self, rows: slice, /) -> UserScores:
        """The same of some of the users, who are its rows from 0 on."""
        ...


class Ranking(NamedTuple):
    """What `score_parts` ranks, for U users and N candidates.

    Attributes:
        scores: of the users.
        relevant: [U, N] sparse.
        permutations: [N] each, see `score_parts`.
        part: [N] int64: the part of each candidate.
        parts: how many parts there are.
        seed: of ties.
        listens: [U, N] sparse: what is left out of each user's ranking; None: nothing.
        traits: what lists are measured by beside their accuracy.
    """

    scores: UserScores
    relevant: csr_matrix
    permutations: list[Tensor]
    part: Tensor
    parts: int
    seed: int = 0
    listens: csr_matrix | None = None
    traits: ListTraits | None = None

    def of(self, rows: slice) -> Ranking:
        """The ranking for some of the users."""
        return self._replace(
            scores=self.scores.of(rows),
            relevant=self.relevant[rows],
            listens=None if self.listens is None else self.listens[rows],
            traits=self.traits and self.traits._replace(tastes=self.traits.tastes[rows]),
        )

    def pieces(self, most: int) -> list[slice]:
        """The users, divided between the blocks in which `scored` ranks, so that each block's
        products, and the roundings in them, are the same whoever computes it.

        Args:
            most: of pieces.
        """
        users, candidates = self.relevant.shape
        block = block_users(candidates)
        size = block * max(1, -(-users // (block * most)))
        return [slice(start, min(start + size, users)) for start in range(0, users, size)]

    def scored(self) -> list[Scored]:
        """The figures, one for each permutation."""
        rankable = None
        if self.listens is not None:
            rankable = left_over(self.listens)
        return score_parts(
            self.scores if self.listens is None else masked(self.scores, self.listens),
            self.relevant,
            self.permutations,
            self.part,
            self.parts,
            seed=self.seed,
            rankable=rankable,
            traits=self.traits,
        )


Ranker = Callable[[Ranking], list[Scored]]
"""What computes the figures of a ranking, elsewhere: as `Ranking.scored`."""


def joined(pieces: Iterable[list[Scored]]) -> list[Scored]:
    """The figures of all users, of pieces in their order: user by user, and exposure added up."""
    by_permutation = list(zip(*pieces, strict=True))
    return [
        Scored(
            torch.cat([piece.by_user for piece in scored], dim=-1),
            torch.cat([piece.parts for piece in scored], dim=-1),
            torch.stack([piece.exposure for piece in scored]).sum(0),
            torch.cat([piece.lists for piece in scored], dim=-1),
        )
        for scored in by_permutation
    ]


def left_over(listens: csr_matrix) -> Tensor:
    """[U] int64: how many candidates each user has beside those that are left out [U, N]."""
    return listens.shape[1] - torch.from_numpy(np.diff(listens.indptr).astype(np.int64))


def masked(scores: Scores, listens: csr_matrix) -> Scores:
    """The same scores, but -inf for what a user has listened to."""

    def masked(rows: slice) -> Tensor:
        block = scores(rows)
        pairs = listens[rows].nonzero()
        users, tracks = (torch.from_numpy(axis.astype(np.int64)) for axis in pairs)
        block[users, tracks] = -torch.inf
        return block

    return masked
