"""Writing files whole or not at all, and to this machine alone."""

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

from coldstart.errors import InputError

StrPath = str | os.PathLike[str]


def is_remote(place: StrPath) -> bool:
    """Whether this is an address, such as `s3://bucket/shards`, and no path.

    A Windows path (`C:/data`) is none: a scheme has two letters or more.

    >>> is_remote("https://example.org/shards"), is_remote("data/shards"), is_remote("C:/data")
    (True, False, False)
    """
    # A Path makes one slash of two.
    return re.match(r"[a-z][a-z0-9+.-]+:/", os.fspath(place), re.IGNORECASE) is not None


def local(path: StrPath) -> Path:
    """The path, if something can be written there: all writers ask, and a verb does at its start.

    Raises:
        InputError: it is an address.

    >>> local("s3://bucket/splits.parquet")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: s3://bucket/splits.parquet: an address can't be written to; ...
    """
    if is_remote(path):
        address = re.sub(r":/+", "://", os.fspath(path), count=1)
        raise InputError(
            f"{address}: an address can't be written to; write to a local path and copy it there, "
            "for instance with the store's own tool"
        )
    return Path(path)


@contextmanager
def atomic(path: StrPath) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if the block succeeds.

    The temporary name keeps the ending, since some writers choose the format by it.

    Raises:
        InputError: `path` is an address.
    """
    path = local(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: StrPath) -> Iterator[Path]:
    """Give a new folder beside `path`, which replaces `path` if the block succeeds.

    Raises:
        InputError: `path` is an address.
    """
    path = local(path)
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


def cache_folder() -> Path:
    """Where local copies lie: the environment's COLDSTART_CACHE, or the user's cache folder.

    Raises:
        InputError: COLDSTART_CACHE is an address.
    """
    folder = os.environ.get("COLDSTART_CACHE")
    return local(folder).absolute() if folder else user_cache_path("coldstart")
