"""Waveform: convolutions over the samples themselves, without a spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from coldstart.encoders.patches import PatchEncoder, waveform
from coldstart.errors import InputError


class SampleNet(nn.Module):
    """Strided convolution, then blocks of convolution, BatchNorm, ReLU and max-pooling.

    At the end, mean and maximum over time, so that a patch may have any length.

    Attributes:
        FIRST: filters, width and stride of the first layer, in samples.
        BLOCKS: filters, width and pooling of each block.
        shortest: samples of the shortest patch: one step remains after the last block.
    """

    FIRST: ClassVar[tuple[int, int, int]]
    BLOCKS: ClassVar[tuple[tuple[int, int, int], ...]]

    def __init__(self) -> None:
        super().__init__()
        channels, width, stride = self.FIRST
        layers: list[nn.Module] = [nn.Conv1d(1, channels, width, stride)]
        layers += [nn.BatchNorm1d(channels), nn.ReLU()]
        steps = 1
        for filters, taps, pool in self.BLOCKS:
            layers += [nn.Conv1d(channels, filters, taps, padding=taps // 2)]
            layers += [nn.BatchNorm1d(filters), nn.ReLU(), nn.MaxPool1d(pool)]
            channels, steps = filters, steps * pool
        self.layers = nn.Sequential(*layers)
        self.shortest = width + (steps - 1) * stride
        self.dim = 2 * channels

    def forward(self, wave: Tensor) -> Tensor:
        """[B, samples] → [B, dim]."""
        hidden = self.layers(wave[:, None])
        return torch.cat([hidden.mean(2), hidden.amax(2)], dim=1)


class FullNet(SampleNet):
    """The 3^9 net of Lee et al., SMC 2017: from 59,049 samples (2.7 s at 22,050 Hz) on."""

    FIRST = (128, 3, 3)
    BLOCKS = (*[(128, 3, 3)] * 2, *[(256, 3, 3)] * 6, (512, 3, 3))


class SmallWaveformNet(SampleNet):
    """For CPUs: a first layer with a large stride replaces the full-size net's first blocks."""

    FIRST = (64, 243, 81)
    BLOCKS = ((64, 3, 3), (96, 3, 3), (128, 3, 3))


NETS: dict[str, type[SampleNet]] = {"sample": FullNet, "small": SmallWaveformNet}


class Waveform(PatchEncoder):
    """Patches of sound → convolutions over the samples → one vector (row 8 of the talk)."""

    BANDS = 40
    FRAME = 2048  # samples

    def __init__(
        self,
        net: Literal["sample", "small"] = "sample",
        patch_seconds: float = 10.0,
        patches: int | None = None,
        hop: float = 0.5,
        trim: float = 0.0,
        dim: int = 512,
        dropout: float = 0.5,
    ) -> None:
        """An encoder of patches.

        Args:
            net: `sample`, full-size after Lee et al. 2017, with a first layer of stride 3; or
                `small`, for CPUs, with a first layer of stride 81.
            patch_seconds: length of a patch.
            patches: while training, this many patches a track at fixed places; by default one at
                a random place, another one each epoch.
            hop: at evaluation, distance between the starts of windows, as a share of a patch.
            trim: at evaluation, this share is left out at both ends of the track.
            dim: width of the vector that fusion gets.
            dropout: share of units dropped while training.
        """
        super().__init__()
        self._set_windows(patch_seconds, patches, hop, trim)
        if dim < 1:
            raise InputError("Waveform: dim must be above 0")
        self.net_name, self.dim, self.dropout = net, dim, dropout

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for audio of `info["sample_rate"]` Hz."""
        rate = int(info["sample_rate"])
        self.samples = int(self.patch_seconds * rate)
        net = NETS[self.net_name]()
        if self.samples < net.shortest:
            raise InputError(
                f"Waveform: patches of {self.samples} samples are too short for the net "
                f"'{self.net_name}', which needs {net.shortest}: at {rate} Hz, patch_seconds of "
                f"{net.shortest / rate + 0.005:.2f} or more"
            )
        self.net: nn.Module = net
        self.out = nn.Sequential(nn.Linear(net.dim, self.dim), nn.ReLU(), nn.Dropout(self.dropout))

    def encode(self, values: Tensor) -> Tensor:
        """[B, samples] → [B, dim]."""
        encoded: Tensor = self.out(self.net(waveform(values)))
        return encoded

    @torch.no_grad()
    def describe(self, values: Tensor) -> Tensor:
        """Mean and spread over frames of each band's level. [B, samples] → [B, 2 · bands].

        A plain FFT without learning: the simple rivals can't use the samples themselves, whose
        positions mean nothing. About 40 bands, evenly spaced in log frequency, in -80..0 dB
        relative to the patch's loudest.
        """
        size = min(self.FRAME, self.samples)
        # Not in half precision: 80 dB of power don't fit.
        with torch.autocast(values.device.type, enabled=False):
            frames = waveform(values).float().unfold(1, size, size)
            window = torch.hann_window(size, device=values.device)
            power = torch.fft.rfft(frames * window).abs().square()[..., 1:]
            edges = (
                np.unique(np.geomspace(1, size // 2 + 1, self.BANDS + 1).round().astype(int)) - 1
            )
            bands = [power[..., a:b].mean(2) for a, b in pairwise(edges.tolist())]
            level = 10 * torch.log10(torch.stack(bands, 1).clamp_min(1e-10))
            level = (level - level.amax((1, 2), keepdim=True)).clamp_min(-80.0)
        return torch.cat([level.mean(2), level.std(2, correction=0)], dim=1)
