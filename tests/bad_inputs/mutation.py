"""Good content, damaged in the ways in which disks, networks, editors and strangers damage it."""

import re
import time
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from coldstart.errors import InputError

PATIENCE = 20
"""Seconds: longer than any small file takes on a busy machine."""

NUMBERS = (
    *(b"-1", b"0", b"0.5", b"1e999", b"-1e308", b"NaN", b"2147483648", b"99999999999999999999"),
    *(b"9" * 400, b"null", b"true", b'"x"', b"[]", b"{}", b"''", b"", b"2026-02-30", b"&a [*a]"),
)
"""What may stand where text has a number."""

WORDS = (
    *(b"\0", b"\xff", b"\n", b"\r", b'"', b"'", b",", b"\t", b";", b"{", b"}", b"[", b"]", b": "),
    *(b"\xf0\x9f\x8e\xb5", b"\xed\xa0\x80", b"../", b"\x1b[0m", b"!!python/name:os.system ", b"*a"),
)

Draw = Callable[[st.SearchStrategy[Any]], Any]


@st.composite
def mutated(draw: Draw, content: bytes) -> bytes:
    """The content, changed in one to three ways."""
    for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3)):
        content = change(draw, content)
    return content


def _piece(draw: Draw, content: bytes) -> slice:
    """A piece that is mostly short: long ones leave nothing that a reader looks at."""
    start = draw(st.integers(0, len(content)))
    size = draw(st.integers(0, 16) | st.integers(0, 2000))
    return slice(start, start + size)


def _cut(draw: Draw, content: bytes) -> bytes:
    end: int = draw(st.integers(0, len(content)))
    return content[:end]


def _left_out(draw: Draw, content: bytes) -> bytes:
    piece = _piece(draw, content)
    return content[: piece.start] + content[piece.stop :]


def _flipped(draw: Draw, content: bytes) -> bytes:
    changed = bytearray(content)
    for place in draw(st.lists(st.integers(0, max(0, len(content) - 1)), min_size=1, max_size=4)):
        if content:
            changed[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _inserted(draw: Draw, content: bytes) -> bytes:
    place: int = draw(st.integers(0, len(content)))
    word: bytes = draw(st.binary(min_size=1, max_size=8) | st.sampled_from(WORDS))
    return content[:place] + word + content[place:]


def _twice(draw: Draw, content: bytes) -> bytes:
    piece = _piece(draw, content)
    return content[: piece.stop] + content[piece.start :]


def _swapped(draw: Draw, content: bytes) -> bytes:
    size: int = draw(st.integers(1, 64))
    first, second = sorted(draw(st.integers(0, len(content))) for _ in range(2))
    if first + size > second:
        return content
    a, b = slice(first, first + size), slice(second, second + size)
    return content[:first] + content[b] + content[a.stop : second] + content[a] + content[b.stop :]


def _other_number(draw: Draw, content: bytes) -> bytes:
    found = list(re.finditer(rb"-?\d[\d.]*", content[:100_000]))
    if not found:
        return content
    match = draw(st.sampled_from(found))
    number: bytes = draw(st.sampled_from(NUMBERS))
    return content[: match.start()] + number + content[match.end() :]


def _extreme_bytes(draw: Draw, content: bytes) -> bytes:
    """A number of a binary header."""
    size: int = draw(st.sampled_from([1, 2, 4, 8]))
    top = 1 << 8 * size
    value: int = draw(st.sampled_from([0, 1, top // 2 - 1, top // 2, top - 1, top - 2]))
    place: int = draw(st.integers(0, max(0, len(content) - size)))
    order = draw(st.sampled_from(["little", "big"]))
    return content[:place] + value.to_bytes(size, order) + content[place + size :]


CHANGES = (
    *(_cut, _left_out, _flipped, _inserted, _twice, _swapped, _other_number, _extreme_bytes),
)


def refused_or(read: Callable[[], Any], *names: str) -> Any:
    """What reading gives, or the sentence with which it is refused: nothing else may happen.

    Args:
        read: what is tried.
        names: what a sentence has to name.
    """
    begins = time.perf_counter()
    try:
        result = read()
    except InputError as error:
        result = error
        message = str(error)
        assert all(name in message for name in names), message
        assert message.count("\n") <= 1, message  # the fault, and what to do
        assert 20 < len(message) < 2000, message
        assert "Traceback" not in message
    assert time.perf_counter() - begins < PATIENCE
    return result
