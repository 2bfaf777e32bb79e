"""A contrastive objective: each track's vector must be recognised among those of the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.errors import InputError
from coldstart.targets.track_factors import TrackFactors


class Contrastive(TrackFactors):
    """A track's direction in collaborative-filtering space, by InfoNCE (van den Oord et al. 2018).

    Of a batch's factor vectors, a track's own must be the one most like what is predicted for it,
    and of all predictions its own the one most like its vector: cross-entropy of cosines over a
    temperature, the mean of both directions. The negatives are the batch's other tracks: large
    batches help. Each track occurs once in an epoch, so that all are equally likely negatives and
    no correction for their frequency is needed.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        """A target.

        Args:
            temperature: cosines are divided by this, above 0: the lower, the more the nearest
                negatives count.
        """
        super().__init__()
        if temperature <= 0:
            raise InputError(f"Contrastive: temperature is above 0, not {temperature}")
        self.temperature = temperature

    def objective(self, predicted: Tensor, true: Tensor, track_ids: Sequence[str]) -> Tensor:
        """InfoNCE, in both directions. Other pieces of the same track are no negatives."""
        scores = F.normalize(predicted, dim=1) @ F.normalize(true, dim=1).T / self.temperature
        number = {track_id: i for i, track_id in enumerate(track_ids)}
        track = torch.tensor([number[track_id] for track_id in track_ids])
        other_pieces = (track[:, None] == track).fill_diagonal_(False).to(scores.device)
        scores = scores.masked_fill(other_pieces, -torch.inf)
        own = torch.arange(len(scores), device=scores.device)
        by_prediction = F.cross_entropy(scores, own, reduction="none")
        by_vector = F.cross_entropy(scores.T, own, reduction="none")
        return (by_prediction + by_vector) / 2
