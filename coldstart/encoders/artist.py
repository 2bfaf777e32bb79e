"""Artist: the factors of an artist's other tracks, which people have played already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coldstart.encoders.base import Encoder, Modality, WholeTrack, dense
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed


class ArtistReader(WholeTrack):
    """Collates the vectors that the data module joined, padded with rows of zeros."""

    def __init__(self, field: str, most: int, width: int) -> None:
        """At most `most` tracks of an artist, and vectors of this width."""
        self.field, self.most, self.width = field, most, width

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Values [B, most, width]; missing where the artist is unknown or has no other track."""
        values = torch.zeros(len(samples), self.most, self.width)
        present = torch.tensor([self.field in sample for sample in samples], dtype=torch.bool)
        for i in present.nonzero()[:, 0].tolist():
            vectors = np.asarray(samples[i][self.field])[: self.most]
            if vectors.ndim != 2 or vectors.shape[1] != self.width:
                reason = f"shape {vectors.shape}, expected (tracks, {self.width})"
                raise malformed(samples[i], self.field, reason)
            values[i, : len(vectors)] = torch.from_numpy(vectors)
        return Modality(values, present)


class Artist(Encoder):
    """The factors of the artist's other training tracks: their mean, and one by attention.

    Nothing comes from the track itself, and nothing from held-out tracks. The modality is missing
    where an artist has no other track, as in an artist-disjoint split.
    """

    interface = 1
    fields: tuple[str, ...] = ("artist.factors",)
    reads_factors: ClassVar[bool] = True

    def __init__(
        self, most: int = 20, hidden: Sequence[int] = (256,), dropout: float = 0.5
    ) -> None:
        """Dense layers of these widths over the two vectors.

        Args:
            most: tracks of an artist that count; the most played ones.
            hidden: widths of the layers, at least one.
            dropout: share of units dropped after each layer while training.
        """
        super().__init__()
        if most < 1 or not hidden:
            raise InputError("Artist: most ≥ 1 and at least one width in hidden are needed")
        self.most, self.hidden, self.dropout = most, tuple(hidden), dropout

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for factors as wide as `info["factors"]`."""
        self.width, self.dim = int(info["factors"]), self.hidden[-1]
        self.query = nn.Parameter(torch.zeros(self.width))
        self.net = dense((2 * self.width, *self.hidden), self.dropout)

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The factors must be those of the training."""
        if info.get("id") != built_from.get("id"):
            raise InputError(
                "Artist: these factors are not those that the model was trained on; use the "
                "model's own, or fit it anew"
            )

    def reader(self) -> ArtistReader:
        """Collates what the data module joins."""
        return ArtistReader(self.fields[0], self.most, self.width)

    def describe(self, values: Tensor) -> Tensor:
        """The mean vector. [B, most, width] → [B, width]."""
        count = values.any(2).sum(1, keepdim=True).clamp_min(1)
        return values.sum(1) / count

    def encode(self, values: Tensor) -> Tensor:
        """[B, most, width] → [B, dim]."""
        padding = ~values.any(2)
        # The query starts at zero, where attention is a plain mean.
        logits = (F.normalize(values, dim=2) @ self.query).masked_fill(padding, -1e9)
        attention = (logits.softmax(1)[:, :, None] * values).sum(1)
        vectors = [F.normalize(vector, dim=1) for vector in (self.describe(values), attention)]
        encoded: Tensor = self.net(torch.cat(vectors, dim=1))
        return encoded
