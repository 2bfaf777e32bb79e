"""Variables of a TensorFlow checkpoint (a tensor bundle), read without TensorFlow.

Its index is a table of the kind that LevelDB writes, whose values are protobuf messages; its data
are the variables' bytes, one after the other. Only what such a file of one shard, not compressed,
holds is read, and nothing is checked: whoever calls has compared the file's hash.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

_FOOTER = 48
"""Bytes at an index's end: where the block of block handles is, and a magic number."""

_FLOAT = 1
"""TensorFlow's number for float32."""


def variables(index: bytes, data: bytes) -> dict[str, Tensor]:
    """Name → value of all float32 variables; such as an optimiser's counters are left out.

    Args:
        index: content of the file `….index`.
        data: content of the file `….data-00000-of-00001`.
    """
    found, buffer = {}, bytearray(data)
    for name, entry in _table(index):
        fields = dict(_message(entry))
        if name and fields.get(1) == _FLOAT:
            dimensions = [bytes(part) for key, part in _message(_bytes(fields[2])) if key == 2]
            shape = [int(dict(_message(each)).get(1, 0)) for each in dimensions]
            count, offset = math.prod(shape), _int(fields, 4)
            values = torch.frombuffer(buffer, dtype=torch.float32, count=count, offset=offset)
            found[name] = values.reshape(shape).clone()
    return found


def _int(fields: dict[int, int | bytes], key: int) -> int:
    """A number; one that is 0 isn't written."""
    return int(fields.get(key, 0))


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _table(index: bytes) -> Iterator[tuple[str, bytes]]:
    """Key and value of all entries: the footer names a block, which names the others."""
    footer = index[-_FOOTER:]
    _, place = _number(footer, 0)
    _, place = _number(footer, place)
    for _, handle in _block(index, footer[place:]):
        yield from ((key.decode(), value) for key, value in _block(index, handle))


def _block(index: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block; of a key, only what differs from the one before is written."""
    start, place = _number(handle, 0)
    size, _ = _number(handle, place)
    block = index[start : start + size]
    end = len(block) - 4 * (int.from_bytes(block[-4:], "little") + 1)  # places to begin at
    key, place = b"", 0
    while place < end:
        shared, place = _number(block, place)
        own, place = _number(block, place)
        length, place = _number(block, place)
        key = key[:shared] + block[place : place + own]
        place += own + length
        yield key, block[place - length : place]


def _message(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of a protobuf message's fields."""
    place = 0
    while place < len(content):
        tag, place = _number(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = _number(content, place)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            size, place = _number(content, place)
        yield number, content[place : place + size]
        place += size


def _number(content: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first; and where the next thing begins."""
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
