"""How much of the sound that a file's header announces is in the file: WAV, AIFF, AU, W64, CAF, …

Decoders read what is there, and take a file that was cut short for a whole one. IRCAM, PAF, PVF
and raw samples announce nothing.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

_MANY = 10_000
"""Chunks that no file has before its sound."""

_HEAD = 1024
"""Bytes of a file's beginning; as many as a NIST header has."""

_UNKNOWN = 0x7EFF0000
"""From so many bytes on, the writer of a 32-bit header didn't know the length: a pipe's."""


class _Container(NamedTuple):
    """How chunks follow one another: a name, the bytes that follow, and these.

    Attributes:
        first: where the first one begins.
        names: of the chunks that are the sound.
        name: bytes of a name.
        width: bytes of a length.
        order: of a length's bytes.
        padding: a chunk begins at a multiple of so many bytes.
        whole: whether a length counts the name and itself too.
    """

    first: int
    names: tuple[bytes, ...]
    name: int = 4
    width: int = 4
    order: Literal["little", "big"] = "little"
    padding: int = 2
    whole: bool = False


_W64_DATA = b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")

_CONTAINERS = (  # how a file begins, what follows 4 bytes later, how it goes on
    (b"RIFF", b"WAVE", _Container(12, (b"data",))),
    (b"RIFX", b"WAVE", _Container(12, (b"data",), order="big")),
    (b"RF64", b"WAVE", _Container(12, (b"data",))),
    (b"BW64", b"WAVE", _Container(12, (b"data",))),
    (b"FORM", b"AIFF", _Container(12, (b"SSND",), order="big")),
    (b"FORM", b"AIFC", _Container(12, (b"SSND",), order="big")),
    (b"FORM", b"8SVX", _Container(12, (b"BODY",), order="big")),
    (b"FORM", b"16SV", _Container(12, (b"BODY",), order="big")),
    (b"riff", b"", _Container(40, (_W64_DATA,), name=16, width=8, padding=8, whole=True)),
    (b"caff", b"", _Container(8, (b"data",), width=8, order="big", padding=1)),
)


def share_of(path: Path) -> float:
    """The share of the announced sound that the file has: 1 of a whole one, and of other kinds."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head[:4] in (b".snd", b"dns."):
            order: Literal["little", "big"] = "big" if head[0] == ord(".") else "little"
            start, length = (int.from_bytes(head[i : i + 4], order) for i in (4, 8))
            return _share(start, length, size, 4)
        if announced := _announced(head):
            return _share(*announced, size, 4)
        for magic, form, container in _CONTAINERS:
            if head[:4] == magic and head[8 : 8 + len(form)] == form:
                return _share_of_chunk(file, container, size, magic)
    return 1.0


def _announced(head: bytes) -> tuple[int, int] | None:
    """Of kinds without chunks: where the sound begins, and how many bytes it has."""
    if len(head) < 42:
        return None
    if head.startswith(b"2BIT"):  # AVR
        channels, width = 2 if any(head[12:14]) else 1, head[15] // 8
        return 128, int.from_bytes(head[26:30]) * channels * width
    if head.startswith(b"ALawSoundFile**"):  # WVE
        return 32, int.from_bytes(head[18:22])
    if head.startswith(b"\1\4"):  # MPC2K
        return 42, int.from_bytes(head[30:34], "little") * (4 if head[21] else 2)
    if head.startswith(b"NIST_1A\n"):
        numbers = dict(re.findall(rb"(\w+) -\w+ (\d{1,10})\n", head))
        names = (b"sample_count", b"channel_count", b"sample_n_bytes")
        return _HEAD, prod(int(numbers.get(name, 0)) for name in names)
    return None


def _share_of_chunk(file: BinaryIO, container: _Container, size: int, magic: bytes) -> float:
    """Go from chunk to chunk, up to the sound."""
    place, long = container.first, 0
    for _ in range(_MANY):
        if place + container.name + container.width > size:
            break  # without sound: the decoder says so
        file.seek(place)
        head = file.read(container.name + container.width)
        name = head[: container.name]
        length = int.from_bytes(head[container.name :], container.order)
        content = place + len(head)
        length -= len(head) if container.whole else 0
        if name in container.names:
            if magic in (b"RF64", b"BW64") and length == 0xFFFFFFFF:
                return _share(content, long, size, 8)
            return _share(content, length, size, container.width)
        if name == b"ds64":  # the lengths of a file above 4 GB: its own, and the sound's
            long = int.from_bytes(file.read(16)[8:], "little")
        place = content + max(length, 0)
        place += -place % container.padding
    return 1.0


def _share(start: int, length: int, size: int, width: int) -> float:
    unknown = _UNKNOWN if width == 4 else 1 << 62
    if not 0 < length < unknown or start + length <= size:
        return 1.0
    return max(size - start, 0) / length
