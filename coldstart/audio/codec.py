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
"""Hz. What the talk's net hears; the shards' default."""

MIN_SECONDS = 0.5


_BLOCK_SECONDS = 20


_LOST_SECONDS = 0.1  # a frame or two may be lost; more is truncated


_UNKNOWN = 0x7FFF0000  # at least this many bytes in a WAV's header: its writer didn't know


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
            guess = _is_guess(path, file)
            if guess or file.format == "OGG":
                _check_last_piece(path, file.format)
            yield from _resampled(file, rate, exact=not guess)
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
    # The library shortens a WAV to what is there, and notes it.
    note = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if note and int(note[1]) < _UNKNOWN:
        _check_end(seconds, seconds * int(note[1]) / int(note[2]))


def _check_end(had: float, full: float) -> None:
    if full - had > _LOST_SECONDS:
        raise AudioError(f"truncated: {had:.1f} s of {full:.1f} s can be decoded")


def _is_guess(path: Path, file: soundfile.SoundFile) -> bool:
    """The length of an mp3 without a count of its frames is guessed from its bit rate."""
    if file.format != "MP3":
        return False
    with path.open("rb") as raw:
        raw.seek(_after_id3(raw.read(10)))
        first_frame = raw.read(4096)
    return not any(count in first_frame for count in (b"Xing", b"Info", b"VBRI"))


def _after_id3(head: bytes) -> int:
    """Where the sound begins: behind the ID3 tag, whose size has 7 bits a byte."""
    size = sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:10])))
    return 10 + size if head.startswith(b"ID3") else 0


def _check_last_piece(path: Path, form: str) -> None:
    """Ogg and mp3 are chains of pieces; a file that was cut off ends inside of one.

    The decoder passes over the rest without a word. An mp3 that doesn't count its frames, cut
    exactly between two of them, can't be told from a whole one.
    """
    ends = _ogg_ends if form == "OGG" else _mp3_ends
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if not ends(data):
            raise AudioError("truncated: the file ends in the middle of the stream")


def _ogg_ends(data: mmap.mmap) -> bool:
    """Whether the last page is complete and marked as the end of its stream (RFC 3533)."""
    page = data.rfind(b"OggS")
    if page < 0 or page + 27 > len(data):
        return False
    segments = data[page + 27 : page + 27 + data[page + 26]]
    whole = page + 27 + len(segments) + sum(segments) <= len(data)
    return whole and len(segments) == data[page + 26] and bool(data[page + 5] & 4)


_MP3_KBPS = {  # layer III, by bit rate index
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mp3_frame(head: bytes) -> int:
    """Bytes of the layer III frame that this header begins; 0 if it begins none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or not 0 < bits < 15 or rate == 3:
        return 0
    kbps = _MP3_KBPS[version == 3][bits]
    samples = 144 if version == 3 else 72
    return samples * 1000 * kbps // _MP3_RATES[version][rate] + (head[2] >> 1 & 1)


def _mp3_ends(data: mmap.mmap) -> bool:
    """Walk from frame to frame; false if the last one reaches beyond the end of the file."""
    place = _after_id3(data[:10])
    while size := _mp3_frame(data[place : place + 4]):
        place += size
    return place <= len(data)  # behind the frames there may be tags


def _resampled(file: soundfile.SoundFile, rate: int, exact: bool) -> Iterator[Samples]:
    stream = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
    want = _BLOCK_SECONDS * file.samplerate
    done, last = 0, False
    while not last:
        block = file.read(want, dtype="float32", always_2d=True)
        done += len(block)
        if not np.isfinite(block).all():
            raise AudioError("it holds samples that are no finite numbers")
        last = len(block) < want or done == file.frames
        if last and exact:
            _check_end(done / file.samplerate, file.frames / file.samplerate)
        mono = block.mean(axis=1)
        yield mono if file.samplerate == rate else stream.resample_chunk(mono, last=last)


def usable(path: StrPath, rate: int = SAMPLE_RATE) -> Iterator[Samples]:
    """What is stored of a file: its blocks, in -1..1.

    Raises:
        AudioError: as in `blocks`, or silent (once the last block has come).
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
    """Bytes, or a view of a mapped file, as the decoder wants to read them; nothing is copied."""

    def __init__(self, content: Buffer) -> None:
        self.content, self.place = memoryview(content), 0

    def readinto(self, buffer: Any) -> int:
        piece = self.content[self.place : self.place + len(buffer)]
        buffer[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = (0, self.place, len(self.content))[whence] + offset
        return self.place

    def tell(self) -> int:
        return self.place


def length(flac: Buffer) -> int:
    """Number of samples in a FLAC; reads its header only, which takes no decoder.

    Raises:
        ValueError: not a FLAC.
    """
    if flac[:4] != b"fLaC" or len(flac) < 26:
        raise ValueError("not a readable FLAC (it doesn't begin like one)")
    return int.from_bytes(flac[18:26]) & (1 << 36) - 1  # RFC 9639: 36 bits of STREAMINFO


def window(flac: Buffer, start: int, out: NDArray[np.int16]) -> None:
    """Decode as many samples as `out` has room for, from `start` on, and nothing else.

    A track shorter than the window is repeated until the window is full.

    Args:
        flac: the whole FLAC.
        start: the first sample wanted.
        out: [samples], to be filled; 2^15 is full scale.

    Raises:
        ValueError: not a FLAC, or a damaged one.
    """
    try:
        with soundfile.SoundFile(cast(BinaryIO, _File(flac))) as file:
            file.seek(start)
            heard = len(file.read(out=out))
            whole = heard >= max(1, min(len(out), file.frames - start))
    except RuntimeError as error:
        raise ValueError(f"not a readable FLAC ({error})") from error
    if not whole:
        raise ValueError("not a readable FLAC (it ends too early)")
    if heard < len(out):
        out[heard:] = np.resize(out[:heard], len(out) - heard)
