"""Copies of files at an address in the user's cache: whole, private, and as new as the files.

Whether a file has changed is asked each time: by its size and whatever its store says of it, such
as an ETag or a date. Where a store says nothing, the file is fetched each time.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from filelock import FileLock

from coldstart.addresses.places import StoredFile, files_at, name_at, normal
from coldstart.addresses.transfer import fetch
from coldstart.errors import InputError
from coldstart.files import StrPath, cache_folder, fingerprint, is_remote
from coldstart.sigterm import UNFINISHED

log = logging.getLogger(__name__)

MOST = 100_000
"""Files of a folder, or of a pattern, that are copied."""
UNANNOUNCED = 1 << 30
"""Bytes of a file whose length its server doesn't announce."""


class Copy(NamedTuple):
    """A copy of what is at an address.

    Attributes:
        path: of the file, the folder or the pattern, as it is here.
        origins: what `path` begins with here, and what that is at the address.
    """

    path: Path
    origins: tuple[str, str]


@contextmanager
def copying(address: str, folder: Path) -> Iterator[None]:
    """Raise InputError where a local copy can't be made, read or written to."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{address}: its local copy can't lie in {folder} ({error}); let COLDSTART_CACHE name "
            "a folder of your own, with room"
        ) from error


def private(address: str, *parents: str) -> Path:
    """The folder in the cache of what is at an address: of this user alone, made if need be.

    What is behind a login stays so. The folder of somebody else, who would choose what we read,
    can't be changed.
    """
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", name_at(address))[:100]
    folder = cache_folder()
    for name in (*parents, f"{stem}-{fingerprint(address)[:12]}"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder /= name
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def copied(place: StrPath, wanted: Callable[[str], bool]) -> Copy:
    """Copy a file, the files of a folder, or those of a pattern, unless they are here already.

    Args:
        place: an address.
        wanted: whether a file of this path, from the folder on, is to be read. Of the others there
            is a file of that name with nothing in it: what is there is seen without being fetched.

    Raises:
        AbsentError: there is nothing.
        InputError: it can't be fetched, there is no room, or a name can't be that of a file here.
    """
    address = normal(place)
    found = files_at(address, MOST)
    with copying(address, cache_folder()):
        folder = private(address, "tables")
        content = folder / "files"
        with FileLock(f"{folder}.lock"):
            if isinstance(found, StoredFile):
                file = found._replace(name=re.sub(r"[^\w.-]", "_", found.name)[-200:])
                _refresh([file], folder, wanted)
                return Copy(content / file.name, (str(content / file.name), address))
            root, files = found
            _refresh([file for file in files if _usable(file, wanted)], folder, wanted)
            rest = address[len(root) :].lstrip("/")  # of a pattern, from its first wildcard on
            return Copy(content / rest, (str(content), root))


def _usable(file: StoredFile, wanted: Callable[[str], bool]) -> bool:
    """Whether the name can be a path within a folder of ours.

    Raises:
        InputError: it can't, and the file is wanted.
    """
    parts = file.name.split("/")
    inside = all(part not in ("", ".", "..") and len(part.encode()) <= 200 for part in parts)
    usable = inside and not re.search(r"[\x00-\x1f\x7f\\]", file.name)
    if not usable and wanted(file.name):
        raise InputError(f"{file.address!r}: no file here can have this name; rename it there")
    return usable


def _refresh(files: Sequence[StoredFile], folder: Path, wanted: Callable[[str], bool]) -> None:
    """Make `folder`/files as the files at the address are."""
    content, note = folder / "files", folder / "states.jsonl"
    content.mkdir(exist_ok=True)
    noted = _noted(note)
    names = {file.name for file in files}
    for path in [*content.rglob("*")]:
        if path.is_file() and path.relative_to(content).as_posix() not in names:
            path.unlink()
    with note.open("a", encoding="utf-8") as states:
        for file in files:
            path = content / file.name
            if path.is_file() and file.state and noted.get(file.name) == file.state:
                continue
            if path.is_dir():  # there was a folder of this name
                shutil.rmtree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not wanted(file.name):
                path.write_bytes(b"\n")  # not empty: an empty part of text would be none
                continue
            fetch(file.address, folder, partial(_move, path), unannounced=UNANNOUNCED)
            log.info(f"{file.address}: copied into the cache")
            states.write(json.dumps([file.name, file.state]) + "\n")
            states.flush()


def _move(path: Path, fetched: Path) -> None:
    fetched.replace(path)


def _noted(note: Path) -> dict[str, str]:
    """Name → state of each file, as it was when the file was copied; {} if that is damaged."""
    try:
        return dict(map(json.loads, note.read_text(encoding="utf-8").splitlines()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


@contextmanager
def named_after(copy: Copy) -> Iterator[Path]:
    """Give a copy's path; errors about it name the address."""
    here, address = copy.origins
    _ORIGINS[here] = address
    try:
        yield copy.path
    except InputError as error:
        raise type(error)(str(error).replace(here, address)) from error


_ORIGINS: dict[str, str] = {}
"""What copies' paths begin with, and what that is at the address."""


def origin_of(path: StrPath) -> str:
    """What a file, or its copy, is called in messages: its path, or its address.

    >>> origin_of("tracks.csv")
    'tracks.csv'
    """
    text = os.fspath(path)
    for here, address in _ORIGINS.items():
        if text == here or text.startswith(here + os.sep):
            return address + text[len(here) :].replace(os.sep, "/")
    return text


@contextmanager
def fetched(place: StrPath) -> Iterator[Path]:
    """Give the path of a file: its own, or, of one at an address, that of a copy for this block.

    Raises:
        AbsentError: there is no such file.
        InputError: it can't be fetched.
    """
    if not is_remote(place):
        yield Path(place)
        return
    address = normal(place)
    with TemporaryDirectory(prefix="coldstart-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        path = folder / re.sub(r"[^\w.-]", "_", name_at(address))[-200:]
        UNFINISHED.add(folder)
        try:
            fetch(address, folder, partial(_move, path), unannounced=UNANNOUNCED)
            yield path
        finally:
            UNFINISHED.discard(folder)
