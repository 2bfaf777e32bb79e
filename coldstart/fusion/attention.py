"""Attention over modality tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coldstart.errors import InputError
from coldstart.fusion.base import FusionHead


class Attention(FusionHead):
    """Each modality is a token; transformer layers mix them, and a learnt token reads the result.

    A missing modality's token is masked: no other token attends to it.
    """

    interface = 1

    def __init__(
        self, width: int = 128, heads: int = 4, layers: int = 1, dropout: float = 0.1
    ) -> None:
        """A head.

        Args:
            width: of a token; a multiple of `heads`.
            heads: attention heads.
            layers: transformer layers.
            dropout: share of units dropped while training.
        """
        super().__init__()
        if min(width, heads, layers) < 1 or width % heads:
            raise InputError(f"Attention: width {width} is no multiple of {heads} heads")
        self.width, self.heads, self.depth, self.dropout = width, heads, layers, dropout

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Make the layers for these modalities."""
        self.names = sorted(dims)
        # The bias of each projection also tells the modalities apart.
        self.project = nn.ModuleDict({n: nn.Linear(dims[n], self.width) for n in self.names})
        self.reader = nn.Parameter(torch.randn(self.width) / self.width**0.5)
        layer = nn.TransformerEncoderLayer(
            self.width,
            self.heads,
            dim_feedforward=2 * self.width,
            dropout=self.dropout,
            batch_first=True,
            norm_first=True,
        )
        # The fast path would give slightly different values at evaluation than in training.
        self.mix = nn.TransformerEncoder(layer, self.depth, enable_nested_tensor=False)
        self.out = nn.Sequential(nn.LayerNorm(self.width), nn.Linear(self.width, out))

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out]."""
        tokens = [self.project[name](encoded[name]) for name in self.names]
        reader = self.reader.expand_as(tokens[0])
        missing = ~torch.stack([present[name] for name in self.names], dim=1)
        padding = torch.cat([torch.zeros_like(missing[:, :1]), missing], dim=1)
        outputs = self.mix(torch.stack([reader, *tokens], dim=1), src_key_padding_mask=padding)
        fused: Tensor = self.out(outputs[:, 0])
        return fused
