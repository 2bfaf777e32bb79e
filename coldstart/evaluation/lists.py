"""What lists are like, beside their accuracy: novelty, bias to what is popular, diversity, fit to a
listener's genres, serendipity.

Plays of candidates are those of the whole log, also where a test withholds them from the model:
they say what a list shows, and choose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from torch import Tensor

from coldstart.factors.factors import Factors

_Array = NDArray[np.float64]

SMOOTHING = 0.01
"""Of a listener's own genres, so much is mixed into a list's, so that the divergence is finite."""


class ListFigures(NamedTuple):
    """Means over the users' first k; None where nobody has one.

    Attributes:
        novelty: mean surprise of a track in bits, −log2 of the share of all listeners who played it
            (Zhou et al., PNAS 107, 2010).
        popularity: mean listeners of a track, as a multiple of the candidates' mean: 1 is no bias.
        diversity: mean cosine distance between the genres of two tracks of a list, 0..1.
        miscalibration: Kullback-Leibler divergence, in bits, of the list's genres from those of the
            user's training listens (Steck, RecSys 2018); 0 if they are the same.
        serendipity: share of the list that is relevant, and not among the k most played candidates
            (Ge, Delgado-Battenfeld and Jannach, RecSys 2010), 0..1.
    """

    novelty: float | None = None
    popularity: float | None = None
    diversity: float | None = None
    miscalibration: float | None = None
    serendipity: float | None = None


class ListTraits(NamedTuple):
    """What lists of a task's N candidates for its U users are measured by.

    Attributes:
        surprise: [N] bits.
        plays: [N] listeners, as a multiple of their mean.
        popular: [N] bool: the k most played ones.
        genres: [N, G] sparse: a track's shares of its genres, which sum to 1, or nothing.
        directions: [N, G] sparse: the same, of length 1.
        tastes: [U, G] sparse: the mean of these over a user's training listens.
    """

    surprise: _Array
    plays: _Array
    popular: NDArray[np.bool_]
    genres: csr_matrix
    directions: csr_matrix
    tastes: csr_matrix

    def figures(self, first: Tensor, hits: Tensor, shown: Tensor, rows: slice) -> Tensor:
        """The figures of some users' lists, in the order of `ListFigures`.

        Args:
            first: [B, k] candidates.
            hits: [B, k] bool: which of them are relevant.
            shown: [B, k] bool: which of them are in the list at all.
            rows: which of the users these are.

        Returns:
            [5, B] float32; NaN where a figure makes no sense.
        """
        places, there = first.numpy(), shown.numpy()
        lengths = there.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            novelty = np.where(there, self.surprise[places], 0).sum(1) / lengths
            popularity = np.where(there, self.plays[places], 0).sum(1) / lengths
            found = hits.numpy() & there & ~self.popular[places]
            serendipity = found.sum(1) / lengths
        ends = np.arange(len(places) + 1) * places.shape[1]
        member = csr_matrix(
            (there.ravel().astype(np.float64), places.ravel(), ends),
            shape=(len(places), len(self.plays)),
        )
        diversity = _diversity(member, self.directions)
        missed = _divergence(self.tastes[rows], _shares(member @ self.genres))
        figures = np.stack([novelty, popularity, diversity, missed, serendipity])
        return torch.from_numpy(figures.astype(np.float32))


def list_traits(
    factors: Factors,
    candidates: NDArray[np.int64],
    candidate_ids: Sequence[str],
    users: NDArray[np.int64],
    genres: Mapping[str, Sequence[str]],
    k: int,
) -> ListTraits:
    """What lists are measured by.

    Args:
        factors: those of the test.
        candidates: N columns of its listens; −1: nobody played it.
        candidate_ids: N ids.
        users: U rows of its listens.
        genres: track id → names.
        k: length of a list.
    """
    everybody = len(factors.user_ids)
    listeners = np.append(factors.listens.getnnz(axis=0), 0)[candidates].astype(np.float64)
    column = {
        name: i for i, name in enumerate(sorted({g for names in genres.values() for g in names}))
    }
    training = np.flatnonzero(~factors.folded)
    of_training = _genre_shares([factors.track_ids[row] for row in training], genres, column)
    listens = factors.listens[users][:, training].astype(bool).astype(np.float64)
    of_candidates = _genre_shares(candidate_ids, genres, column)
    popular = np.zeros(len(listeners), dtype=bool)
    popular[np.argsort(-listeners, kind="stable")[:k]] = True
    return ListTraits(
        surprise=-np.log2(np.maximum(listeners, 1) / max(everybody, 1)),
        plays=listeners / (listeners.mean() or 1.0) if len(listeners) else listeners,
        popular=popular,
        genres=of_candidates,
        directions=_directions(of_candidates),
        tastes=_shares(csr_matrix(listens @ of_training)),
    )


def mean_figures(by_user: Tensor) -> ListFigures:
    """[5, U] of each user → means over those who have one."""
    means = by_user.double().nanmean(1).tolist() if by_user.numel() else [None] * len(by_user)
    return ListFigures(*(None if mean is None or mean != mean else mean for mean in means))


def _genre_shares(
    tracks: Sequence[str], genres: Mapping[str, Sequence[str]], column: Mapping[str, int]
) -> csr_matrix:
    """[N, G], rows that sum to 1, or to 0 for a track whose genres aren't known."""
    columns = [sorted({column[name] for name in genres.get(track, ())}) for track in tracks]
    ends = np.cumsum([0, *map(len, columns)])
    indices = np.array([i for each in columns for i in each], dtype=np.int64)
    return _shares(csr_matrix((np.ones(len(indices)), indices, ends), (len(tracks), len(column))))


def _shares(counts: csr_matrix) -> csr_matrix:
    """Each row divided by its sum, if that isn't 0."""
    sums = np.asarray(counts.sum(1)).ravel()
    return csr_matrix(diags(np.divide(1, sums, where=sums > 0, out=np.zeros(len(sums)))) @ counts)


def _directions(shares: csr_matrix) -> csr_matrix:
    """Each row divided by its length, if that isn't 0."""
    lengths = np.sqrt(np.asarray(shares.multiply(shares).sum(1)).ravel())
    factors = np.divide(1, lengths, where=lengths > 0, out=np.zeros(len(lengths)))
    return csr_matrix(diags(factors) @ shares)


def _diversity(member: csr_matrix, directions: csr_matrix) -> _Array:
    """Mean cosine distance between two tracks of each list [B, N] whose genres are known."""
    total = csr_matrix(member @ directions)
    count = member @ (np.diff(directions.indptr) > 0).astype(np.float64)
    alike = np.asarray(total.multiply(total).sum(1)).ravel() - count
    with np.errstate(invalid="ignore", divide="ignore"):
        distance: _Array = np.where(count > 1, 1 - alike / (count * (count - 1)), np.nan)
    return distance


def _divergence(own: csr_matrix, shown: csr_matrix) -> _Array:
    """Σ p log2 (p / q) of each row, q being mixed with a little of p; NaN where one is unknown."""
    p = csr_matrix(own).tocoo()
    q = (1 - SMOOTHING) * np.asarray(shown[p.row, p.col]).ravel() + SMOOTHING * p.data
    terms = np.where(p.data > 0, p.data * np.log2(p.data / np.where(q > 0, q, 1)), 0)
    found = np.bincount(p.row, terms, own.shape[0])
    known = (np.asarray(own.sum(1)).ravel() > 0) & (np.asarray(shown.sum(1)).ravel() > 0)
    divergence: _Array = np.where(known, np.maximum(found, 0), np.nan)
    return divergence
