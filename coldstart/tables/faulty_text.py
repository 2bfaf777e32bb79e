"""What is wrong with a text that can't be read as a table: which line, and how to mend it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable


def fault_of_text(file: Iterable[bytes], separator: str, name: str) -> str:
    """What keeps lines of cells from being read; empty if nothing is found.

    Args:
        file: its lines.
        separator: between cells.
        name: of the file.
    """
    lines = list(file)
    return _encoding(lines, name) or _structure(lines, separator)


def fault_of_json(file: Iterable[bytes]) -> str:
    """Which line is no JSON object; empty if all are.

    >>> fault_of_json([b'{"a": 1}', b"[1]"])
    'line 2 is no JSON object; each line is one row, as {"track_id": "a", "plays": 1}'
    """
    for number, line in enumerate(file, 1):
        try:
            good = not line.strip() or isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            good = False
        if not good:
            row = '{"track_id": "a", "plays": 1}'
            return f"line {number:,} is no JSON object; each line is one row, as {row}"
    return ""


def _encoding(lines: Iterable[bytes], name: str) -> str:
    """Which line isn't UTF-8, and what it is in Latin-1, or that the file is no text; else ""."""
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            if any(byte < 32 and byte not in b"\t\r\n" for byte in line):
                return "it is no text; make it anew, or copy it again"
            start = max(error.start - 12, 0)
            around = line[start : error.start + 12].decode("latin-1")
            word = next(
                (part for part in re.split(r"[,;\t|\r\n\"]", around) if not part.isascii()), ""
            )
            return (
                f"line {number:,} isn't UTF-8; in Latin-1 it has {word!r}. Convert it: "
                f"iconv -f LATIN1 -t UTF-8 {name}"
            )
    return ""


def _structure(lines: Iterable[bytes], separator: str) -> str:
    """The first line with more cells than the header, or with a quote that nothing closes.

    >>> _structure([b"a,b", b"1,2,3"], ",")
    "line 2 has 3 cells, and the header 2; a cell with ',' in it stands in double quotes"
    """
    texts = (line.decode("utf-8-sig") for line in lines)
    rows = csv.reader(texts, delimiter=separator, strict=True)
    width, line = 0, 1
    try:
        for row in rows:
            width = width or len(row)
            if len(row) > width:
                return (
                    f"line {line:,} has {len(row):,} cells, and the header {width:,}; a cell with "
                    f"{separator!r} in it stands in double quotes"
                )
            line = rows.line_num + 1
    except csv.Error:
        return (
            f"line {line:,} has a double quote that nothing closes, or one within a cell; a cell "
            "with quotes in it stands in quotes, and has each of them twice"
        )
    return ""
