"""A track's place in collaborative-filtering space, by the distance between two vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.encoders.base import Modality, Reader, WholeTrack
from coldstart.errors import InputError
from coldstart.sample import Sample
from coldstart.targets.base import Target

FACTORS = "factors.npy"
"""The field that the data module joins to a sample: the track's factor vector."""


class FactorReader(WholeTrack):
    """Collates the factor vectors that the data module joined."""

    def __init__(self, width: int) -> None:
        """For vectors of this width."""
        self.width = width

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Values [B, width]; zeros if nobody played the track."""
        values = torch.zeros(len(samples), self.width)
        present = torch.tensor([FACTORS in sample for sample in samples], dtype=torch.bool)
        for i in present.nonzero()[:, 0].tolist():
            values[i] = torch.from_numpy(samples[i][FACTORS])
        return Modality(values, present)


def cosine_distance(predicted: Tensor, true: Tensor) -> Tensor:
    """1 − cosine similarity of each pair of rows; between 0 and 2. [B, K], [B, K] → [B].

    >>> a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    >>> cosine_distance(a, torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])).tolist()
    [0.0, 1.0, 2.0]
    """
    return 1 - F.cosine_similarity(predicted, true, dim=1)


class TrackFactors(Target):
    """A track's vector in collaborative-filtering space: its direction, or its length too."""

    interface = 1
    fields: ClassVar[tuple[str, ...]] = (FACTORS,)

    def __init__(self, length: bool = False) -> None:
        """A target.

        Args:
            length: false: the talk's loss, 1 − mean cosine, and outputs are directions. True:
                squared error, and outputs keep their length, which says how much a track is liked
                by its listeners: users' scores are dot products then.
        """
        super().__init__()
        self.length = length

    def build(self, info: Mapping[str, Any]) -> None:
        """As wide as the factors, and on their scale.

        Raises:
            InputError: lengths count, and the factors are so old that their scale isn't recorded.
        """
        self.dim = int(info["factors"])
        if not self.length:
            return
        if "spread" not in info:
            raise InputError("these factors don't say their scale: factorise again")
        self.register_buffer("mean", torch.tensor(info["mean"], dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(info["spread"] or 1.0))

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The factors must be those of the training: another space has other directions."""
        if info.get("id") != built_from.get("id"):
            raise InputError(
                f"these factors ({info['factors']} wide) are not those that the model was trained "
                f"on ({built_from['factors']} wide): vectors of two factorisations can't be "
                "compared. Use the model's own factors, or fit it anew"
            )

    def reader(self) -> Reader:
        """Reads the joined vectors, which are arrays already."""
        return FactorReader(self.dim)

    def loss(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Cosine distance; where lengths count, squared error: 1 = no better than the mean."""
        if self.length:
            return (predicted - self.aim(true)).square().mean(dim=1)
        return cosine_distance(predicted, true)

    @property
    def unknown(self) -> Tensor:
        """Where lengths count, the mean track: as likely to be liked as tracks are. Else zeros."""
        return self.get_buffer("mean") if self.length else super().unknown

    def aim(self, true: Tensor) -> Tensor:
        """Standardised, by one spread for all axes, if lengths count."""
        if self.length:
            return (true - self.get_buffer("mean")) / self.get_buffer("spread")
        return true

    def output(self, predicted: Tensor) -> Tensor:
        """On the factors' scale; or the direction, if the loss ignores the length."""
        if self.length:
            return predicted * self.get_buffer("spread") + self.get_buffer("mean")
        return F.normalize(predicted, dim=1)
