"""One file of a table → a data frame: Parquet, JSON lines, and text with separators."""

from __future__ import annotations

import csv
import gzip
import io
import logging
import re
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import polars as pl

from coldstart.errors import InputError
from coldstart.tables.column_names import listed
from coldstart.tables.parts import READABLE, ending_of

log = logging.getLogger(__name__)

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
"""What may separate the cells of a .csv; a comma wherever the header allows it."""

HEAD = 1 << 20
"""Bytes in which the header must end."""

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_part(path: Path, required: Sequence[str]) -> pl.DataFrame:
    """Read one file.

    Args:
        path: of the file.
        required: names of columns by which the separator of a .csv is recognised.

    Raises:
        InputError: the file is of another kind, or can't be read.
    """
    ending = ending_of(path)
    if not ending:
        raise InputError(f"{path}: {READABLE}")
    try:
        if ending == ".parquet":
            return pl.read_parquet(path, glob=False)
        if ending in (".jsonl", ".ndjson"):
            with path.open("rb") as file:
                return pl.read_ndjson(file, infer_schema_length=None)
        separator = "\t" if ending == ".tsv" else _separator(path, required)
        return pl.read_csv(path, infer_schema=False, separator=separator, glob=False)
    except pl.exceptions.PolarsError as error:
        reason = str(error)
        if ending != ".parquet" and "utf-8" in reason.lower():
            reason = _encoding(path) or reason
        raise InputError(f"{path}: not a readable {ending} table ({reason})") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: not a readable {ending} table ({reason})") from error


def _separator(path: Path, required: Sequence[str]) -> str:
    """What separates the cells, by the header; a comma if that gives all required columns.

    Raises:
        InputError: the file is UTF-16; or its header can be read in two ways, and lacks a required
            column in both.
    """
    header = _header(path)
    names = {separator: _cells(header, separator) for separator in SEPARATORS}
    complete = [separator for separator in SEPARATORS if set(required) <= set(names[separator])]
    if "," in complete:
        return ","
    candidates = complete or [each for each in SEPARATORS if len(names[each]) > 1]
    if len(candidates) > 1:
        readings = "; ".join(
            f"with {SEPARATORS[each]} between them, its columns are {listed(names[each])}"
            for each in candidates
        )
        lacking = "" if complete else f", and both lack one of {listed(list(required))}"
        raise InputError(f"{path}: its header has two readings{lacking}: {readings}")
    if not candidates or candidates == [","]:
        return ","
    log.info(f"{path}: read with {SEPARATORS[candidates[0]]} between cells, as its header has it")
    return candidates[0]


def _header(path: Path) -> str:
    """The first line of a text file, whether compressed or not.

    Raises:
        InputError: it is UTF-16.
    """
    with closing(_opened(path)) as file:
        head = file.read(HEAD)
    sample = head[:4096]
    if head.startswith(UTF_16) or (len(sample) >= 16 and sample.count(0) >= 0.3 * len(sample)):
        raise InputError(
            f"{path}: is text in UTF-16, and tables are UTF-8: save it as `CSV UTF-8`, or convert "
            f"it: iconv -f UTF-16 -t UTF-8 {path.name}"
        )
    return head.decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")


def _opened(path: Path) -> io.BufferedIOBase:
    """The text's bytes. Of Zstandard, for which this Python has no reader, the first line alone."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == GZIP:
        return gzip.open(path)
    if magic == ZSTD:
        line = pl.read_csv(
            path,
            has_header=False,
            n_rows=1,
            separator="\x01",
            quote_char=None,
            infer_schema=False,
            encoding="utf8-lossy",
            glob=False,
        )
        return io.BytesIO((line.item() or "").encode())
    return path.open("rb")


def _cells(header: str, separator: str) -> list[str]:
    """The cells of a header; one that goes on in the next line is read up to there."""
    try:
        return next(csv.reader([header], delimiter=separator), [])
    except csv.Error:  # a cell of more than 128 KB
        return [header]


def _encoding(path: Path) -> str:
    """Which line isn't UTF-8, and what it is in Latin-1, or that the file is no text; else ""."""
    with closing(_opened(path)) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                if number == 1 and line.startswith(b"PAR1"):
                    return "it is Parquet, which is read from files that end in .parquet"
                if any(byte < 32 and byte not in b"\t\r\n" for byte in line):
                    return "it is no text"
                start = max(error.start - 12, 0)
                around = line[start : error.start + 12].decode("latin-1")
                word = next(
                    (part for part in re.split(r"[,;\t|\r\n\"]", around) if not part.isascii()), ""
                )
                return (
                    f"line {number:,} isn't UTF-8; in Latin-1 it has {word!r}. Convert it: "
                    f"iconv -f LATIN1 -t UTF-8 {path.name}"
                )
    return ""
