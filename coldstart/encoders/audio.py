"""Audio: a spectrogram inside the model, then convolutions over time (rows 3 and 4 of the talk)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from coldstart.audio.spectra import Decibels, Settings, below_loudest
from coldstart.encoders.patches import PatchEncoder, waveform
from coldstart.errors import InputError


class LogSpectrogram(nn.Module):
    """Waveform → spectrogram in dB below its loudest point, standardised per bin by `norm`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.transform = Decibels(settings)
        self.norm = nn.BatchNorm1d(settings.bins, affine=False)

    def decibels(self, wave: Tensor) -> Tensor:
        """[B, samples] → [B, bins, frames] in -80..0 dB relative to the patch's maximum."""
        return below_loudest(self.transform(waveform(wave)))

    def forward(self, wave: Tensor) -> Tensor:
        """[B, samples] → [B, bins, frames], standardised per bin."""
        normed: Tensor = self.norm(self.decibels(wave))
        return normed


class DLRSNet(nn.Module):
    """The convolutions of Oramas et al., DLRS 2017: over time, with wide filters over frequency.

    256, 512, 1024, 1024 filters of (4 frames × 70 bins), (4 × 6), (4 × 1), (1 × 1); max-pooling by
    4 in time after the first three; ReLU, dropout; flattened.

    Args:
        bins: frequency bins, at least 75.
        frames: frames of a patch, at least 127.
        dropout: share dropped after each convolution while training.
    """

    FILTERS = ((256, 4, 70, 4), (512, 4, 6, 4), (1024, 4, 1, 4), (1024, 1, 1, 1))

    def __init__(self, bins: int, frames: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for filters, time, frequency, pool in self.FILTERS:
            bins, frames = bins - frequency + 1, (frames - time + 1) // pool
            if bins < 1 or frames < 1:
                raise InputError(
                    "the full-size net needs at least 75 bins and 127 frames (6 s at the default "
                    "rate and hop); take longer patches, or net: small"
                )
            layers += [nn.Conv2d(channels, filters, (time, frequency)), nn.ReLU()]
            layers += [nn.MaxPool2d((pool, 1)), nn.Dropout(dropout)]
            channels = filters
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.dim = channels * bins * frames

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, bins, frames] → [B, dim]."""
        out: Tensor = self.layers(spectrogram.transpose(1, 2)[:, None])
        return out


class SmallNet(nn.Module):
    """For CPUs: three 1-d convolutions over time, then mean, maximum and spread over time.

    Args:
        bins: frequency bins.
        frames: frames of a patch, at least 40.
        dropout: not used in the convolutions, which have few weights.
    """

    def __init__(self, bins: int, frames: int, dropout: float) -> None:
        super().__init__()
        if frames < 40:
            raise InputError("the small net needs at least 40 frames; take longer patches")
        self.layers = nn.Sequential(
            nn.Conv1d(bins, 64, 4, padding=2),
            nn.BatchNorm1d(64),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(64, 96, 4, padding=2),
            nn.BatchNorm1d(96),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(96, 128, 4, padding=2),
            nn.BatchNorm1d(128),
            nn.ReLU(),
        )
        self.dim = 3 * 128

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, bins, frames] → [B, dim]."""
        hidden = self.layers(spectrogram)
        return torch.cat([hidden.mean(2), hidden.amax(2), hidden.std(2)], dim=1)


