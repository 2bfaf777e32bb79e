"""Late fusion of predictions: each modality predicts by itself, and a weighted mean decides."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coldstart.fusion.base import FusionHead, mean_over, stack


class MeanLateFusion(FusionHead):
    """A mean of the directions that each modality predicts by itself, with learnt weights.

    Each modality's vector becomes a direction through a linear layer of its own; the result is the
    mean of the directions that a track has. There is one weight a modality, so there is little to
    overfit: a poor modality loses its weight instead of spoiling the others. The talk's head is
    `Concat`.

    In two-stage training the vectors are predictions already: a layer between equal widths begins
    as the identity, so that training begins at the mean of what the single nets said.
    """

    interface = 1
    PACE = 30.0
    """The weights are few and begin equal; at the layers' pace they would not move in time."""

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Make the layers for these modalities."""
        self.predict = nn.ModuleDict({name: nn.Linear(dims[name], out) for name in sorted(dims)})
        for layer in self.predict.values():
            assert isinstance(layer, nn.Linear)
            if layer.in_features == out:
                nn.init.eye_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.weight = nn.Parameter(torch.zeros(len(dims)))

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out], of length 0 to 1: how far the modalities agree."""
        directions = [F.normalize(p(encoded[name]), dim=1) for name, p in self.predict.items()]
        return mean_over(stack(present, list(self.predict)), self.PACE * self.weight, directions)
