"""Tracks whose plays are hidden, of which a few are shown: what a new track looks like later on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.evaluation.metrics import K, score_parts
from coldstart.evaluation.rankings import left_over, masked
from coldstart.evaluation.tasks import evenly_spaced, played
from coldstart.factors.factors import Factors
from coldstart.model.ensemble import Audience
from coldstart.ranking import Scores, dot_scores

AGES = (0, 1, 2, 3, 5, 10, 20)
"""How many plays of a track are shown."""


class Revelation(NamedTuple):
    """Tracks of which some plays are shown, to be ranked for the listeners of the others.

    Attributes:
        shown: [N, U all] the plays that are shown.
        users: [U, K] vectors of listeners who have a play that isn't shown.
        relevant: [U, N] the plays that aren't.
        hidden_from: [U, N] what each listener is shown to have played, and isn't recommended.
        user_ids: U ids.
    """

    shown: csr_matrix
    users: Tensor
    relevant: csr_matrix
    hidden_from: csr_matrix
    user_ids: list[str]

    def ndcg(self, vectors: NDArray[np.floating]) -> Tensor:
        """NDCG@20 of each listener [U] when these vectors [N, K] of the tracks rank."""
        tracks = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
        return self.ndcg_by(dot_scores(self.users, tracks))

    def ndcg_by(self, scores: Scores) -> Tensor:
        """The same by any scores of these listeners."""
        count = self.relevant.shape[1]
        scored = score_parts(
            masked(scores, self.hidden_from),
            self.relevant,
            [torch.arange(count)],
            torch.zeros(count, dtype=torch.int64),
            0,
            map_k=K,  # nothing beyond the first 20 need be sorted
            rankable=left_over(self.hidden_from),
        )
        return scored[0].by_user[1]

    def sample(self, users: int) -> Revelation:
        """At most this many of the listeners, evenly spaced."""
        rows = evenly_spaced(len(self.users), users)
        if len(rows) == len(self.users):
            return self
        return self._replace(
            users=self.users[torch.from_numpy(rows)],
            relevant=self.relevant[rows],
            hidden_from=self.hidden_from[rows],
            user_ids=[self.user_ids[row] for row in rows],
        )


class HiddenPlays:
    """The plays of tracks that the factorisation never saw, in an order drawn at random.

    Of each track the first plays of that order are shown: who is shown at 3 plays is shown at 5.

    Attributes:
        audience: of the factors.
        track_ids: N ids.
    """

    def __init__(self, audience: Audience, track_ids: Sequence[str], seed: int = 0) -> None:
        """Draw the order; only plays of listeners with a vector count."""
        self.audience, self.track_ids = audience, list(track_ids)
        self._plays = audience.plays_of(track_ids)
        self._rank = _random_ranks(self._plays, self.track_ids, seed)
        self._relevant = played(audience.factors, self.track_ids)

    def shown(self, ages: NDArray[np.int64] | int) -> Revelation:
        """Show the first plays of each track, as many as `ages` says: [N], or one for all."""
        plays = self._plays
        limit = np.repeat(np.broadcast_to(ages, plays.shape[0]), np.diff(plays.indptr))
        visible = self._rank < limit
        row = np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr))
        pairs = (row[visible], plays.indices[visible])
        shown = csr_matrix((plays.data[visible], pairs), shape=plays.shape)
        ones = csr_matrix((np.ones(int(visible.sum()), np.int8), pairs), shape=plays.shape)
        known = ones.T.tocsr()
        relevant = csr_matrix(self._relevant - self._relevant.multiply(known))
        relevant.eliminate_zeros()
        factors: Factors = self.audience.factors
        rows = np.flatnonzero((np.diff(relevant.indptr) > 0) & factors.users.any(axis=1))
        return Revelation(
            shown,
            torch.from_numpy(factors.users[rows]),
            relevant[rows],
            known[rows],
            [factors.user_ids[row] for row in rows],
        )

    def mixture(self, seed: int = 0) -> Revelation:
        """Show each track at an age of its own, drawn from `AGES`: as in a list of new releases."""
        tracks = np.array([crc32(track.encode()) for track in self.track_ids], np.uint64)
        drawn = _mixed(tracks, seed + 1000) % np.uint64(len(AGES))
        return self.shown(np.array(AGES, np.int64)[drawn.astype(np.int64)])


def _random_ranks(plays: csr_matrix, track_ids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Of each entry, its place in a random order of its row, from 0.

    The order is the track's own: it doesn't depend on the other tracks.
    """
    row = np.repeat(np.arange(plays.shape[0]), np.diff(plays.indptr))
    tracks = np.array([crc32(track.encode()) for track in track_ids], np.uint64)
    keys = _mixed((tracks[row] << np.uint64(32)) ^ plays.indices.astype(np.uint64), seed)
    order = np.lexsort((keys, row))
    ranks = np.empty(plays.nnz, np.int64)
    ranks[order] = np.arange(plays.nnz) - plays.indptr[row]
    return ranks


def _mixed(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Numbers that look random, the same for the same key (splitmix64, S. Vigna)."""
    with np.errstate(over="ignore"):
        mixed = keys + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))
