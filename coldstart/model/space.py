"""Every track's place in the space: warm ones by their plays, cold ones by their content."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions


class Known(NamedTuple):
    """All tracks that have a place in the space.

    Attributes:
        track_ids: N ids, warm ones first.
        vectors: [N, K]; of a warm track where its plays put it, of a cold one where its content
            does.
        warm: [N] whether the factorisation has seen it.
    """

    track_ids: list[str]
    vectors: Tensor
    warm: NDArray[np.bool_]


def known_tracks(predicted: Predictions, factors: Factors | None) -> Known:
    """Warm tracks first, then those of which only the content is known.

    Args:
        predicted: vectors of tracks, from their content.
        factors: those that the model was trained on; without them every track is cold.
    """
    if factors is None:
        none_warm = np.zeros(len(predicted.track_ids), bool)
        return Known(predicted.track_ids, predicted.values, none_warm)
    seen = np.flatnonzero(~factors.folded)
    warm_ids = [factors.track_ids[i] for i in seen]
    warm_set = set(warm_ids)
    cold = [i for i, track in enumerate(predicted.track_ids) if track not in warm_set]
    ids = [*warm_ids, *(predicted.track_ids[i] for i in cold)]
    vectors = torch.cat([torch.from_numpy(factors.tracks[seen]), predicted.values[cold]])
    return Known(ids, vectors, np.arange(len(ids)) < len(warm_ids))
