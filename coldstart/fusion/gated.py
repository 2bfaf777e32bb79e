"""Gated fusion: weights of the modalities that depend on the track."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coldstart.encoders.base import dense
from coldstart.fusion.base import FusionHead, mean_over, stack


class Gated(FusionHead):
    """A mean of the modalities' vectors, weighted for each track by gates that see all of them.

    After the gated multimodal unit (Arevalo et al., ICLR workshop 2017), with gates that sum to 1
    over the modalities that the track has.
    """

    interface = 1

    def __init__(self, width: int = 256, dropout: float = 0.5) -> None:
        """A head.

        Args:
            width: of the space in which modalities are averaged.
            dropout: share of units dropped there while training.
        """
        super().__init__()
        self.width, self.dropout = width, dropout

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Make the layers for these modalities."""
        self.names = sorted(dims)
        sizes = {name: (dims[name], self.width) for name in self.names}
        self.project = nn.ModuleDict({n: dense(size, self.dropout) for n, size in sizes.items()})
        self.gate = nn.Linear(sum(dims.values()) + len(dims), len(dims))
        self.out = nn.Linear(self.width, out)

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out]."""
        mask = stack(present, self.names)
        gate_inputs = torch.cat([*(encoded[name] for name in self.names), mask.float()], dim=1)
        vectors = [self.project[name](encoded[name]) for name in self.names]
        fused: Tensor = self.out(mean_over(mask, self.gate(gate_inputs), vectors))
        return fused
