"""Checksums of the files in a folder: a flipped bit, or a file of another folder, is noticed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coldstart.errors import InputError
from coldstart.files import MISSING, unusable, write_json
from coldstart.forms.content import json_in, like, must_have_form, record

NOTE = "checksums.json"
"""In the folder. Version 0.1 wrote none; its folders are read as before."""


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Note the checksums of files in a folder."""
    write_json(folder / NOTE, {name: _checksum(folder / name) for name in names})


def check_checksums(folder: Path, names: Iterable[str], remedy: str) -> None:
    """Raise InputError for a file that isn't as it was when its checksum was noted.

    Args:
        folder: of the files; without a note, nothing is checked.
        names: of the files that were read.
        remedy: what to do, for a message.
    """
    path = folder / NOTE
    if unusable(path) == MISSING:
        return
    noted: Any = json_in(path, remedy)
    must_have_form(
        noted, record(dict.fromkeys(names, like("[0-9a-f]{8}")), others=True), path, remedy
    )
    for name in names:
        if _checksum(folder / name) != noted[name]:
            raise InputError(
                f"{folder / name}: damaged, changed by hand, or of another folder (its checksum "
                f"isn't the one in {NOTE}); {remedy}"
            )


def _checksum(path: Path) -> str:
    total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total = zlib.crc32(block, total)
    return f"{total:08x}"
