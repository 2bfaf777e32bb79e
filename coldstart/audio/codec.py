"""Audio bytes in and out: any file → mono FLAC at one rate, and windows of such a FLAC."""

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from coldstart.errors import ItemError
from coldstart.files import StrPath

Samples = NDArray[np.float32]


Buffer = bytes | memoryview

SAMPLE_RATE = 22_050
"""Hz, of the talk's net; the shards' default."""

MIN_SECONDS = 0.5


_BLOCK_SECONDS = 20


_LOST_SECONDS = 0.1  # one or two frames may be lost; a file that lacks more is truncated


_UNKNOWN = 0x7FFF0000  # a WAV's header says this many bytes or more if the writer didn't know


_SILENCE = 1e-4  # -80 dBFS, below the noise floor of any recording


class AudioError(ItemError):
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
            _check_header(file)
            exact = _has_exact_length(path, file)
            if not exact or file.format == "OGG":
                _check_last_piece(path, file.format)
            yield from _resampled(file, rate, exact)
    except soundfile.LibsndfileError as error:
        # For broken mp3s the library says that there is no such file.
        why = "" if "not exist" in error.error_string else f" ({error.error_string})"
        raise AudioError(f"not audio that can be decoded{why}") from error


def _check_header(file: soundfile.SoundFile) -> None:
    seconds = file.frames / file.samplerate
    if file.frames == np.iinfo(np.int64).max:
        raise AudioError("its header doesn't say how long it is; encode it again")
    if seconds < MIN_SECONDS:
        raise AudioError(f"only {seconds:.2f} s long (at least {MIN_SECONDS} s)")
    # The library shortens a WAV to the data that exists, and notes it.
    note = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if note and int(note[1]) < _UNKNOWN:
        _check_end(seconds, seconds * int(note[1]) / int(note[2]))


def _check_end(decoded: float, total: float) -> None:
    if total - decoded > _LOST_SECONDS:
        raise AudioError(f"truncated: {decoded:.1f} s of {total:.1f} s can be decoded")


def _has_exact_length(path: Path, file: soundfile.SoundFile) -> bool:
    """False for an mp3 without a count of its frames: its length is guessed from its bit rate."""
    if file.format != "MP3":
        return True
    with path.open("rb") as raw:
        raw.seek(_after_id3(raw.read(10)))
        first_frame = raw.read(4096)
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))


def _after_id3(head: bytes) -> int:
    """Where the sound begins: after the ID3 tag, whose size has 7 bits a byte."""
    size = sum(byte << 7 * index for index, byte in enumerate(reversed(head[6:10])))
    return 10 + size if head.startswith(b"ID3") else 0


def _check_last_piece(path: Path, file_format: str) -> None:
    """Ogg and mp3 are chains of pieces; a file that was cut off ends inside of one.

    The decoder ignores an incomplete piece silently. An mp3 that doesn't count its frames, cut
    exactly between two of them, can't be distinguished from a complete one.
    """
    is_complete = _is_complete_ogg if file_format == "OGG" else _is_complete_mp3
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if not is_complete(data):
            raise AudioError("truncated: the file ends in the middle of the stream")


def _is_complete_ogg(data: mmap.mmap) -> bool:
    """Whether the last page is complete and marked as the end of its stream (RFC 3533)."""
    page = data.rfind(b"OggS")
    if page < 0 or page + 27 > len(data):
        return False
    segments = data[page + 27 : page + 27 + data[page + 26]]
    complete = page + 27 + len(segments) + sum(segments) <= len(data)
    return complete and len(segments) == data[page + 26] and bool(data[page + 5] & 4)


_MP3_KBPS = {  # layer III, by bit rate index
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3_frame(head: bytes) -> int:
    """Bytes of the layer III frame that begins with this header; 0 if it is no such header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or not 0 < bits < 15 or rate == 3:
        return 0
    kbps = _MP3_KBPS[version == 3][bits]
    samples = 144 if version == 3 else 72
    return samples * 1000 * kbps // _MP3_RATES[version][rate] + (head[2] >> 1 & 1)


def _is_complete_mp3(data: mmap.mmap) -> bool:
    """Go from frame to frame; false if the last one reaches beyond the end of the file."""
    position = _after_id3(data[:10])
    while size := _mp3_frame(data[position : position + 4]):
        position += size
    return position <= len(data)  # tags may follow the frames


def _resampled(file: soundfile.SoundFile, rate: int, exact: bool) -> Iterator[Samples]:
    stream = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
    size = _BLOCK_SECONDS * file.samplerate
    count, last = 0, False
    while not last:
        block = file.read(size, dtype="float32", always_2d=True)
        count += len(block)
        if not np.isfinite(block).all():
            raise AudioError("it holds samples that are no finite numbers")
        last = len(block) < size or count == file.frames
        if last and exact:
            _check_end(count / file.samplerate, file.frames / file.samplerate)
        mono = block.mean(axis=1)
        yield mono if file.samplerate == rate else stream.resample_chunk(mono, last=last)


def usable(path: StrPath, rate: int = SAMPLE_RATE) -> Iterator[Samples]:
    """The blocks of a file as they are stored, in -1..1.

    Raises:
        AudioError: as in `blocks`; or silent, which is raised after the last block.
    """
    peak = 0.0
    for block in blocks(path, rate):
        peak = max(peak, float(np.abs(block).max(initial=0)))
        yield np.clip(block, -1, 1)  # lossy files decode to a little over full scale
    if peak < _SILENCE:
        raise AudioError("silent: no sample is louder than -80 dBFS")


def to_flac(path: StrPath, rate: int = SAMPLE_RATE) -> bytes:
    """Transcode a file to mono 16-bit FLAC at `rate` Hz, in memory.

    Raises:
        AudioError: as in `usable`.
    """
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", samplerate=rate, channels=1, format="FLAC", subtype="PCM_16"
    ) as flac:
        for block in usable(path, rate):
            flac.write(block)
    return buffer.getvalue()


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


def length(flac: Buffer) -> int:
    """Number of samples in a FLAC; reads its header only, without a decoder.

    Raises:
        ValueError: not a FLAC.
    """
    if flac[:4] != b"fLaC" or len(flac) < 26:
        raise ValueError("not a readable FLAC (it doesn't begin like one)")
    return int.from_bytes(flac[18:26]) & (1 << 36) - 1  # RFC 9639: 36 bits of STREAMINFO


def window(flac: Buffer, start: int, out: NDArray[np.int16]) -> None:
    """Decode the samples from `start` on into `out`, and nothing else.

    A track shorter than the window is repeated until the window is full.

    Args:
        flac: the whole FLAC.
        start: the first sample.
        out: [samples], filled by this function; 2^15 is full scale.

    Raises:
        ValueError: not a FLAC, or a damaged one.
    """
    try:
        with soundfile.SoundFile(cast(BinaryIO, _File(flac))) as file:
            file.seek(start)
            count = len(file.read(out=out))
            complete = count >= max(1, min(len(out), file.frames - start))
    except RuntimeError as error:
        raise ValueError(f"not a readable FLAC ({error})") from error
    if not complete:
        raise ValueError("not a readable FLAC (it ends too early)")
    if count < len(out):
        out[count:] = np.resize(out[:count], len(out) - count)