class StatisticsNet(nn.Module):
    """For few tracks: statistics over time instead of convolutions, so that nothing is learnt here.

    Of each bin, mean, spread and mean change between frames (as McDermott and Simoncelli, Neuron
    2011, describe textures of sound); and how much the level of groups of bins rises how often, as
    a spectrum of its rises: tempo, and how busy the music is (after Tzanetakis and Cook, IEEE TSAP
    2002). Pooling by mean and spread before dense layers is that of the x-vectors (Snyder et al.,
    ICASSP 2018).

    Args:
        bins: frequency bins.
        frames: frames of a patch, at least 40.
        dropout: not used: there is nothing to drop.
    """

    GROUPS = 8  # of neighbouring bins
    BANDS = 16  # of the spectrum of rises, evenly spaced in log frequency
    SLOWEST = 3  # cycles a patch; the fastest is half the frame rate
    _FLOOR = 1e-6  # power; where nothing rises there is no logarithm

    def __init__(self, bins: int, frames: int, dropout: float) -> None:
        super().__init__()
        if frames < 40:
            raise InputError("the net 'statistics' needs at least 40 frames; take longer patches")
        self.groups = min(self.GROUPS, bins)
        rises = frames - 1
        edges = np.ceil(np.geomspace(self.SLOWEST, rises // 2 + 1, self.BANDS + 1) - 1e-9)
        self.edges: list[int] = np.unique(edges.astype(int)).tolist()
        self.register_buffer("window", torch.hann_window(rises), persistent=False)
        self.dim = 3 * bins + self.groups * (len(self.edges) - 1)
        self.norm = nn.BatchNorm1d(self.dim, affine=False)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, bins, frames] → [B, dim], each standardised."""
        # Not in half precision: FFTs on a CPU have none.
        with torch.autocast(spectrogram.device.type, enabled=False):
            level = spectrogram.float()
            change = level.diff(dim=2)
            parts = [level.mean(2), level.std(2), change.abs().mean(2), *self._rhythm(level)]
            statistics = torch.cat(parts, dim=1)
            # A batch of one track has no spread.
            norm = self.norm.train(self.training and len(statistics) > 1)
            normed: Tensor = norm(statistics)
        return normed

    def _rhythm(self, level: Tensor) -> list[Tensor]:
        """Log power of the rises of each group of bins, in bands of their frequency: [B, groups]
        each.
        """
        groups = [bins.mean(1) for bins in level.tensor_split(self.groups, dim=1)]
        rises = torch.stack(groups, 1).diff(dim=2).clamp_min(0)
        rises = (rises - rises.mean(2, keepdim=True)) * self.get_buffer("window")
        power = torch.fft.rfft(rises).abs().square() / rises.shape[2]
        return [
            torch.log10(power[:, :, first:end].mean(2) + self._FLOOR)
            for first, end in pairwise(self.edges)
        ]


NetName = Literal["dlrs", "small", "statistics"]

NETS: dict[NetName, type[DLRSNet] | type[SmallNet] | type[StatisticsNet]] = {
    "dlrs": DLRSNet,
    "small": SmallNet,
    "statistics": StatisticsNet,
}


class SpectrogramEncoder(PatchEncoder):
    """Spectrogram → convolutions → one vector: what `Audio` and `Spectrogram` have in common.

    A subclass's `build` sets `spectrogram`, which has `decibels` and a `forward`, and calls
    `_build_net`. Both subclasses give their weights the same names, so that a state dict of one can
    be loaded into the other.
    """

    spectrogram: nn.Module

    def _build_net(self, net: NetName, bins: int, frames: int, dropout: float) -> None:
        """Make the layers after the spectrogram, for patches of `frames` frames."""
        convolutions = NETS[net](bins, frames, dropout)
        self.net: nn.Module = convolutions
        self.out = nn.Sequential(
            nn.Linear(convolutions.dim, self.dim), nn.ReLU(), nn.Dropout(dropout)
        )

    def encode(self, values: Tensor) -> Tensor:
        """[B, …] as the reader gives them → [B, dim]."""
        encoded: Tensor = self.out(self.net(self.spectrogram(values)))
        return encoded

    def describe(self, values: Tensor) -> Tensor:
        """Mean and spread of each bin's level over the patch. [B, …] → [B, 2 · bins]."""
        level = self.spectrogram.decibels(values)  # type: ignore[operator]
        return torch.cat([level.mean(2), level.std(2)], dim=1)


class Audio(SpectrogramEncoder):
    """Patches of sound → spectrogram → convolutions → one vector (rows 3 and 4 of the talk)."""

    def __init__(
        self,
        net: NetName = "dlrs",
        spectrogram: Literal["cqt", "mel"] = "cqt",
        patch_seconds: float = 35.0,
        patches: int | None = None,
        hop: float = 0.5,
        trim: float = 0.0,
        bins: int = 96,
        fmin: float = 32.7,
        frame_hop: int = 1024,
        dim: int = 512,
        dropout: float = 0.5,
    ) -> None:
        """An encoder of patches.

        Args:
            net: `dlrs`, the full-size net of the talk's sister paper; `small`, for CPUs; or
                `statistics`, for few tracks: a dense layer on statistics over time.
            spectrogram: `cqt` (constant-Q, 12 bins an octave) or `mel`, computed in the model.
            patch_seconds: length of a patch.
            patches: while training, this many patches a track at fixed places (the talk: 3);
                by default one at a random place, another one each epoch.
            hop: at evaluation, distance between the starts of windows, as a share of a patch.
            trim: at evaluation, this share is left out at both ends of the track.
            bins: frequency bins.
            fmin: Hz of the lowest bin.
            frame_hop: samples between frames.
            dim: width of the vector that fusion gets.
            dropout: share of units dropped while training.
        """
        super().__init__()
        self._set_windows(patch_seconds, patches, hop, trim)
        if min(bins, fmin, frame_hop, dim) <= 0:
            raise InputError("Audio: bins, fmin, frame_hop and dim must be above 0")
        self.net_name, self.transform = net, spectrogram
        self.bins, self.fmin, self.frame_hop = bins, fmin, frame_hop
        self.dim, self.dropout = dim, dropout

    spectrogram: LogSpectrogram

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for audio of `info["sample_rate"]` Hz."""
        rate = int(info["sample_rate"])
        self.samples = int(self.patch_seconds * rate)
        self.spectrogram = LogSpectrogram(
            Settings(self.transform, rate, self.frame_hop, self.bins, self.fmin)
        )
        shortest = self.spectrogram.transform.shortest
        if self.samples < shortest:
            raise InputError(
                f"Audio: patches of {self.samples} samples are too short for this spectrogram; it "
                f"needs {shortest} at least"
            )
        self._build_net(self.net_name, self.bins, self.samples // self.frame_hop + 1, self.dropout)
