"""The talk's late fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from coldstart.encoders.base import dense
from coldstart.fusion.base import FusionHead


class Concat(FusionHead):
    """Each modality has its own net; they are joined near the output (rows 9 and 10 of the talk).

    The vectors are concatenated in the order of the modalities' names; a linear layer, or a few
    dense ones before it, gives the result.
    """

    interface = 1

    def __init__(self, hidden: Sequence[int] = (), dropout: float = 0.5) -> None:
        """A head with dense layers of these widths before the linear output.

        Args:
            hidden: widths; none by default, as in the talk.
            dropout: share of units dropped after each hidden layer while training.
        """
        super().__init__()
        self.hidden, self.dropout = tuple(hidden), dropout

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Make the layers for these modalities."""
        sizes = (sum(dims.values()), *self.hidden)
        self.net = nn.Sequential(dense(sizes, self.dropout), nn.Linear(sizes[-1], out))

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out]; what is missing is the encoder's learnt vector."""
        fused: Tensor = self.net(torch.cat([encoded[name] for name in sorted(encoded)], dim=1))
        return fused
