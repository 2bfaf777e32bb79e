"""One branch for all modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from coldstart.encoders.base import dense
from coldstart.errors import InputError
from coldstart.fusion.base import FusionHead, stack


class SharedBranch(FusionHead):
    """All modalities go through the same layers, after a projection of their own.

    While training, only one of a track's modalities is used, chosen at random each time, so that
    the net learns to predict from any of them; at evaluation the results are averaged over the
    modalities that the track has.
    After SiBraR (Ganhör et al., RecSys 2024), without its contrastive loss.
    """

    interface = 1

    def __init__(self, hidden: Sequence[int] = (256,), dropout: float = 0.5) -> None:
        """A head.

        Args:
            hidden: widths of the shared layers, at least one; the first is the projections' width.
            dropout: share of units dropped after each while training.
        """
        super().__init__()
        if not hidden:
            raise InputError("SharedBranch: hidden needs one width or more")
        self.hidden, self.dropout = tuple(hidden), dropout

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Make the layers for these modalities."""
        self.names = sorted(dims)
        first = self.hidden[0]
        self.project = nn.ModuleDict({n: nn.Linear(dims[n], first) for n in self.names})
        self.branch = nn.Sequential(
            nn.LayerNorm(first),
            dense((first, *self.hidden), self.dropout),
            nn.Linear(self.hidden[-1], out),
        )

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out]."""
        weights = stack(present, self.names).float()
        if self.training:
            choice = torch.multinomial(weights, 1)
            weights = torch.zeros_like(weights).scatter(1, choice, 1.0)
        # All modalities are run, also those of weight 0: DDP must see every parameter.
        vectors = torch.stack(
            [self.branch(self.project[name](encoded[name])) for name in self.names], dim=1
        )
        mean: Tensor = (weights[:, :, None] * vectors).sum(1) / weights.sum(1, keepdim=True)
        return mean
