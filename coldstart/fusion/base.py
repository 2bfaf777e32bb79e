"""What every fusion head is."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from coldstart.components import Component


class FusionHead(Component):
    """Any subset of modalities → one vector. A subclass implements `build` and `forward`."""

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Make the layers.

        Args:
            dims: width of each modality's vector.
            out: width of the result.
        """
        raise NotImplementedError

    def forward(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out]."""
        raise NotImplementedError
