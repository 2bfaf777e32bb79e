"""One file of a table → a data frame: Parquet, JSON lines, and text with separators."""

from __future__ import annotations

import csv
import io
import logging
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import polars as pl

from coldstart.addresses.copies import origin_of
from coldstart.errors import InputError
from coldstart.files import unusable
from coldstart.tables.column_names import listed
from coldstart.tables.faulty_text import fault_of_json, fault_of_text
from coldstart.tables.parts import READABLE, ending_of
from coldstart.tables.unpacking import ZSTD, check_parquet, check_text, gunzipped

log = logging.getLogger(__name__)

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
"""What may separate the cells of a .csv; a comma wherever the header allows it."""

HEAD = 1 << 20
"""Bytes in which the header must end."""

UTF_16 = (b"\xff\xfe", b"\xfe\xff")

REMEDY = "make it anew, or copy it again if it may have been cut short or damaged"


def read_part(path: Path, required: Sequence[str]) -> pl.DataFrame:
    """Read one file.

    Args:
        path: of the file.
        required: names of columns by which the separator of a .csv is recognised.

    Raises:
        InputError: the file is of another kind, can't be read, or doesn't fit into memory.
    """
    ending = ending_of(path)
    if not ending:
        raise InputError(f"{path}: {READABLE}")
    if reason := unusable(path):
        raise InputError(f"{path}: {reason}")
    if not path.stat().st_size:
        raise InputError(f"{path}: not a readable {ending} table (0 bytes); {REMEDY}")
    try:
        if ending == ".parquet":
            check_parquet(path)
            return pl.read_parquet(path, glob=False)
        content = gunzipped(path)
        return _of_text(path, content, ending, required)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        # Of several lines, the others are advice to programmers.
        reason = str(error).strip().partition("\n")[0]
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "too large for the memory"
    raise InputError(f"{path}: not a readable {ending} table ({reason}); {REMEDY}")


def _of_text(
    path: Path, content: bytes | None, ending: str, required: Sequence[str]
) -> pl.DataFrame:
    """Read text; `content` is what a gzip file has in it, None for others.

    Raises:
        InputError: as in `read_part`; where it is faulty, with the line.
    """
    source = path if content is None else content
    separator = "\t"
    try:
        if ending in (".jsonl", ".ndjson"):
            check_text(path, content, columns=1)
            with closing(_opened(path, content)) as file:
                return pl.read_ndjson(file, infer_schema_length=None)
        header = _header(path, content)
        if ending == ".tsv":
            _must_have_tabs(path, header, required)
        else:
            separator = _separator(path, header, required)
        check_text(path, content, columns=header.count(separator) + 1)
        return pl.read_csv(source, infer_schema=False, separator=separator, glob=False)
    except pl.exceptions.PolarsError as error:
        with closing(_opened(path, content)) as file:
            is_json = ending in (".jsonl", ".ndjson")
            fault = fault_of_json(file) if is_json else fault_of_text(file, separator, path.name)
        if not fault:
            raise
        raise InputError(f"{path}: not a readable {ending} table ({fault})") from error


def _separator(path: Path, header: str, required: Sequence[str]) -> str:
    """What separates the cells, by the header; a comma if that gives all required columns.

    Raises:
        InputError: the header can be read in two ways, and lacks a required column in both.
    """
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
    log.info(
        f"{origin_of(path)}: read with {SEPARATORS[candidates[0]]} between cells, as its header "
        "has it"
    )
    return candidates[0]


def _must_have_tabs(path: Path, header: str, required: Sequence[str]) -> None:
    """Raise InputError for a .tsv whose header has all required columns with another separator."""
    complete = [each for each in SEPARATORS if set(required) <= set(_cells(header, each))]
    if required and complete and "\t" not in complete:
        raise InputError(
            f"{path}: its header has {SEPARATORS[complete[0]]} between cells, and a .tsv has tabs; "
            "call it .csv, whose separator is found by the header"
        )


def _header(path: Path, content: bytes | None) -> str:
    """The first line of a text file, whether compressed or not.

    Raises:
        InputError: there is none, the file is Parquet or UTF-16, or its lines end as no others do.
    """
    with closing(_opened(path, content)) as file:
        head = file.read(HEAD)
    if not head.strip():
        raise InputError(f"{path}: has no text, not even the names of columns; {REMEDY}")
    if head.startswith(b"PAR1"):
        raise InputError(f"{path}: it is Parquet, which is read from files that end in .parquet")
    sample = head[:4096]
    if head.startswith(UTF_16) or (len(sample) >= 16 and sample.count(0) >= 0.3 * len(sample)):
        raise InputError(
            f"{path}: is text in UTF-16, and tables are UTF-8: save it as `CSV UTF-8`, or convert "
            f"it: iconv -f UTF-16 -t UTF-8 {path.name}"
        )
    if b"\n" not in head and b"\r" in head.rstrip(b"\r") and b'"' not in head:
        raise InputError(
            f"{path}: its lines end as those of old Macs do; convert it: "
            f"tr '\\r' '\\n' < {path.name}"
        )
    return head.decode("utf-8-sig", errors="replace").split("\n", 1)[0].rstrip("\r")


def _opened(path: Path, content: bytes | None) -> BinaryIO:
    """The text's bytes. Of Zstandard, for which this Python has no reader, the first line alone."""
    if content is not None:
        return io.BytesIO(content)
    with path.open("rb") as file:
        if file.read(4) != ZSTD:
            return path.open("rb")
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


def _cells(header: str, separator: str) -> list[str]:
    """The cells of a header; one that goes on in the next line is read up to there."""
    try:
        return next(csv.reader([header], delimiter=separator), [])
    except csv.Error:  # a cell of more than 128 KB
        return [header]
