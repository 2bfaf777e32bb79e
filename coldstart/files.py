"""Writing files whole or not at all, and to this machine alone."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from coldstart.errors import InputError

log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

_HELD: set[Path] = set()
"""Folders that this process has reserved: of one process, the system refuses no second lock."""


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


def is_writable(folder: StrPath) -> bool:
    """Whether files can be written into a folder; if it doesn't exist, into the one it will be in.

    >>> import tempfile
    >>> is_writable(tempfile.gettempdir())
    True
    """
    path = Path(folder).absolute()
    existing = next(place for place in (path, *path.parents) if place.exists())
    return os.access(existing, os.W_OK)


def is_write_refused(error: OSError) -> bool:
    """Whether the reason is that the place is read-only, for everybody or for this user."""
    return error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def reserved(folder: StrPath, refusal: str) -> Iterator[None]:
    """Reserve a folder for this process; the system ends it with the process, however that ends.

    A file `.lock` stays in the folder, which says nothing once nobody holds it.

    Args:
        folder: made if it doesn't exist.
        refusal: the message if another process, or another thread, has reserved it.

    Raises:
        InputError: it is reserved already, or the folder is an address.
    """
    path = local(folder).absolute()
    new = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(parents=True, exist_ok=True)
    if path in _HELD:
        raise InputError(refusal)
    with (path / ".lock").open("a+b") as file:
        if not _lock(file.fileno()):
            raise InputError(refusal)
        _HELD.add(path)
        try:
            yield
        finally:
            _HELD.discard(path)
            if new and [each.name for each in path.iterdir()] == [".lock"]:  # nothing came of it
                (path / ".lock").unlink()
                with suppress(OSError):  # one that isn't empty
                    for place in new:
                        place.rmdir()


def _lock(descriptor: int) -> bool:
    """Whether this process has got the lock; released when the file is closed.

    Not `flock`, as filelock's: loader workers, which are forked, would hold it too, for some
    seconds after their trainer was killed.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        log.warning(
            f"this file system has no locks ({error}): nothing keeps a second fit from writing "
            "into the same folder"
        )
    return True


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
