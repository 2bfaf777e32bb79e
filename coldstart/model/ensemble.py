"""The ensemble: what content predicts is the prior of a track's place, and plays are the evidence.

A track without plays lies where its content says. Each play moves it, the first ones more than the
later ones, and with many plays little of the content is left. Beside both stands the artist: whose
earlier tracks were much played, or little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.errors import InputError
from coldstart.factors.als import Array, turned
from coldstart.factors.factorization import confidence_of
from coldstart.factors.factors import Factors
from coldstart.factors.folding import check_foldable, in_own_axes, settings_of
from coldstart.factors.posterior import Evidence, posterior

DOUBT = 2.0
"""An artist's level counts as if there were so many average tracks beside the artist's own."""


@dataclass
class EnsembleSettings:
    """What a configuration says of the ensemble: null: it is chosen on the validation tracks.

    Attributes:
        strength: content counts as much as the plays of so many listeners.
        ahead: share of a known track's plays that are still to come, above 0 to 1; by default what
            the factorisation withheld, or 1 if it withheld nothing.
    """

    strength: float | None = None
    ahead: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.strength is not None and not 0 < self.strength < float("inf"):
            raise InputError(f"ensemble.strength is above 0, not {self.strength}")
        if self.ahead is not None and not 0 < self.ahead <= 1:
            raise InputError(f"ensemble.ahead is above 0 and at most 1, not {self.ahead}")


class Ensemble(NamedTuple):
    """How content, plays and the artist are joined.

    Attributes:
        scale: predicted vectors times this are nearest to the true ones (least squares).
        artist: how much of an artist's level is added to the content's.
        strength: content counts as much as the plays of so many average listeners.
        value: the score that a play says; below 1, as nothing is known of those who were never
            offered the track.
        unseen: weight of listeners who haven't played a track, 0..1.
        length: scores of new tracks times this, plus `offset`, say the same as those of known ones.
        offset: as above; a score of the average listener.
        ahead: share of a known track's plays that are still to come, as it was assumed for these.
    """

    scale: float = 1.0
    artist: float = 0.0
    strength: float = 10.0
    value: float = 0.7
    unseen: float = 0.0
    length: float = 1.0
    offset: float = 0.0
    ahead: float = 1.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Ensemble:
        """From plain values, as `_asdict` gives them.

        Raises:
            InputError: one is missing or no finite number.
        """
        try:
            numbers = {name: float(values[name]) for name in cls._fields}
        except (LookupError, TypeError, ValueError) as error:
            raise InputError(f"these numbers describe no ensemble ({error!r})") from error
        if not all(np.isfinite(number) for number in numbers.values()):
            raise InputError("these numbers describe no ensemble: not all are finite")
        return cls(**numbers)


class Audience:
    """The fixed side of an ensemble: the listeners, in the axes of the factorisation.

    Attributes:
        factors: of the model's training, with all listens since.
        vectors: the same factors without places on listeners' own axes: plays move vectors, and
            these places stay where content puts them.
        users: [U, K] as the model has them, in the axes of the factorisation; zeros for those
            without taste.
        mean: [K] the mean listener, in the axes of the vectors.
        common: [K] what, added to a vector, adds 1 to the mean listener's score.
        play: how much a play of an average listener weighs against the prior.
    """

    def __init__(self, factors: Factors) -> None:
        """Read what the formula needs.

        Raises:
            InputError: the factors lack it.
        """
        self.factors, self.vectors = factors, factors.narrow or factors
        check_foldable(self.vectors, "these factors")
        self.settings = settings_of(factors.about)
        seen = replace(self.vectors, users=factors.users[:, : self.vectors.dim])
        self.users = in_own_axes(seen).users
        active = factors.users.any(axis=1)
        if not active.any():
            raise InputError("these factors have no listener with a vector")
        self.mean: NDArray[np.float64] = factors.users[active].mean(0, dtype=np.float64)
        self.common = self.mean / max(float(self.mean @ self.mean), 1e-12)
        entries = factors.listens[:, ~factors.folded]  # a held-out track's plays aren't asked
        implicit = self.settings.algorithm == "implicit"
        weights = confidence_of(entries, self.settings).data if implicit else np.ones(1)
        squares = np.square(self.users[active], dtype=np.float64).sum(1).mean()
        self.play = float(np.mean(weights, dtype=np.float64) * squares) if len(weights) else 1.0

    def evidence(self, ensemble: Ensemble) -> Evidence:
        """How much plays count, in the units of the formula."""
        return Evidence(ensemble.strength * self.play, ensemble.unseen, ensemble.value)

    def to_own(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Tracks' vectors in the axes of the factorisation, [N, K]."""
        axes = self.vectors.axes
        values = np.asarray(vectors, np.float64)[:, : self.vectors.dim] / self.factors.kept
        return values if axes is None else values @ axes.users.T

    def from_own(self, vectors: Array) -> Array:
        """The way back; on listeners' own axes, if there are such, 0."""
        axes = self.vectors.axes
        own = vectors if axes is None else turned(vectors, axes.tracks)
        beside = np.zeros((len(own), self.factors.dim - self.vectors.dim), np.float32)
        return np.concatenate([np.float32(self.factors.kept) * own, beside], axis=1)

    def joined(self, plays: csr_matrix, prior: Array, ensemble: Ensemble) -> Array:
        """Move priors by plays.

        Args:
            plays: [N, U] of these tracks.
            prior: [N, K] where content says that they are.
            ensemble: how both are joined.

        Returns:
            [N, K]; of tracks without plays the prior.
        """
        moved = np.flatnonzero(np.diff(plays.indptr))
        result = np.array(prior, np.float32)
        if len(moved):
            own = self.to_own(result[moved])
            solved = posterior(
                plays[moved], self.users, own, self.evidence(ensemble), self.settings
            )
            width = self.vectors.dim
            result[moved, :width] = self.from_own(solved)[:, :width]
        return result

    def content_weight(self, plays: csr_matrix, vector: Array, ensemble: Ensemble) -> Array:
        """What a track's prior counts for in the score of a listener.

        The score of a joined vector is linear in its prior: (this vector)·prior, plus what plays
        add.

        Args:
            plays: [1, U] of the track.
            vector: [K] of the listener, or of any query, that the score is a dot product with.
            ensemble: how both are joined.
        """
        if not plays.nnz:
            return vector
        axes, width = self.vectors.axes, self.vectors.dim
        asked = vector[:width]
        own = asked if axes is None else turned(asked[None], axes.tracks.T)[0]
        silent = self.evidence(ensemble)._replace(value=0.0)
        if self.settings.algorithm == "explicit":  # ratings of 0: they weigh, and add nothing
            nothing = np.zeros_like(plays.data)
            plays = csr_matrix((nothing, plays.indices, plays.indptr), plays.shape)
        solved = posterior(plays, self.users, own, silent, self.settings)
        weighed: Array = (solved if axes is None else turned(solved, axes.users))[0]
        return np.concatenate([weighed, vector[width:]])

    def plays_of(self, track_ids: Sequence[str]) -> csr_matrix:
        """[N, U] plays of these tracks by listeners with a vector; empty rows for those of none."""
        rows = self.factors.rows(track_ids)
        known = np.flatnonzero(rows >= 0)
        columns = self.factors.listens.tocsc()[:, rows[known]].T.tocsr()
        entries = columns.tocoo()
        active = np.asarray(self.factors.users.any(axis=1))[entries.col]
        pairs = (known[entries.row[active]], entries.col[active])
        shape = (len(track_ids), self.factors.listens.shape[0])
        return csr_matrix((entries.data[active], pairs), shape=shape)

    def lifted(self, vectors: Tensor, ensemble: Ensemble) -> Tensor:
        """Vectors of new tracks, so that scores say the same as those of known ones."""
        common = torch.from_numpy(self.common.astype(np.float32))
        return vectors * ensemble.length + ensemble.offset * common


