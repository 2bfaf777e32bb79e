"""Audio bytes in and out: any file → mono FLAC at one rate, and windows of such sound."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from coldstart.audio.mono import SAMPLE_RATE, Finding, blocks, encoded
from coldstart.audio.pcm import Pcm
from coldstart.audio.sound import AudioError, Samples
from coldstart.files import StrPath

__all__ = [
    "SAMPLE_RATE",
    "AudioError",
    "Buffer",
    "Pcm",
    "Samples",
    "blocks",
    "flac_of",
    "length",
    "to_flac",
    "window",
]

Buffer = bytes | memoryview


def to_flac(path: StrPath, rate: int = SAMPLE_RATE) -> bytes:
    """Transcode a file to mono 16-bit FLAC at `rate` Hz, in memory.

    Raises:
        AudioError: missing, empty, not audio, truncated, shorter than half a second, or silent.
    """
    return flac_of(path, rate)[0]


def flac_of(path: StrPath, rate: int) -> tuple[bytes, Finding]:
    """As `to_flac`, and what the file is like."""

    def encode(samples: Iterator[Samples]) -> bytes:
        buffer = io.BytesIO()
        with soundfile.SoundFile(
            buffer, "w", samplerate=rate, channels=1, format="FLAC", subtype="PCM_16"
        ) as flac:
            for block in samples:
                flac.write(block)
        return buffer.getvalue()

    return encoded(path, rate, encode)


class _File(io.RawIOBase):
    """Bytes, or a view of a mapped file, as a file that the decoder reads; nothing is copied."""

    def __init__(self, content: Buffer) -> None:
        self.content, self.position = memoryview(content), 0

    def readinto(self, buffer: Any) -> int:
        piece = self.content[self.position : self.position + len(buffer)]
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = (0, self.position, len(self.content))[whence] + offset
        return self.position

    def tell(self) -> int:
        return self.position


def length(sound: Buffer | Pcm) -> int:
    """Number of samples; of a FLAC only its header is read, without a decoder.

    Raises:
        ValueError: not a FLAC.
    """
    if isinstance(sound, Pcm):
        return len(sound)
    if sound[:4] != b"fLaC" or len(sound) < 26:
        raise ValueError("not a readable FLAC (it doesn't begin like one)")
    return int.from_bytes(sound[18:26]) & (1 << 36) - 1  # RFC 9639: 36 bits of STREAMINFO


def window(sound: Buffer | Pcm, start: int, out: NDArray[np.int16]) -> None:
    """Decode the samples from `start` on into `out`, and nothing else.

    A track shorter than the window is repeated until the window is full.

    Args:
        sound: the whole FLAC, or samples.
        start: the first sample.
        out: [samples], filled by this function; 2^15 is full scale.

    Raises:
        ValueError: not a FLAC, or a damaged one.
    """
    count = sound.read(start, out) if isinstance(sound, Pcm) else _decoded(sound, start, out)
    if count < len(out):
        out[count:] = np.resize(out[:count], len(out) - count)


def _decoded(flac: Buffer, start: int, out: NDArray[np.int16]) -> int:
    """Decode into `out`; gives how many samples there were."""
    try:
        with soundfile.SoundFile(cast(BinaryIO, _File(flac))) as file:
            file.seek(start)
            count = len(file.read(out=out))
            complete = count >= max(1, min(len(out), file.frames - start))
    except RuntimeError as error:
        raise ValueError(f"not a readable FLAC ({error})") from error
    if not complete:
        raise ValueError("not a readable FLAC (it ends too early)")
    return count
