"""Spectrogram: the same net as `Audio`, on spectrograms that are stored in the shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coldstart.audio.codec import Buffer
from coldstart.audio.spectra import Settings, below_loudest, frames_of
from coldstart.encoders.audio import NetName, SpectrogramEncoder
from coldstart.encoders.patches import WindowReader
from coldstart.errors import InputError

FACTS = (*Settings._fields, "dtype", "step_db")
"""Keys of dataset.json that describe stored spectrograms."""


class FrameReader(WindowReader):
    """Windows of a stored spectrogram: values [B, frames, bins], of the type it is stored in."""

    def __init__(
        self,
        field: str,
        frames: int,
        info: Mapping[str, Any],
        fixed: int | None,
        hop: float,
        trim: float,
    ) -> None:
        self.bins, self.stored_type = info["bins"], info["dtype"]
        dtype = getattr(torch, self.stored_type)
        super().__init__(field, (frames, self.bins), dtype, info["frame_hop"], fixed, hop, trim)

    def length(self, content: Buffer) -> int:
        """Frames of the track."""
        return len(frames_of(content, self.bins, self.stored_type))

    def fill(self, row: Tensor, content: Buffer, start: int) -> None:
        """Copy a window, which is contiguous in the file."""
        frames = frames_of(content, self.bins, self.stored_type)[start : start + self.size]
        if len(frames) < self.size:
            frames = np.resize(frames, self.shape)
        row.numpy()[:] = frames


class StoredSpectrogram(nn.Module):
    """What is stored → spectrogram in dB below its loudest point, standardised per bin by `norm`.

    Args:
        bins: frequency bins.
        step_db: dB of a step of 1.
    """

    def __init__(self, bins: int, step_db: float) -> None:
        super().__init__()
        self.step_db = step_db
        self.norm = nn.BatchNorm1d(bins, affine=False)

    def decibels(self, values: Tensor) -> Tensor:
        """[B, frames, bins] → [B, bins, frames] in -80..0 dB relative to the patch's maximum."""
        return below_loudest(values.transpose(1, 2).float() * self.step_db)

    def forward(self, values: Tensor) -> Tensor:
        """[B, frames, bins] → [B, bins, frames], standardised per bin."""
        normed: Tensor = self.norm(self.decibels(values))
        return normed


class Spectrogram(SpectrogramEncoder):
    """Patches of stored spectrograms → convolutions → one vector: no decoding, no transform."""

    fields: tuple[str, ...] = ("cqt.npy",)

    def __init__(
        self,
        modality: str = "cqt",
        net: NetName = "dlrs",
        patch_seconds: float = 35.0,
        patches: int | None = None,
        hop: float = 0.5,
        trim: float = 0.0,
        dim: int = 512,
        dropout: float = 0.5,
    ) -> None:
        """An encoder of patches. Bins and hop between frames are those of the shards.

        Args:
            modality: folder of the shards, as `coldstart shard --store cqt` has written it.
            net: `dlrs`, the full-size net of the talk's sister paper; `small`, for CPUs; or
                `statistics`, for few tracks: a dense layer on statistics over time.
            patch_seconds: length of a patch.
            patches: while training, this many patches a track at fixed places (the talk: 3);
                by default one at a random place, another one each epoch.
            hop: at evaluation, distance between the starts of windows, as a share of a patch.
            trim: at evaluation, this share is left out at both ends of the track.
            dim: width of the vector that fusion gets.
            dropout: share of units dropped while training.
        """
        super().__init__()
        self._set_windows(patch_seconds, patches, hop, trim)
        if dim < 1:
            raise InputError("Spectrogram: dim must be above 0")
        self.fields = (f"{modality}.npy",)
        self.net_name, self.dim, self.dropout = net, dim, dropout

    spectrogram: StoredSpectrogram

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for spectrograms of `info["bins"]` bins."""
        if "transform" not in info:
            raise InputError(
                f"{self.fields[0]}: these are no spectrograms; `coldstart shard --store cqt` "
                "writes some, into the folder 'cqt'"
            )
        self.facts = {key: info[key] for key in FACTS}
        self.samples = int(self.patch_seconds * info["sample_rate"])
        self.frames = self.samples // info["frame_hop"] + 1
        self.spectrogram = StoredSpectrogram(info["bins"], info["step_db"])
        self._build_net(self.net_name, info["bins"], self.frames, self.dropout)

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The spectrograms must have the settings that the net was built for."""
        for key in FACTS:
            if info.get(key) != built_from[key]:
                raise InputError(
                    f"{self.fields[0]}: the model was trained on spectrograms with {key} "
                    f"{built_from[key]}, the dataset's have {info.get(key)}; shard the audio "
                    "again as it was then"
                )

    def reader(self) -> FrameReader:
        """Reads windows of `patch_seconds`."""
        return FrameReader(
            self.fields[0], self.frames, self.facts, self.patches, self.hop, self.trim
        )
