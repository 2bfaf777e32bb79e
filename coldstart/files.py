"""Writing files whole or not at all, and to this machine alone."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from coldstart.errors import InputError
from coldstart.sigterm import UNFINISHED

log = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]

MISSING, FOLDER = "there is no such file", "it is a folder, not a file"
FORBIDDEN = "this user isn't allowed to read it"
"""Reasons that `unusable` gives."""

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


def absolute(place: StrPath) -> str:
    """A path that means the same on every machine that shares the storage; an address does already.

    >>> absolute("s3://bucket/tracks.parquet")
    's3://bucket/tracks.parquet'
    """
    return os.fspath(place) if is_remote(place) else str(Path(place).absolute())


def unusable(path: StrPath) -> str:
    """Why this is no file that can be read; empty if it is one, or a link to one.

    A pipe or a device may have no end: a reader would wait for it, or fill the memory.

    >>> unusable("nowhere.csv"), unusable(".")
    ('there is no such file', 'it is a folder, not a file')
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except OSError as error:  # too long a name, a circle of links, no permission
        if getattr(error, "winerror", 0) == 123:  # on Windows, of a pattern such as *.csv
            return MISSING
        return f"the system can't open it ({error.strerror})"
    except ValueError:
        return "no file can have this name, which holds a null or half a character"
    if stat.S_ISREG(mode):
        return "" if os.access(path, os.R_OK) else FORBIDDEN
    if stat.S_ISDIR(mode):
        return FOLDER
    kind = "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
    return f"it is a {kind}, not a file; save what it gives as a file"


def local(path: StrPath) -> Path:
    """The path, if something can be written there: all writers ask, and a verb does at its start.

    Raises:
        InputError: it is an address, or would be in a file as if that were a folder.

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
    path = Path(path)
    for place in path.parents:
        kind = unusable(place)
        if kind in ("", FORBIDDEN):
            raise InputError(f"{path}: can't be written: {place} is a file, not a folder")
        if kind != MISSING:
            break
    return path


def writable(path: StrPath) -> Path:
    """The path, if this user may write something there: a verb asks at its start, for its output.

    Raises:
        InputError: it is an address, would be in a file as if that were a folder, or is in a folder
            that can't be written to.
    """
    path = local(path)
    if not is_writable(path if path.is_dir() else path.parent):
        raise InputError(f"{path}: can't be written: the folder is read-only; name another place")
    return path


def made_folder(path: StrPath) -> Path:
    """The folder, made if it doesn't exist, and those that it is in.

    Raises:
        InputError: it is an address or a file, or no folder can be called so.
    """
    path = local(path)
    _refuse_file(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_write_refused(error):
            raise
        raise InputError(f"{path}: no folder can be made there ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{str(path)!r}: no folder can have this name") from error
    return path


def _refuse_file(path: Path) -> None:
    """Raise InputError if a file, or anything else, is where a folder is to be."""
    if (kind := unusable(path)) not in (FOLDER, MISSING):
        kind = kind.partition(";")[0] or "it is a file, not a folder"
        raise InputError(f"{path}: can't be written: {kind}; name another")


@contextmanager
def atomic(path: StrPath) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if the block succeeds.

    The temporary name keeps the ending, since some writers choose the format by it. What processes
    that were killed have left of the same file is removed.

    Raises:
        InputError: `path` is an address, a folder, or a device.
    """
    path = local(path)
    if (reason := unusable(path)) not in ("", MISSING, FORBIDDEN):
        raise InputError(f"{path}: can't be written: {reason.partition(';')[0]}; name another")
    made_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    for half in _halves(path):
        remove_half(half)
    UNFINISHED.add(temporary)
    try:
        yield temporary
        temporary.replace(path)
    except Exception as error:
        _refuse_full_disk(path, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        UNFINISHED.discard(temporary)


@contextmanager
def atomic_folder(path: StrPath) -> Iterator[Path]:
    """Give a new folder beside `path`, which replaces `path` if the block succeeds.

    Whoever is killed meanwhile leaves the old folder, the new one, or none: never half of one.

    Raises:
        InputError: `path` is an address or a file.
    """
    path = local(path)
    _refuse_file(path)
    new, old = (path.with_name(f".{path.name}.{which}") for which in ("new", "old"))
    remove_half(new)
    remove_half(old)
    made_folder(new)
    UNFINISHED.add(new)
    try:
        yield new
        if path.is_dir():
            path.replace(old)
            shutil.rmtree(old, ignore_errors=True)
        new.replace(path)
    except Exception as error:
        _refuse_full_disk(path, error)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        UNFINISHED.discard(new)


def _halves(path: Path) -> list[Path]:
    """Temporary files from which `path` was to become, and whose writer is no more."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.(\d{{1,9}}){re.escape(path.suffix)}")
    with os.scandir(path.parent) as files:
        found = [(file.name, name.fullmatch(file.name)) for file in files]
    return [path.with_name(each) for each, match in found if match and not _lives(int(match[1]))]


def _lives(process: int) -> bool:
    """Whether a process of this machine is there."""
    if sys.platform == "win32":  # where the signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def remove_half(path: Path) -> None:
    """Remove a file or folder that a process which was killed has left half-written; say so."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        path.unlink(missing_ok=True)
    else:
        return
    log.info(f"{path}: left half-written by a process that was killed; removed")


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


def is_disk_full(error: BaseException) -> bool:
    """Whether the reason is that there is no space left, for everybody or for this user.

    Writers that are no Python (tables, tensors, sound) say so in words, or in what they were raised
    from.
    """
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    words = rf"os error ({'|'.join(map(str, full))})\b|{'|'.join(map(os.strerror, full))}"
    chain: BaseException | None = error
    while chain is not None:
        if (isinstance(chain, OSError) and chain.errno in full) or re.search(words, str(chain)):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def _refuse_full_disk(path: Path, error: Exception) -> None:
    """Raise InputError if `path` could not be written since there is no space left."""
    if not isinstance(error, InputError) and is_disk_full(error):
        raise InputError(
            f"{path}: can't be written: no space left; what was there before is as it was. Make "
            "room, and give the same command again"
        ) from error


@contextmanager
def reserved(folder: StrPath, refusal: str) -> Iterator[None]:
    """Reserve a folder for this process; the system ends it with the process, however that ends.

    A file `.lock` stays in the folder, empty once the process has come to its end. One that was
    killed is said to have been here.

    Args:
        folder: made if it doesn't exist.
        refusal: the message if another process, or another thread, has reserved it.

    Raises:
        InputError: it is reserved already, or the folder is an address or a file.
    """
    path = local(folder).absolute()
    new = [place for place in (path, *path.parents) if unusable(place) == MISSING]
    made_folder(path)
    if path in _HELD:
        raise InputError(refusal)
    with (path / ".lock").open("a+b") as file:
        file.seek(0)
        if not _lock(file.fileno()):
            raise InputError(refusal)
        _HELD.add(path)
        if before := file.read(20).decode("utf-8", "replace"):
            log.info(f"{path}: process {before} was killed at work here; its place is taken")
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
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
