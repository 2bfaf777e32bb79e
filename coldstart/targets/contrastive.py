"""Content and factors aligned: each track's vector must be told from the batch's other ones."""

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
    temperature, the mean of both ways. The negatives are the batch's other tracks: large batches
    help. Each track is in an epoch once, so they are drawn alike, and none has to be corrected
    for being drawn more often.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        """A target.

        Args:
            temperature: what cosines are divided by, above 0: the lower, the more the nearest
                negatives count.
        """
        super().__init__()
        if temperature <= 0:
            raise InputError(f"Contrastive: temperature is above 0, not {temperature}")
        self.temperature = temperature

    def objective(self, predicted: Tensor, true: Tensor, track_ids: Sequence[str]) -> Tensor:
        """InfoNCE, both ways. Other pieces of the same track are no negatives."""
        scores = F.normalize(predicted, dim=1) @ F.normalize(true, dim=1).T / self.temperature
        first: dict[str, int] = {}
        track = torch.tensor([first.setdefault(name, len(first)) for name in track_ids])
        again = (track[:, None] == track).fill_diagonal_(False).to(scores.device)
        scores = scores.masked_fill(again, -torch.inf)
        own = torch.arange(len(scores), device=scores.device)
        there = F.cross_entropy(scores, own, reduction="none")
        back = F.cross_entropy(scores.T, own, reduction="none")
        return (there + back) / 2
