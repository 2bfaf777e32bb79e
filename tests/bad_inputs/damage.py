"""Ways to damage files of coldstart's own formats, and how tests look at what is said of it."""

import json
import os
import shutil
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import ROOT
from safetensors.numpy import load_file, save_file

from coldstart.errors import InputError

HOLDS: dict[str, bytes] = {
    "nothing": b"",
    "a half": b'{"version": 1, "x',
    "a list": b"[]",
    "null": b"null",
    "a text": b'"x"',
    "a number": b"1",
    "bytes": b"\xff\xfe\x00\x01",
    "a deep list": b"[" * 100_000,
    "a deep mapping": b'{"version":' * 100_000,
    "not a number": b'{"version": NaN}',
    "very many digits": b'{"version": ' + b"9" * 5000 + b"}",
}
"""What may be in the place of a JSON file."""


def copy_of(name: str, folder: Path) -> Path:
    """A copy of files of version 0.1, which have to open."""
    return Path(shutil.copytree(ROOT / "tests" / "before" / name, folder / name))


def refused(read: Callable[[], object], *names: str) -> str:
    """The message that reading ends with: one sentence that names these, and what to do."""
    with pytest.raises(InputError) as caught:
        read()
    message = str(caught.value)
    assert all(name in message for name in names), message
    assert "\n" not in message, message
    assert len(message) < 900, message
    assert ";" in message, "it says what to do"
    return message


def changed(path: Path, place: str, value: Any = ...) -> None:
    """Set a field of a JSON file, named as in `a.b.0`; without a value, remove it."""
    content = json.loads(path.read_bytes())
    set_in(content, place, value)
    path.write_text(json.dumps(content), encoding="utf-8")


def set_in(content: Any, place: str, value: Any = ...) -> None:
    """Set, or remove, a field in a value."""
    *parts, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner = reduce(lambda each, key: each[key], parts, content)
    if value is ...:
        del inner[last]
    else:
        inner[last] = value


def with_arrays(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the arrays of a file."""
    arrays = {name: array.copy() for name, array in load_file(path).items()}
    change(arrays)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def with_table(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change a table."""
    change(pl.read_parquet(path)).write_parquet(path)


def flipped(path: Path, place: int, bit: int = 6) -> None:
    """Flip one bit of a file; a place below 0 counts from the end."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(bytes(content))


def no_file(path: Path, kind: str) -> None:
    """Put something else in the place of a file."""
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")


OTHERS = ["folder", "pipe", "device"]
