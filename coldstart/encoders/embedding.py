"""Embeddings: one precomputed vector a track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.encoders.attributes import VectorReader
from coldstart.encoders.base import Encoder, dense
from coldstart.errors import InputError


class Embedding(Encoder):
    """A precomputed vector a track, such as a first-stage net's; frozen, or through dense layers.

    In two-stage training (as in the talk) a fusion head learns from the vectors of single nets.
    """

    interface = 1
    fields: tuple[str, ...] = ("embedding.npy",)
    precomputed = True

    def __init__(
        self,
        modality: str = "embedding",
        hidden: Sequence[int] = (),
        dropout: float = 0.5,
        normalize: bool = True,
        standardize: bool = False,
    ) -> None:
        """The vectors themselves, or dense layers over them.

        Args:
            modality: folder of the shards that holds the vectors.
            hidden: widths of dense layers; none by default: fusion gets the vectors.
            dropout: share of units dropped after each layer while training.
            normalize: scale each vector to length 1 first.
            standardize: before that, give each dimension a mean of 0 and a spread of 1 over the
                training tracks, where dimensions have units of their own, such as MFCC's.
        """
        super().__init__()
        self.fields = (f"{modality}.npy",)
        self.hidden, self.dropout, self.normalize = tuple(hidden), dropout, normalize
        self.standardize = standardize

    @classmethod
    def as_is(cls, folder: str, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """Vectors without names; standardised where an extractor's dimensions have own units.

        Not those that a run's nets have made: of training tracks they may be in sample.
        """
        if "mean" not in info or "names" in info or info.get("runs"):
            return None
        own_units = bool(info.get("own_units"))
        return {"modality": folder, "standardize": own_units, "normalize": not own_units}

    def has_layers(self) -> bool:
        """Unless `hidden` is empty."""
        return bool(self.hidden)

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for vectors as wide as `info["mean"]`."""
        self.width = len(info["mean"])
        self.dim = self.hidden[-1] if self.hidden else self.width
        self.net = dense((self.width, *self.hidden), self.dropout)
        if self.standardize:
            spread = torch.tensor(info["std"], dtype=torch.float32)
            self.register_buffer("mean", torch.tensor(info["mean"], dtype=torch.float32))
            self.register_buffer("spread", torch.where(spread > 0, spread, 1.0))

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The vectors must come from the same source: the axes of two nets differ in meaning."""
        if (len(info["mean"]), info.get("made_by")) != (self.width, built_from.get("made_by")):
            raise InputError(
                f"{self.fields[0]}: the dataset's vectors ({len(info['mean'])} wide) were not made "
                f"by what made those that this model was trained on ({self.width} wide)"
            )

    def reader(self) -> VectorReader:
        """Reads vectors of `width` values."""
        return VectorReader(self.fields[0], self.width)

    def describe(self, values: Tensor) -> Tensor:
        """The vectors, standardised and scaled to length 1 if they are. [B, width] → [B, width]."""
        if self.standardize:
            values = (values - self.get_buffer("mean")) / self.get_buffer("spread")
        return F.normalize(values, dim=1) if self.normalize else values

    def encode(self, values: Tensor) -> Tensor:
        """[B, width] → [B, dim]."""
        encoded: Tensor = self.net(self.describe(values))
        return encoded
