"""Opening a sound file by its content, with the decoder that reads it, and checks of its length."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile

from coldstart.audio import chunks, ffmpeg, mpeg, ogg
from coldstart.audio.mpeg import Prefixed
from coldstart.audio.sound import (
    BLOCK_SECONDS,
    LOST_SECONDS,
    AudioError,
    NumberFormat,
    Samples,
    Sound,
    check_end,
    check_rate,
    check_seconds,
)
from coldstart.files import StrPath, unusable

_LOST_FRAMES = 4  # of an mp3: its encoder's and decoder's delay, and the padding at its end

_NUMBERS: dict[str, NumberFormat] = {
    "FLOAT": "float",
    "DOUBLE": "float",
    "PCM_16": "pcm16",
    "PCM_24": "pcm24",
}

_HEADERLESS = (".raw", ".vox", ".gsm", ".g721", ".g723")
"""Endings by which libsndfile would take any content for samples without a header."""


@contextmanager
def opened(path: StrPath) -> Iterator[Sound]:
    """Open any file that libsndfile or, with the extra `ffmpeg`, FFmpeg reads.

    Raises:
        AudioError: missing, empty, not audio, truncated, or shorter than half a second.
    """
    path = Path(path)
    if reason := unusable(path):
        raise AudioError(reason)
    if path.stat().st_size == 0:
        raise AudioError("the file is empty (0 bytes)")
    with ExitStack() as stack:
        sound = _opened(path, stack)
        check_rate(sound.rate)
        yield sound


def _opened(path: Path, stack: ExitStack) -> Sound:
    """Open a file with the decoder that reads it; what is to be closed goes to the stack."""
    with path.open("rb") as file:
        kind = ffmpeg.kind_of(file.read(192))
    if kind:  # libsndfile would take an M4A that is called .mp3 for one
        return _by_ffmpeg(path, kind, 1.0, stack)
    share = chunks.share_of(path)
    try:
        return _by_libsndfile(path, share, stack)
    except soundfile.LibsndfileError as error:
        # For broken mp3s the library says that there is no such file.
        why = "" if "not exist" in error.error_string else f" ({error.error_string})"
        return _by_ffmpeg(path, f"not audio that can be decoded{why}", share, stack)


def _by_ffmpeg(path: Path, reason: str, share: float, stack: ExitStack) -> Sound:
    """Open a file, which has such a share of what it announces, with FFmpeg."""
    try:
        sound = stack.enter_context(ffmpeg.opened(path, reason))
    except OSError as error:  # a header that names places far beyond the end
        raise AudioError(f"damaged: can't be opened ({error.strerror})") from error
    return sound._replace(blocks=_to_the_end(sound, share))


def _to_the_end(sound: Sound, share: float) -> Iterator[Samples]:
    """The blocks, and whether they were as many as announced."""
    count = 0
    try:
        for block in sound.blocks:
            count += len(block)
            yield block
    except AudioError:
        raise
    except (ValueError, OSError) as error:  # such as a kind of samples that PyAV doesn't know
        raise AudioError(f"can't be decoded ({error})") from error
    _check_share(count / sound.rate, share)


def _check_share(seconds: float, share: float) -> None:
    """Raise AudioError if these seconds are so small a share of what the header announces."""
    if share < 1:
        check_end(seconds, seconds / max(share, 1e-9))


def _by_libsndfile(path: Path, share: float, stack: ExitStack) -> Sound:
    """Open a file, which has such a share of what it announces, with libsndfile."""
    content = stack.enter_context(path.open("rb"))
    size = path.stat().st_size
    whole = Prefixed(b"", content, 0, size)
    nameless = cast(BinaryIO, whole) if path.suffix.lower() in _HEADERLESS else path
    file = stack.enter_context(soundfile.SoundFile(nameless))
    if file.format == "MP3":
        return _mp3(file, path, content, stack)
    if file.format == "OGG":
        return _ogg(file, content, stack)
    _check_header(file)
    _check_share(file.frames / file.samplerate, share)
    _check_size(file, size)
    return _sound(file, _blocks(file, file.frames / file.samplerate, LOST_SECONDS))


def _sound(file: soundfile.SoundFile, blocks: Iterator[Samples]) -> Sound:
    numbers = _NUMBERS.get(file.subtype, "other")
    return Sound(file.samplerate, file.channels, numbers, blocks)


def _check_header(file: soundfile.SoundFile) -> None:
    seconds = file.frames / file.samplerate
    if file.frames == np.iinfo(np.int64).max:
        raise AudioError("its header doesn't say how long it is; encode it again")
    check_seconds(seconds)
    # Rare containers: the library reads what is there, and notes that it isn't all.
    if re.search(r"file seems to be truncated|seems to be a truncated file", file.extra_info, re.I):
        raise AudioError("truncated: the file ends before the end that its header announces")


def _check_size(file: soundfile.SoundFile, size: int) -> None:
    """A WAV's header counts its bytes up to 4 GiB, and begins again from 0."""
    bytes_each = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
    if file.format in ("WAV", "WAVEX") and size >= 1 << 32 and file.subtype in bytes_each:
        counted = file.frames * file.channels * bytes_each[file.subtype]
        if size - counted >= 1 << 32:
            raise AudioError(
                "it holds over 4 GiB more than its header says, which can't count so far; "
                "encode it as FLAC"
            )


