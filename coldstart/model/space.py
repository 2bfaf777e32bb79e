"""Every track's place in the space: warm ones by their plays, cold ones by their content."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions


class TrackPlaces(NamedTuple):
    """All tracks that have a place in the space.

    Attributes:
        track_ids: N ids, warm ones first.
        vectors: [N, K]; of a warm track its factors, of a cold one what its content predicts.
        warm: [N] whether the track was factorised.
    """

    track_ids: list[str]
    vectors: Tensor
    warm: NDArray[np.bool_]


def track_places(predictions: Predictions, factors: Factors | None) -> TrackPlaces:
    """The places of all tracks: warm ones first, then those that have only their content.

    Args:
        predictions: vectors of tracks, from their content.
        factors: those that the model was trained on; without them every track is cold.
    """
    if factors is None:
        none_warm = np.zeros(len(predictions.track_ids), bool)
        return TrackPlaces(predictions.track_ids, predictions.values, none_warm)
    warm = np.flatnonzero(~factors.folded)
    warm_ids = [factors.track_ids[row] for row in warm]
    warm_set = set(warm_ids)
    cold = [row for row, track in enumerate(predictions.track_ids) if track not in warm_set]
    ids = [*warm_ids, *(predictions.track_ids[row] for row in cold)]
    vectors = torch.cat([torch.from_numpy(factors.tracks[warm]), predictions.values[cold]])
    return TrackPlaces(ids, vectors, np.arange(len(ids)) < len(warm_ids))
