"""What compressed files unpack to: gzip and Zstandard around text, and Parquet by its footer."""

from __future__ import annotations

import gzip
import io
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from coldstart.errors import InputError
from coldstart.tables.memory import check_fits, free_memory

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"

PEAK = 1.5
"""Memory while a Parquet file is read, of that which the table takes afterwards (measured)."""

CELL = 16
"""Bytes of memory of a cell of text, however short."""

PIECE, SAMPLE, SAMPLES = 4 << 20, 4096, 64

BLOCK = 128 << 10
"""Bytes that a block of Zstandard unpacks to at most (RFC 8878)."""

_SKIPPED = 0x184D2A5
"""How a frame begins that is no content, without its last four bits."""

_WIDTHS = (1 / 8, 1, 8, 12, 4, 8, CELL, CELL)
"""Bytes in memory of a value of each of Parquet's types, at least; an INT32 may be an Int8."""


# Text


def gunzipped(path: Path) -> bytes | None:
    """The bytes in a gzip file; None for any other file, whatever its name.

    Raises:
        InputError: they don't fit into memory.
        OSError: the file is damaged; also EOFError and zlib.error.
    """
    with path.open("rb") as file:
        if file.read(2) != GZIP:
            return None
    content, most = io.BytesIO(), free_memory() / 2  # there will be the table beside it
    with gzip.open(path) as packed:
        while piece := packed.read(PIECE):
            content.write(piece)
            if content.tell() > most:
                check_fits(path, 2 * content.tell())
    return content.getvalue()


def check_text(path: Path, content: bytes | None, columns: int) -> None:
    """Raise InputError if a table of text doesn't fit into memory.

    Args:
        path: of the file.
        content: what `gunzipped` gave.
        columns: how many it has.
    """
    if content is not None:
        check_fits(path, _needs(io.BytesIO(content), columns))
        return
    with path.open("rb") as file:
        if file.read(4) != ZSTD:
            check_fits(path, _needs(file, columns))
            return
    if _zstd_bound(path) * CELL > free_memory():  # it may not fit: only unpacking it tells
        texts = pl.scan_csv(
            path,
            has_header=False,
            new_columns=["line"],
            separator="\x01",
            quote_char=None,
            infer_schema=False,
            encoding="utf8-lossy",
            glob=False,
        )
        size = texts.select(pl.col("line").str.len_bytes().cast(pl.Int64).sum(), lines=pl.len())
        length, lines = size.collect(engine="streaming").row(0)
        check_fits(path, max(length, CELL * columns * lines))


def _needs(file: BinaryIO, columns: int) -> float:
    """Bytes of memory of the cells of a text, by samples from all over it: no less than its own."""
    size = file.seek(0, os.SEEK_END)
    seen = lines = 0
    for start in range(0, size, size // SAMPLES + 1):
        file.seek(start)
        sample = file.read(SAMPLE)
        seen, lines = seen + len(sample), lines + sample.count(b"\n")
    file.seek(0)
    return size * max(1.0, CELL * columns * lines / max(seen, 1))


def _zstd_bound(path: Path) -> int:
    """Bytes that a Zstandard file unpacks to at most, by the headers of its frames and blocks."""
    bound = place = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:

        def number(start: int, width: int) -> int:
            return int.from_bytes(data[start : start + width], "little")

        while place + 8 < len(data):
            if data[place : place + 4] != ZSTD:
                if number(place, 4) >> 4 != _SKIPPED:
                    break  # the reader says what is wrong
                place += 8 + number(place + 4, 4)
                continue
            head = data[place + 4]
            single, checksum = bool(head & 32), bool(head & 4)
            width = (int(single), 2, 4, 8)[head >> 6]  # of the size that the header says
            place += 5 + (not single) + (0, 1, 2, 4)[head & 3]
            said = number(place, width) + (256 if width == 2 else 0)
            place, blocks, last = place + width, 0, False
            while not last and place < len(data):
                block = number(place, 3)
                last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
                blocks += BLOCK if kind == 2 else size
                place += 3 + (1 if kind == 1 else size)  # 1: one byte, repeated
            bound += said if width else blocks
            place += 4 * checksum
    return bound


# Parquet

_DAMAGED = (KeyError, IndexError, TypeError, ValueError, StopIteration, RecursionError, OSError)


def check_parquet(path: Path, in_pieces: bool = False) -> None:
    """Raise InputError if a Parquet file would end the process.

    That is one that surely doesn't fit into memory: a billion equal values have a few bytes when
    they are compressed, and what counts is how many there are; and a damaged one with a page of
    fewer than 0 values. What else is wrong is left to the reader.

    Args:
        path: of the file.
        in_pieces: it is read piece by piece, and may be larger than the memory.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(size - 8 - length, 0))
        footer = file.read(length)
        try:
            chunks = [chunk[3] for group in _struct(iter(footer))[4] for chunk in group[1]]
            needed = sum(max(chunk[6], chunk[5] * _WIDTHS[chunk[1]]) for chunk in chunks)
        except _DAMAGED:
            return
        if not in_pieces:
            check_fits(path, PEAK * needed)
        if any(_least_count(file, chunk) < 0 for chunk in chunks):
            raise InputError(
                f"{path}: damaged: a page says that it has fewer than 0 values; make it anew, or "
                "copy it again"
            )


def _least_count(file: BinaryIO, chunk: Mapping[int, Any]) -> int:
    """How many values a column's pages have at least by their headers; 0 if that can't be read."""
    least = 0
    with suppress(*_DAMAGED):
        place = min(chunk.get(11) or chunk[9], chunk[9])
        end = place + chunk[7]
        while place < end:
            file.seek(place)
            head = file.read(SAMPLE)
            data = iter(head)
            page = _struct(data)
            if counted := page.get(5) or page.get(8):  # the others are dictionaries
                least = min(least, counted[1])
            place += len(head) - length_hint(data) + max(page[3], 0)
    return least


def _struct(data: Iterator[int]) -> dict[int, Any]:
    """A record of Thrift's compact protocol, in which a footer is written: number → value."""
    fields: dict[int, Any] = {}
    field = 0
    while head := next(data):
        field = field + (head >> 4) if head >> 4 else _signed(data)
        fields[field] = _value(data, head & 15)
    return fields


def _value(data: Iterator[int], kind: int) -> Any:
    if kind in (1, 2):
        return kind == 1
    if kind == 3:
        return next(data)
    if kind in (4, 5, 6):
        return _signed(data)
    if kind in (7, 8):  # a double, or text
        width = 8 if kind == 7 else _unsigned(data)
        return next(islice(data, width, width), None)  # not needed
    if kind in (9, 10):  # several values; each Boolean has a byte
        head = next(data)
        count, inner = head >> 4, head & 15
        count = _unsigned(data) if count == 15 else count
        return [_value(data, 3 if inner < 3 else inner) for _ in range(count)]
    if kind == 12:
        return _struct(data)
    raise ValueError(kind)


def _signed(data: Iterator[int]) -> int:
    number = _unsigned(data)
    return number >> 1 ^ -(number & 1)


def _unsigned(data: Iterator[int]) -> int:
    number = shift = 0
    while True:
        byte = next(data)
        number |= (byte & 127) << shift
        if byte < 128:
            return number
        shift += 7
