"""Spectrograms in dB: computed inside a net of sound, or beforehand and stored in the shards.

A stored spectrogram is an .npy array [frames, bins], in dB below the track's loudest point. A
window of it is contiguous in the file. In 8 bits a step is half a decibel: 255 is the loudest
point, 0 is 127.5 dB below it, or lower.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from coldstart.audio.codec import Buffer
from coldstart.audio.mono import Finding, encoded
from coldstart.audio.sound import Samples
from coldstart.errors import InputError
from coldstart.files import StrPath

TransformKind = Literal["cqt", "mel"]

TOP_DB = 80.0
"""Levels this far below the loudest point of a patch, or further, are the same to a net."""

STEPS = {"uint8": 0.5, "float16": 1.0}
"""Type of a stored spectrogram → dB of a step of 1."""

RANGE_DB = 127.5  # 255 steps of 8 bits; the quietest part of a record is some 50 dB below its peak


_FFT = 2048  # samples; a mel spectrogram's window


_CPU_SAMPLES = 3_200_000  # that are transformed at once on a CPU


_FLOOR = 1e-10  # smallest magnitude; digital silence has no logarithm


class Settings(NamedTuple):
    """What a spectrogram's values depend on.

    Attributes:
        transform: `cqt` (constant-Q, 12 bins an octave) or `mel`.
        sample_rate: Hz.
        frame_hop: samples between frames.
        bins: frequency bins.
        fmin: Hz of the lowest bin.
    """

    transform: TransformKind
    sample_rate: int
    frame_hop: int
    bins: int
    fmin: float


def check_settings(settings: Settings) -> None:
    """Raise InputError if there is no such spectrogram."""
    kind, rate, hop, bins, fmin = settings
    if min(hop, bins, fmin) <= 0:
        raise InputError("frame_hop, bins and fmin must be above 0")
    if hop > rate:
        raise InputError(
            f"frame_hop: {hop:,} samples between two frames are more than a second, so that most "
            "of the sound would be in no frame; the usual ones are 256 to 2,048"
        )
    top = fmin * 2 ** min(bins / 12, 99) if kind == "cqt" else fmin
    if kind == "mel" and bins > _FFT // 2:
        raise InputError(f"{bins:,} mel bins are more than a window's {_FFT // 2:,} frequencies")
    if top > rate / 2:
        raise InputError(
            f"{bins} {kind} bins from {fmin} Hz reach {top:,.0f} Hz, above half the sample rate "
            f"({rate / 2:,.0f} Hz); take fewer bins, or a lower fmin"
        )


class ConstantQ(nn.Module):
    """nnAudio's CQT1992v2, octave by octave: high bins have short kernels; so it needs a third of
    the time.

    Attributes:
        width: samples that a frame depends on.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        from nnAudio.features import CQT1992v2

        _, rate, self.hop, bins, fmin = settings
        cqt = CQT1992v2(
            sr=rate,
            hop_length=self.hop,
            fmin=fmin,
            n_bins=bins,
            bins_per_octave=12,
            verbose=False,
        )
        self.width: int = cqt.kernel_width
        parts = [cqt.get_buffer(f"cqt_kernels_{part}") for part in ("real", "imag")]
        waves = torch.cat(parts, 1) * cqt.get_buffer("lenghts").sqrt()[:, None, None]
        self.first: list[int] = []
        for number, octave in enumerate(waves.split(12)):
            nonzero = octave.abs().amax((0, 1)).nonzero()
            self.first.append(int(nonzero.min()))
            kernel = octave[:, :, self.first[-1] : int(nonzero.max()) + 1].flatten(0, 1)
            # The kernels follow from the settings: a checkpoint needs no copy of these megabytes.
            self.register_buffer(f"octave{number}", kernel[:, None], persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """[B, samples] → magnitudes [B, bins, frames]."""
        frames = (wave.shape[1] - self.width) // self.hop + 1
        octaves = []
        for number, first in enumerate(self.first):
            kernel = self.get_buffer(f"octave{number}")
            part = wave[:, None, first : first + (frames - 1) * self.hop + kernel.shape[2]]
            parts = F.conv1d(part, kernel, stride=self.hop).unflatten(1, (-1, 2))
            octaves.append(parts.square().sum(2).sqrt())
        return torch.cat(octaves, 1)


class Mel(nn.Module):
    """nnAudio's mel spectrogram, by an FFT instead of convolutions, in a seventh of the time.

    Attributes:
        width: samples that a frame depends on.
    """

    width = _FFT

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        from nnAudio.utils import get_mel

        _, rate, self.hop, bins, fmin = settings
        basis = torch.from_numpy(get_mel(rate, _FFT, bins, fmin, None))
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """[B, samples] → magnitudes [B, bins, frames]."""
        window = self.get_buffer("window")
        bands = torch.stft(wave, _FFT, self.hop, window=window, center=False, return_complex=True)
        return (self.get_buffer("basis") @ bands.abs().square()).clamp_min(_FLOOR).sqrt()


TRANSFORMS: dict[str, type[ConstantQ] | type[Mel]] = {"cqt": ConstantQ, "mel": Mel}


class Decibels(nn.Module):
    """Waveform → spectrogram in dB. The first frame is centred on the first sample.

    Attributes:
        margin: samples before and after its centre that a frame depends on.
        shortest: samples of the shortest possible waveform; it is padded by reflection.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        check_settings(settings)
        self.settings = settings
        self.transform = TRANSFORMS[settings.transform](settings)
        self.margin = self.transform.width // 2
        self.shortest = self.margin + 1

    @torch.no_grad()
    def forward(self, wave: Tensor, pad: bool = True) -> Tensor:
        """[B, samples] → [B, bins, frames]. The level of 0 dB has no meaning.

        Args:
            wave: in -1..1.
            pad: false if `wave` has the margins already.
        """
        # Not in half precision: 80 dB of power don't fit.
        with torch.autocast(wave.device.type, enabled=False):
            padded = wave.float()
            if pad:
                padded = F.pad(padded[:, None], (self.margin,) * 2, mode="reflect")[:, 0]
            # A CPU's caches hold a few patches: 64 of 35 s at once take more than twice the time.
            count = max(1, _CPU_SAMPLES // padded.shape[1])
            parts = padded.split(count) if wave.device.type == "cpu" else [padded]
            levels = [20 * torch.log10(self.transform(part).clamp_min(_FLOOR)) for part in parts]
        return levels[0] if len(levels) == 1 else torch.cat(levels)


def below_loudest(level: Tensor) -> Tensor:
    """[B, bins, frames] in dB → in -80..0 dB relative to the patch's loudest point.

    >>> below_loudest(torch.tensor([[[10.0, 4.0, -90.0]]])).tolist()
    [[[0.0, -6.0, -80.0]]]
    """
    return (level - level.amax((1, 2), keepdim=True)).clamp_min(-TOP_DB)


# Storing


def to_spectrogram(path: StrPath, settings: Settings, dtype: str) -> bytes:
    """Decode and transform a file block by block → .npy of [frames, bins].

    Raises:
        AudioError: as in `to_flac`.
    """
    return spectrogram_of(path, settings, dtype)[0]


def spectrogram_of(path: StrPath, settings: Settings, dtype: str) -> tuple[bytes, Finding]:
    """As `to_spectrogram`, and what the file is like."""
    return encoded(path, settings.sample_rate, functools.partial(_encode, settings, dtype))


def _encode(settings: Settings, dtype: str, blocks: Iterator[Samples]) -> bytes:
    decibels = _decibels(settings)
    pieces = _pieces(blocks, decibels)
    level = np.concatenate(
        [decibels(torch.from_numpy(piece)[None], pad=False)[0].T.numpy() for piece in pieces]
    )
    # In place: an hour of sound is 30 MB.
    level -= level.max()
    np.maximum(level, -RANGE_DB, out=level)
    if dtype == "uint8":
        level += RANGE_DB
        level /= STEPS[dtype]
        np.rint(level, out=level)
    frames, bins = level.shape
    return _header(frames, bins, dtype) + bytes(level.astype(dtype).data)


@functools.lru_cache(maxsize=4)
def _decibels(settings: Settings) -> Decibels:
    """Kept, for kernels take a second to compute and a process needs them for each of its files."""
    return Decibels(settings)


def _pieces(blocks: Iterable[Samples], decibels: Decibels) -> Iterator[Samples]:
    """A stream of samples → pieces that overlap so that each gives whole frames, with margins.

    The frames are the same as of the whole stream, padded by reflection at both ends.
    """
    width, hop = decibels.transform.width, decibels.settings.frame_hop
    buffer, skip = np.zeros(0, np.float32), 0
    for block in _reflected(blocks, decibels.margin):
        buffer = np.concatenate([buffer, block[skip:]])
        skip = max(0, skip - len(block))
        frames = max(0, (len(buffer) - width) // hop + 1)
        if frames:
            yield buffer[: (frames - 1) * hop + width]
            skip = max(0, frames * hop - len(buffer))  # frames need not overlap
            buffer = buffer[frames * hop :]


def _reflected(blocks: Iterable[Samples], margin: int) -> Iterator[Samples]:
    """The stream with its ends reflected; one shorter than the margin is repeated first."""
    stream = iter(blocks)
    head = next(stream)
    while len(head) <= margin and (block := next(stream, None)) is not None:
        head = np.concatenate([head, block])
    if len(head) <= margin:
        head = np.resize(head, margin + 1)
    yield head[margin:0:-1]
    yield head
    last = head
    for block in stream:
        yield block
        last = np.concatenate([last, block])[-margin - 1 :]
    yield last[-2 : -margin - 2 : -1]


def frames_of(content: Buffer, bins: int, dtype: str) -> NDArray[Any]:
    """A stored spectrogram as [frames, bins], without copying it.

    Its header must be exactly the one that we write: quicker than parsing it, and safe.

    Raises:
        ValueError: it is something else.
    """
    size = 10 + int.from_bytes(content[8:10], "little")
    frames, rest = divmod(max(0, len(content) - size), bins * np.dtype(dtype).itemsize)
    if rest or not frames or content[:size] != _header(frames, bins, dtype):
        raise ValueError(f"not an .npy of {dtype} [frames, {bins}], or cut off")
    return np.frombuffer(content, dtype, offset=size).reshape(frames, bins)


@functools.lru_cache(maxsize=4096)
def _header(frames: int, bins: int, dtype: str) -> bytes:
    """The header of an .npy of this shape."""
    header = io.BytesIO()
    description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (frames, bins)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()
