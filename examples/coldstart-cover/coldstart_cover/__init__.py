"""Cover images for coldstart: a small convolutional net."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from coldstart.encoders.base import Encoder, Modality, WholeTrack
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""Other formats are refused: Pillow would open some of them with another program."""
MOST_PIXELS = 50_000_000
"""The largest image that is decoded: a small file may claim to hold a huge one."""
GRID = 8


class ImageReader(WholeTrack):
    """Decodes images and makes them squares of one size; it runs in the loader's workers."""

    def __init__(self, field: str, size: int) -> None:
        self.field, self.size = field, size

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, 3, size, size], from 0 to 1."""
        values = torch.zeros(len(samples), 3, self.size, self.size)
        present = torch.zeros(len(samples), dtype=torch.bool)
        for i, sample in enumerate(samples):
            if self.field in sample:
                pixels = torch.from_numpy(self._decode(sample)).permute(2, 0, 1)
                values[i], present[i] = pixels / 255, True
        return Modality(values, present)

    def _decode(self, sample: Sample) -> np.ndarray[Any, Any]:
        square = (self.size, self.size)
        try:
            with Image.open(io.BytesIO(sample[self.field]), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(f"{image.width} × {image.height} pixels are too many")
                image.draft("RGB", square)  # a JPEG can be decoded at a fraction of its size
                return np.array(image.convert("RGB").resize(square, Image.Resampling.BILINEAR))
        except Exception as error:  # damaged bytes can be wrong in any way
            raise malformed(sample, self.field, f"not a readable image ({error})") from error


class Cover(Encoder):
    """Cover images through a small convolutional net."""

    interface = 1
    fields: tuple[str, ...] = ("cover.bin",)
    # The pixels of many tracks would fit into memory, but the files that they come from may not,
    # and decoding takes longer than the net: the loader's workers do it, batch by batch.
    streamed = True

    def __init__(
        self,
        size: int = 64,
        channels: Sequence[int] = (32, 64, 128),
        dim: int = 128,
        dropout: float = 0.5,
        modality: str = "cover",
    ) -> None:
        """Convolutions, each of which halves the image, and a dense layer, which feeds fusion.

        Args:
            size: height and width in pixels that images are brought to, at least 8.
            channels: of the convolutions, at least one.
            dim: width of the dense layer.
            dropout: share of its units dropped while training.
            modality: folder of the shards: NAME in `coldstart shard --files.NAME FILE`.
        """
        super().__init__()
        if size < GRID:
            raise InputError(f"Cover: size {size} is less than {GRID}")
        if not channels or min(*channels, dim) < 1:
            raise InputError("Cover: channels are one width or more; each, and dim, at least 1")
        if not modality.isidentifier():
            raise InputError(f"Cover: modality {modality!r} can't be the name of a modality")
        self.size, self.channels, self.dim, self.dropout = size, tuple(channels), dim, dropout
        self.fields = (f"{modality}.bin",)

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers; they don't depend on the data."""
        layers: list[nn.Module] = []
        for before, after in pairwise((3, *self.channels)):
            # Over one image: a batch's statistics would count the zeros of tracks without one.
            norm = nn.GroupNorm(1, after)
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), norm, nn.ReLU()]
        dense = [nn.Linear(self.channels[-1], self.dim), nn.ReLU(), nn.Dropout(self.dropout)]
        self.net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *dense)

    def reader(self) -> ImageReader:
        """Reads images as squares of `size` pixels."""
        return ImageReader(self.fields[0], self.size)

    def encode(self, values: Tensor) -> Tensor:
        """[B, 3, size, size] → [B, dim]."""
        encoded: Tensor = self.net(values - 0.5)
        return encoded

    def describe(self, values: Tensor) -> Tensor:
        """The colours of a coarse grid: ridge could not take each pixel. → [B, 192]."""
        return F.adaptive_avg_pool2d(values, GRID).flatten(1)