def _blocks(file: soundfile.SoundFile, seconds: float, tolerance: float) -> Iterator[Samples]:
    """Read to the end; it must have this many seconds."""
    size = BLOCK_SECONDS * file.samplerate
    count = 0
    try:
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            count += len(block)
            yield np.asarray(block, np.float32)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"damaged: can't be decoded to its end ({error.error_string})") from error
    check_end(count / file.samplerate, seconds, tolerance)


def _mapped(content: BinaryIO, stack: ExitStack) -> mmap.mmap:
    return stack.enter_context(mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ))


def _mp3(file: soundfile.SoundFile, path: Path, content: BinaryIO, stack: ExitStack) -> Sound:
    """Without a correct count of frames, the library guesses the length, and stops there.

    So the frames are counted by their headers. An mp3 that doesn't count its frames, cut exactly
    between two of them, can't be distinguished from a complete one.
    """
    data = _mapped(content, stack)
    frames = mpeg.frames_of(data)
    seconds, tolerance = file.frames / file.samplerate, LOST_SECONDS
    if frames.first is None:  # of no fixed bit rate: they can't be counted
        _check_header(file)
        return _sound(file, _blocks(file, 0.0, 0.0))
    if not frames.counted and not frames.complete:
        raise AudioError("truncated: the file ends in the middle of the stream")
    if not frames.uniform:
        raise AudioError(
            "it is several mp3s in a row, of different sample rates or numbers of channels; "
            "encode it again"
        )
    tolerance += _LOST_FRAMES * frames.first.samples / frames.first.rate
    if frames.seconds - seconds > tolerance and frames.first.layer == 3:
        prefix = mpeg.counting_frame(frames, data)
        corrected = Prefixed(prefix, content, frames.start, len(data))
        file = stack.enter_context(soundfile.SoundFile(cast(BinaryIO, corrected)))
        seconds = frames.seconds
    elif frames.counted:
        tolerance = LOST_SECONDS  # the count, less delay and padding, is what is decoded
    else:
        seconds = frames.seconds
    check_seconds(seconds)
    return _sound(file, _blocks(file, seconds, tolerance))


def _ogg(file: soundfile.SoundFile, content: BinaryIO, stack: ExitStack) -> Sound:
    """The library reads the first of several streams in a row, and ignores an incomplete page."""
    data = _mapped(content, stack)
    if not ogg.is_complete(data):
        raise AudioError("truncated: the file ends in the middle of the stream")
    starts = ogg.links(data)
    if len(starts) <= 1:
        _check_header(file)
        return _sound(file, _blocks(file, file.frames / file.samplerate, LOST_SECONDS))
    ends = [*starts[1:], len(data)]
    parts = [Prefixed(b"", content, *ends_of) for ends_of in zip(starts, ends, strict=True)]
    return _sound(file, _chain(parts, file.samplerate, file.channels))


def _chain(parts: list[Prefixed], rate: int, channels: int) -> Iterator[Samples]:
    """The blocks of streams that follow one another."""
    for part in parts:
        with soundfile.SoundFile(cast(BinaryIO, part)) as file:
            if (file.samplerate, file.channels) != (rate, channels):
                raise AudioError(
                    "it is several streams in a row, of different sample rates or numbers of "
                    "channels; encode it again"
                )
            yield from _blocks(file, file.frames / file.samplerate, LOST_SECONDS)
