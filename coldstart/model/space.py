"""Every track's place in the space: known ones by their plays, new ones by content and plays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.factors.als import Array
from coldstart.factors.factors import Factors
from coldstart.model.ensemble import Audience, Ensemble, artist_levels, priors
from coldstart.model.predictions import Predictions, as_array


class TrackPlaces:
    """All tracks that have a place in the space.

    Attributes:
        track_ids: N ids, warm ones first.
        vectors: [N, K]; of a warm track its factors; of a cold one what its content predicts, or,
            in an ensemble, content and plays joined.
        warm: how many of them, the first ones, were factorised.
        joined: how content and plays of the cold ones were joined; None: they weren't.
    """

    def __init__(
        self, track_ids: list[str], vectors: Tensor, warm: int, joined: Joined | None = None
    ) -> None:
        """Put together."""
        self.track_ids, self.vectors, self.warm, self.joined = track_ids, vectors, warm, joined

    @property
    def scoring(self) -> Tensor:
        """[N, K] places whose dot product with a listener is the score, in a list of all tracks."""
        if self.joined is None:
            return self.vectors
        cold = self.joined.audience.lifted(self.vectors[self.warm :], self.joined.ensemble)
        return torch.cat([self.vectors[: self.warm], cold])

    def without(self, removed: frozenset[str]) -> TrackPlaces:
        """The same without some tracks."""
        rows = [row for row, track in enumerate(self.track_ids) if track not in removed]
        if len(rows) == len(self.track_ids):
            return self
        ids = [self.track_ids[row] for row in rows]
        warm = sum(row < self.warm for row in rows)
        cold = [row - self.warm for row in rows if row >= self.warm]
        joined = self.joined.of(cold) if self.joined else None
        return TrackPlaces(ids, self.vectors[rows], warm, joined)


class Joined:
    """How the places of C cold tracks came about.

    Attributes:
        audience: the listeners.
        ensemble: the numbers.
        plays: [C, U] plays that count.
        levels: [C] of the artists.
    """

    def __init__(
        self,
        audience: Audience,
        ensemble: Ensemble,
        plays: csr_matrix,
        levels: NDArray[np.float64],
    ) -> None:
        """Put together."""
        self.audience, self.ensemble, self.plays, self.levels = audience, ensemble, plays, levels

    @cached_property
    def listeners(self) -> NDArray[np.int64]:
        """[C] by how many listeners' plays each was moved."""
        return np.diff(self.plays.indptr).astype(np.int64)

    def places(self, content: Array) -> Array:
        """Places of the tracks, [C, K], from what their content predicts."""
        prior = priors(self.audience, content, self.levels, self.ensemble)
        return self.audience.joined(self.plays, prior, self.ensemble)

    def of(self, rows: list[int]) -> Joined:
        """Of some of the tracks."""
        return Joined(self.audience, self.ensemble, self.plays[rows], self.levels[rows])


def track_places(
    predictions: Predictions,
    factors: Factors | None,
    ensemble: Ensemble | None = None,
    artists: Mapping[str, str] | None = None,
) -> TrackPlaces:
    """The places of all tracks: warm ones first, then those that were not factorised.

    Args:
        predictions: vectors of tracks, from their content.
        factors: those that the model was trained on, with all listens since; without them every
            track is cold.
        ensemble: how content and plays of cold tracks are joined; None: content alone.
        artists: track id → artist, for an ensemble.

    Raises:
        InputError: the factors lack what an ensemble needs.
    """
    if factors is None:
        return TrackPlaces(predictions.track_ids, predictions.values, 0)
    warm = np.flatnonzero(~factors.folded)
    warm_ids = [factors.track_ids[row] for row in warm]
    warm_set = set(warm_ids)
    cold = [row for row, track in enumerate(predictions.track_ids) if track not in warm_set]
    cold_ids = [predictions.track_ids[row] for row in cold]
    values, joined = predictions.values[cold], None
    if ensemble is not None:
        audience = Audience(factors)
        levels = artist_levels(audience, cold_ids, artists or {})
        joined = Joined(audience, ensemble, audience.plays_of(cold_ids), levels)
        values = torch.from_numpy(joined.places(as_array(values)))
    vectors = torch.cat([torch.from_numpy(factors.tracks[warm]), values])
    return TrackPlaces([*warm_ids, *cold_ids], vectors, len(warm), joined)
