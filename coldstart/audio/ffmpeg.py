"""Files that libsndfile doesn't read, by FFmpeg: AAC, ALAC, Windows Media, the sound of videos.

FFmpeg's libraries come with PyAV, which is an extra: `coldstart[ffmpeg]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from coldstart.audio.sound import (
    BLOCK_SECONDS,
    LOST_SECONDS,
    AudioError,
    NumberFormat,
    Samples,
    Sound,
    check_end,
    check_seconds,
)

_DEMUXERS = (
    "mov,matroska,asf,avi,flv,mpegts,mpeg,ogg,aac,loas,ac3,eac3,ape,wv,tta,dsf,iff,amr,wav,w64,"
    "aiff,caf,au,dts,mpc,mpc8,tak,rm,shn,mxf"
)
"""What is tried: containers of sound. Not playlists and scripts, which name other files."""

_MAGIC = (  # offset, bytes, what it is
    (4, b"ftyp", "an MP4 or M4A file (AAC, ALAC, Opus)"),
    (4, b"moov", "a QuickTime file"),
    (4, b"mdat", "a QuickTime file"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
    (8, b"AVI ", "an AVI video"),
    (0, b"FLV\x01", "a Flash video"),
    (0, b"\x00\x00\x01\xba", "an MPEG video"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"TTA1", "a True Audio file"),
    (0, b"DSD ", "a DSD file"),
    (0, b"FRM8", "a DSD file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"MPCK", "a Musepack file"),
    (0, b"MP+", "a Musepack file"),
)

_SHARED = (b"OggS", b"RIFF")
"""Containers that libsndfile reads too, with most codecs."""


_EXACT = ("mov", "asf", "matroska", "wv", "ape", "tta", "flv", "wav", "w64", "aiff", "caf")
"""Demuxers that know a file's length; others guess it from the bit rate."""

_LOST_FRAMES, _LOST_AT_MOST = 4, 0.4  # an encoder's delay and the padding at the end; seconds

_BAD_PACKETS = 0.01  # share that may be damaged

INSTALLATION = "pip install 'coldstart[ffmpeg]'"


def kind_of(head: bytes) -> str | None:
    """What begins with these bytes; None if it is nothing that only FFmpeg reads.

    >>> kind_of(bytes(4) + b"ftypM4A ")
    'an MP4 or M4A file (AAC, ALAC, Opus)'
    """
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    # Not 0xFFFB and the like, which is an mp3: its bits of the layer are 0.
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "an AAC file"
    return "an MPEG transport stream" if head[:1] == head[188:189] == b"G" else None


def pyav() -> ModuleType | None:
    """The binding, if it is installed."""
    try:
        import av
    except ImportError:
        return None
    return av


class _Nameless:
    """An open file of which FFmpeg sees the content alone: neither its name nor its folder."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def opened(path: Path, reason: str) -> Iterator[Sound]:
    """Open a file that libsndfile doesn't read.

    Args:
        path: of the file.
        reason: what is said of it if FFmpeg doesn't read it either.

    Raises:
        AudioError: it can't be decoded, or not without the extra.
    """
    av = pyav()
    with path.open("rb") as file:
        head = file.read(192)
        kind = kind_of(head)
        file.seek(0)
        if av is None:
            if kind:
                raise AudioError(f"{kind}, for which FFmpeg is needed: {INSTALLATION}")
            if head[:4] in _SHARED:
                reason = f"{reason}; if its codec is a rare one, FFmpeg is needed: {INSTALLATION}"
            raise AudioError(reason)
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": ""}
        try:
            container = av.open(
                _Nameless(file), container_options=options, metadata_errors="ignore"
            )
        except av.FFmpegError as error:
            damaged = f"{kind} that can't be opened: damaged or truncated"
            raise AudioError(damaged if kind else reason) from error
        with container:
            yield _sound(av, container, kind or "a file")


def _sound(av: ModuleType, container: Any, kind: str) -> Sound:
    if not container.streams.audio:
        raise AudioError(f"{kind} without a sound track")
    stream = container.streams.audio[0]
    seconds = _seconds(container, stream)
    if seconds is not None:
        check_seconds(seconds)
    frames = _frames(av, container, stream)
    try:
        first = next(frames)
    except StopIteration:
        raise AudioError(f"{kind} whose sound can't be decoded, or is encrypted") from None
    rate, channels = first.sample_rate, first.layout.nb_channels
    blocks = _blocks(first, frames, seconds)
    return Sound(rate, channels, _numbers(stream.codec_context.name), blocks)


def _numbers(codec: str) -> NumberFormat:
    if codec.startswith("pcm_f"):
        return "float"
    exact: dict[str, NumberFormat] = {"pcm_s16": "pcm16", "pcm_s24": "pcm24"}
    return exact.get(codec[:7], "other")


def _seconds(container: Any, stream: Any) -> float | None:
    """Of the sound track, if the file says it; a video may be longer than its sound."""
    if not any(name in _EXACT for name in container.format.name.split(",")):
        return None
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if text := re.fullmatch(r"(\d+):(\d+):([\d.]+)\D*", stream.metadata.get("DURATION", "")):
        return 3600 * int(text[1]) + 60 * int(text[2]) + float(text[3])
    if container.duration is None or len(container.streams.video):
        return None
    return float(container.duration / 1_000_000)


def _frames(av: ModuleType, container: Any, stream: Any) -> Iterator[Any]:
    """The track's frames; a few damaged packets are left out, as players do."""
    good, bad = 0, 0
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
                good += 1
            except av.InvalidDataError:
                bad += 1
    except av.FFmpegError as error:
        raise AudioError(f"damaged, or truncated: {error.strerror}") from error
    if bad > max(1, _BAD_PACKETS * good):
        raise AudioError(f"damaged: {bad:,} of its {good + bad:,} packets can't be decoded")


def _blocks(first: Any, frames: Iterator[Any], seconds: float | None) -> Iterator[Samples]:
    rate, channels, count, gathered = first.sample_rate, first.layout.nb_channels, 0, 0
    parts: list[Samples] = [_samples(first)]
    for frame in frames:
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
            raise AudioError(
                "its sample rate or number of channels changes on the way; encode it again"
            )
        parts.append(_samples(frame))
        gathered += frame.samples
        if gathered >= BLOCK_SECONDS * rate:
            block = np.concatenate(parts)
            count, gathered, parts = count + len(block), 0, []
            yield block
    if parts:
        block = np.concatenate(parts)
        count += len(block)
        yield block
    check_seconds(count / rate)
    if seconds is not None:
        tolerance = LOST_SECONDS + min(_LOST_FRAMES * first.samples / rate, _LOST_AT_MOST)
        check_end(count / rate, seconds, tolerance)


def _samples(frame: Any) -> Samples:
    """[samples, channels] of a frame, in -1..1."""
    values = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        values = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        values = values.astype(np.float32) / 2.0 ** (8 * values.dtype.itemsize - 1)
    return np.ascontiguousarray(values, np.float32)