def artist_levels(
    audience: Audience, track_ids: Sequence[str], artists: Mapping[str, str]
) -> NDArray[np.float64]:
    """How much more, or less, than other artists' the factorised tracks of an artist are liked.

    Args:
        audience: of the factors.
        track_ids: N ids.
        artists: track id → artist; of tracks that have one.

    Returns:
        [N] mean score of the artist's tracks for the mean listener, beside that of all tracks;
        drawn to 0 by `DOUBT` average tracks. 0 for unknown artists, and for artists of whom no
        other track was factorised.
    """
    factors = audience.factors
    warm = np.flatnonzero(~factors.folded)
    levels = factors.tracks[warm].astype(np.float64) @ audience.mean
    levels -= levels.mean() if len(levels) else 0.0
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for row, level in zip(warm, levels, strict=True):
        artist = artists.get(factors.track_ids[row])
        if artist:
            sums[artist] = sums.get(artist, 0.0) + float(level)
            counts[artist] = counts.get(artist, 0) + 1
    mean = {artist: total / (counts[artist] + DOUBT) for artist, total in sums.items()}
    return np.array([mean.get(artists.get(track, ""), 0.0) for track in track_ids])


def priors(
    audience: Audience,
    content: NDArray[np.floating],
    levels: NDArray[np.float64],
    ensemble: Ensemble,
) -> Array:
    """Where tracks are before anybody has played them.

    Args:
        audience: of the factors.
        content: [N, K] what content predicts.
        levels: [N] of their artists, as `artist_levels` gives.
        ensemble: how both are joined.
    """
    levels = ensemble.artist * levels
    prior = ensemble.scale * np.asarray(content, np.float64) + np.outer(levels, audience.common)
    return prior.astype(np.float32)
