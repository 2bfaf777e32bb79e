"""Frames of MPEG audio (mp3) counted by their headers, and a first frame that says the count."""

from __future__ import annotations

import io
import mmap
from typing import Any, BinaryIO, NamedTuple

Mapped = bytes | mmap.mmap
"""A file's bytes, in memory or mapped."""

_KBPS = {  # (MPEG 1, layer) → by bit rate index
    (True, 1): (0, *range(32, 449, 32)),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""By the header's bits of the version: MPEG 1, 2 and 2.5."""

_RUN = 4
"""Frames in a row that are no coincidence: among other bytes, one header is found every 2 KB."""


class Frame(NamedTuple):
    """What the four bytes of a frame's header say.

    Attributes:
        size: bytes, with the header.
        samples: for each channel.
        rate: Hz.
        layer: 1, 2 or 3.
        channels: 1 or 2.
        tag: offset of the count that encoders write into the first frame.
    """

    size: int
    samples: int
    rate: int
    layer: int
    channels: int
    tag: int

    @property
    def kind(self) -> tuple[int, int, int]:
        """What is the same in all frames of a stream."""
        return self.rate, self.layer, self.channels


class Frames(NamedTuple):
    """A file's frames.

    Attributes:
        start: where the first frame with sound begins.
        number: how many have sound.
        first: the first one; None if there is none.
        seconds: of all of them.
        counted: whether a frame before them says how many there are.
        complete: whether the file doesn't end inside of the last one.
        uniform: whether all have one rate, one layer and one number of channels.
    """

    start: int
    number: int
    first: Frame | None
    seconds: float
    counted: bool
    complete: bool
    uniform: bool


def frame_of(head: bytes) -> Frame | None:
    """The frame that begins with these four bytes; None if they are no header.

    >>> frame_of(bytes.fromhex("fffb90c4"))
    Frame(size=417, samples=1152, rate=44100, layer=3, channels=1, tag=21)
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or not 0 < bits < 15 or index == 3:
        return None
    first_version, channels = version == 3, 1 if head[3] >> 6 == 3 else 2
    rate, padding = _RATES[version][index], head[2] >> 1 & 1
    bits_a_second = _KBPS[first_version, layer][bits] * 1000
    if layer == 1:
        return Frame((12 * bits_a_second // rate + padding) * 4, 384, rate, 1, channels, 0)
    samples = 1152 if first_version or layer == 2 else 576
    side = {(True, 2): 32, (True, 1): 17, (False, 2): 17, (False, 1): 9}[first_version, channels]
    size = samples // 8 * bits_a_second // rate + padding
    return Frame(size, samples, rate, layer, channels, 4 + side)


def frames_of(data: Mapped) -> Frames:
    """Go from frame to frame, past tags and whatever else lies between them."""
    headers: dict[bytes, Frame | None] = {}
    kinds: dict[tuple[int, int, int] | None, int] = {}
    kind, first, start, counted, complete = None, None, 0, False, True
    count, seconds, position = 0, 0.0, 0
    while True:
        head = data[position : position + 4]
        if head not in headers:
            headers[head] = frame_of(head)
        frame = headers[head]
        if frame is None or frame.kind != kind:
            next_run = _next_run(data, position)
            if next_run is None:
                break
            position = next_run
            frame = frame_of(data[position : position + 4])
            assert frame is not None
            kind = frame.kind
            kinds[kind] = 0
        if first is None and not counted and _says_count(data, position, frame):
            counted = True
        else:
            if first is None:
                first, start = frame, position
            count += 1
            seconds += frame.samples / frame.rate
        position += frame.size
        complete = position <= len(data)  # tags may follow the frames
    return Frames(start, count, first, seconds, counted, complete, len(kinds) <= 1)


def _says_count(data: Mapped, position: int, frame: Frame) -> bool:
    """Whether this frame has no sound, but the count of those that follow."""
    head = data[position : position + min(frame.size, 64)]
    name, flags = head[frame.tag : frame.tag + 4], head[frame.tag + 7 : frame.tag + 8]
    return frame.layer == 3 and (
        (name in (b"Xing", b"Info") and flags[0] & 1 == 1) or head[36:40] == b"VBRI"
    )


def _is_run(data: Mapped, position: int) -> bool:
    kinds = set()
    for _ in range(_RUN):
        frame = frame_of(data[position : position + 4])
        if frame is None:
            return False
        kinds.add(frame.kind)
        position += frame.size
    return len(kinds) == 1 and position <= len(data)


def _next_run(data: Mapped, position: int) -> int | None:
    """Where the next frames begin; None if none follow."""
    while size := _tag_size(data[position : position + 32]):
        position += size
    while position >= 0 and not _is_run(data, position):
        position = data.find(b"\xff", position + 1)
    return position if position >= 0 else None


def _tag_size(head: bytes) -> int:
    """Bytes of the tag (ID3v2, ID3v1, APE) that begins so; 0 if none does."""
    if (
        head.startswith(b"ID3")
        and len(head) >= 10
        and 255 not in head[3:5]
        and max(head[6:10]) < 128
    ):
        # 7 bits a byte.
        return 10 + sum(byte << 7 * index for index, byte in enumerate(reversed(head[6:10])))
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return 32 + int.from_bytes(head[12:16], "little")
    return 128 if head.startswith(b"TAG") else 0


def counting_frame(frames: Frames, data: Mapped) -> bytes:
    """A first frame, for a file of layer III, that says how many follow (known as Xing)."""
    assert frames.first is not None
    head = bytearray(data[frames.start : frames.start + 4])
    kbps64 = 5 if head[1] >> 3 & 3 == 3 else 8  # large enough in all versions
    head[1] |= 1  # without a checksum
    head[2] = kbps64 << 4 | head[2] & 0b1100
    frame = frame_of(bytes(head))
    assert frame is not None
    content = bytes(head).ljust(frame.tag, b"\0") + b"Xing\0\0\0\1" + frames.number.to_bytes(4)
    return content.ljust(frame.size, b"\0")


class Prefixed(io.RawIOBase):
    """A file from `start` on, after some other bytes, as a file that the decoder reads."""

    def __init__(self, prefix: bytes, file: BinaryIO, start: int, end: int) -> None:
        self.prefix, self.file, self.start = prefix, file, start
        self.length, self.position = len(prefix) + end - start, 0

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or as much of it as there are bytes left up to a seam."""
        if self.position < len(self.prefix):
            piece = self.prefix[self.position : self.position + len(buffer)]
        else:
            self.file.seek(self.start + self.position - len(self.prefix))
            piece = self.file.read(min(len(buffer), max(0, self.length - self.position)))
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset."""
        self.position = (0, self.position, self.length)[whence] + offset
        return self.position

    def tell(self) -> int:
        """The offset."""
        return self.position
