"""Audio bytes in and out: any file → mono FLAC at one rate, and windows of such a FLAC."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from coldstart.files import StrPath

Samples = NDArray[np.float32]

SAMPLE_RATE = 22_050
"""Hz. What the talk's net hears; the shards' default."""

MIN_SECONDS = 0.5
_BLOCK_SECONDS = 20
_SILENCE = 1e-4  # -80 dBFS, below the noise floor of any recording


class AudioError(ValueError):
    """This audio can't be used; the message is the reason alone, without the file's name."""


def blocks(path: StrPath, rate: int = SAMPLE_RATE) -> Iterator[Samples]:
    """Decode any file that libsndfile reads, as mono float32 blocks at `rate` Hz.

    Memory stays flat however long the file is.

    Raises:
        AudioError: missing, empty, not audio, truncated, or shorter than half a second.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError("there is no such file")
    if path.stat().st_size == 0:
        raise AudioError("the file is empty (0 bytes)")
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames < MIN_SECONDS * file.samplerate:
                raise AudioError(
                    f"only {file.frames / file.samplerate:.2f} s long (at least {MIN_SECONDS} s)"
                )
            yield from _resampled(file, rate)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"not audio that can be decoded ({error.error_string})") from error


def _resampled(file: soundfile.SoundFile, rate: int) -> Iterator[Samples]:
    stream = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
    done = 0
    while done < file.frames:
        want = min(_BLOCK_SECONDS * file.samplerate, file.frames - done)
        block = file.read(want, dtype="float32", always_2d=True)
        done += len(block)
        if not np.isfinite(block).all():
            raise AudioError("it holds samples that are no finite numbers")
        if len(block) < want:
            had, full = done / file.samplerate, file.frames / file.samplerate
            raise AudioError(f"truncated: {had:.1f} s of {full:.1f} s can be decoded")
        mono = block.mean(axis=1)
        if file.samplerate == rate:
            yield mono
        else:
            yield stream.resample_chunk(mono, last=done == file.frames)


def to_flac(path: StrPath, rate: int = SAMPLE_RATE) -> bytes:
    """Transcode a file to mono 16-bit FLAC at `rate` Hz, in memory.

    Raises:
        AudioError: as in `blocks`, or silent.
    """
    buffer, peak = io.BytesIO(), 0.0
    with soundfile.SoundFile(
        buffer, "w", samplerate=rate, channels=1, format="FLAC", subtype="PCM_16"
    ) as flac:
        for block in blocks(path, rate):
            peak = max(peak, float(np.abs(block).max(initial=0)))
            flac.write(np.clip(block, -1, 1))  # lossy files decode to a little over full scale
    if peak < _SILENCE:
        raise AudioError("silent: no sample is louder than -80 dBFS")
    return buffer.getvalue()


def length(flac: bytes) -> int:
    """Number of samples in a FLAC; reads its header only."""
    return int(soundfile.info(io.BytesIO(flac)).frames)


def window(flac: bytes, start: int, samples: int) -> Samples:
    """Decode `samples` samples from `start` on, and nothing else.

    A track shorter than the window is repeated until the window is full.

    Returns:
        [samples] float32 in -1..1.
    """
    with soundfile.SoundFile(io.BytesIO(flac)) as file:
        file.seek(start)
        heard = np.asarray(file.read(samples, dtype="float32"), dtype=np.float32)
    return heard if len(heard) == samples else np.resize(heard, samples)
