"""Late fusion of predictions: a weighted mean of what each modality predicts by itself."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coldstart.fusion.base import FusionHead, mean_over, stack


class MeanLateFusion(FusionHead):
    """A mean of the directions that each modality predicts by itself, with learnt weights.

    Each modality's vector becomes a direction through a linear layer of its own; the result is the
    mean of the directions that a track has. With one weight a modality there is little to overfit:
    a poor modality loses its weight instead of harming the others. The talk's head is `Concat`.

    In two-stage training the vectors are predictions already: a layer between equal widths starts
    as the identity, so that training starts from the mean of the single nets' predictions.
    """

    interface = 1
    PACE = 30.0
    """The weights are multiplied by this: they start equal, and at the layers' learning rate they
    would change too slowly."""

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
        directions = [
            F.normalize(layer(encoded[name]), dim=1) for name, layer in self.predict.items()
        ]
        return mean_over(stack(present, list(self.predict)), self.PACE * self.weight, directions)
