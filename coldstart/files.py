"""Writing files so that nothing is ever half there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

StrPath = str | os.PathLike[str]


@contextmanager
def atomic(path: StrPath) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if the block succeeds.

    The temporary name keeps the ending, since some writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: StrPath) -> Iterator[Path]:
    """Give a new folder beside `path`; it takes its place, with all that is in it, if the block
    succeeds.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        shutil.rmtree(path, ignore_errors=True)
        new.replace(path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_json(path: StrPath, content: Any) -> None:
    """Write `content` as JSON, atomically; NaN and infinities are refused."""
    with atomic(path) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def fingerprint(*parts: Any) -> str:
    """Hash anything that JSON can hold: equal content, equal fingerprint.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_hash(path: StrPath) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_remote(place: StrPath) -> bool:
    """Whether this is an address, such as `s3://bucket/shards`, and no path.

    >>> is_remote("https://example.org/shards"), is_remote("data/shards")
    (True, False)
    """
    # A Path makes one slash of two.
    return re.match(r"[a-z][a-z0-9+.-]+:/", os.fspath(place)) is not None


def cache_folder() -> Path:
    """Where local copies lie: the environment's COLDSTART_CACHE, or the user's cache folder."""
    named = os.environ.get("COLDSTART_CACHE")
    return Path(named).absolute() if named else user_cache_path("coldstart")
