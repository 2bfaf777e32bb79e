"""A checkpoint's index, written here by hand: two blocks, shared prefixes, several types."""

import struct

import numpy as np
import torch

from coldstart.extractors.tensorflow_bundle import variables


def number(value: int) -> bytes:
    head = b""
    while value >= 128:
        head, value = head + bytes([value & 127 | 128]), value >> 7
    return head + bytes([value])


def entry(dtype: int, shape: tuple[int, ...], offset: int, size: int) -> bytes:
    dims = b"".join(
        b"\x12" + number(len(dim)) + dim for dim in (b"\x08" + number(n) for n in shape)
    )
    body = b"\x08" + number(dtype) + b"\x12" + number(len(dims)) + dims
    body += b"\x20" + number(offset) if offset else b""
    return body + b"\x28" + number(size) + b"\x35" + struct.pack("<I", 1)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body, before = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        body += number(shared) + number(len(key) - shared) + number(len(value))
        body += key[shared:] + value
        before = key
    return body + struct.pack("<II", 0, 1)


def table(blocks: list[list[tuple[bytes, bytes]]]) -> bytes:
    content, handles = b"", []
    for entries in [*blocks, []]:  # the last one is what the footer names first
        written = block(entries)
        handles.append(number(len(content)) + number(len(written)))
        content += written + b"\0" + bytes(4)
    *of_blocks, of_meta = handles
    index = block([(bytes([97 + i]), handle) for i, handle in enumerate(of_blocks)])
    handle = number(len(content)) + number(len(index))
    content += index + b"\0" + bytes(4)
    return content + (of_meta + handle).ljust(40, b"\0") + bytes(8)


def test_float_variables_are_read_with_their_shapes() -> None:
    kernel = np.arange(200, dtype=np.float32).reshape(2, 100)
    bias = np.array([0.5, -1.5], np.float32)
    data = kernel.tobytes() + struct.pack("<q", 7) + bias.tobytes() + struct.pack("<f", 3.0)
    index = table(
        [
            [(b"", b"\x08\x01"), (b"dense/bias", entry(1, (2,), 808, 8))],
            [
                (b"dense/kernel", entry(1, (2, 100), 0, 800)),
                (b"dense/steps", entry(9, (), 800, 8)),
                (b"rate", entry(1, (), 816, 4)),
            ],
        ]
    )
    found = variables(index, data)
    assert set(found) == {"dense/bias", "dense/kernel", "rate"}
    assert torch.equal(found["dense/kernel"], torch.from_numpy(kernel))
    assert torch.equal(found["dense/bias"], torch.from_numpy(bias))
    assert found["rate"].shape == ()
    assert float(found["rate"]) == 3.0
