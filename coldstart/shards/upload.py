"""A dataset that is written to an address: in a folder of the cache first, then uploaded.

The folder stays, so that an interrupted job and an interrupted upload go on, and so that what is
added later takes no second upload of the rest. A note in it says what each file was, here and at
the address, when it was uploaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple, TextIO

from filelock import FileLock
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from coldstart.addresses.copies import copying, private
from coldstart.addresses.failures import AbsentError
from coldstart.addresses.places import StoredFile, files_at, normal
from coldstart.addresses.transfer import asked, is_http
from coldstart.audio.report import NAME as REPORT
from coldstart.errors import InputError
from coldstart.files import StrPath, cache_folder, write_json
from coldstart.reporting.progress import Progress
from coldstart.shards.listing import parsed
from coldstart.shards.remote import ORIGIN, fetch_into, listing_at

log = logging.getLogger(__name__)

LISTING = "dataset.json"
"""Uploaded last: whoever reads the address meanwhile finds all that it lists."""

NOTE = ".uploaded.jsonl"
SLOWEST = 100_000
"""Bytes a second: an upload that is slower on the whole is given up, and tried once more."""
AT_ONCE = 4
"""Files side by side: small ones take the way there and back more than anything else."""
MOST = 10_000_000
"""Files at the address."""


class Uploaded(NamedTuple):
    """What an upload has done.

    Attributes:
        files: that were uploaded.
        bytes: of these.
        skipped: files that were there already.
    """

    files: int
    bytes: int
    skipped: int


class _Sent(NamedTuple):
    """A file as it was when it was uploaded: its size and time here, its state at the address."""

    size: int
    time: int
    state: str


def staging(place: StrPath) -> Path:
    """The folder in which a dataset for an address is written.

    Where there is a dataset at the address that isn't this folder's, the folder is made anew from
    it, without its tars: it can be extended here as there.

    Raises:
        InputError: the address can't be reached or written to, or its dataset and what has been
            written here since the last upload have both changed.
    """
    address = normal(place)
    if is_http(address):
        raise InputError(
            f"{address}: a web server takes no files; name an object store, such as s3://bucket/x, "
            "or a local path"
        )
    files = _there(address)
    there = files.get(LISTING)
    with copying(address, cache_folder()):
        folder = private(address, "uploads")
        with FileLock(f"{folder}.lock"):
            path, sent = folder / LISTING, _sent(folder).get(LISTING)
            if there is None or (sent and sent.state and sent.state == there.state):
                return folder
            if path.is_file() and _is_same(path, there):
                return folder
            if path.is_file() and not (sent and _is_as_sent(path, sent)):
                raise InputError(
                    f"{address}: its dataset was changed by somebody else, and {folder} has what "
                    "was never uploaded; delete that folder to go on from what is at the address, "
                    "or choose another --out"
                )
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            _begin(address, folder, files)
    return folder


def _begin(address: str, folder: Path, there: Mapping[str, StoredFile]) -> None:
    """Fetch what is needed of a dataset to extend it: all but its tars."""
    about = listing_at(address, folder)
    names = [
        f"{split}/tracks/{number:06d}.json"
        for split, sizes in about["splits"].items()
        for number in range(len(sizes))
    ]
    for name in names:
        fetch_into(folder / name, f"{address}/{name}", lambda path: parsed(path.read_bytes()))
    if REPORT in there:
        fetch_into(folder / REPORT, f"{address}/{REPORT}", Path.stat)
        names.append(REPORT)
    # What makes a folder a copy of an address is not for a stranger to say.
    write_json(folder / LISTING, {key: value for key, value in about.items() if key != ORIGIN})
    with (folder / NOTE).open("a", encoding="utf-8") as note:
        for name in (*names, LISTING):
            if name in there:
                stat = (folder / name).stat()
                _enter(note, name, _Sent(stat.st_size, stat.st_mtime_ns, there[name].state))


def upload(folder: Path, place: StrPath) -> Uploaded:
    """Upload a dataset: what isn't at the address yet, and `dataset.json` last.

    Args:
        folder: that `staging` gave, with a whole dataset.
        place: the address that it was given.

    Raises:
        InputError: a file can't be uploaded, or isn't there afterwards as it is here.
    """
    address = normal(place)
    with FileLock(f"{folder}.lock"):
        there, sent = _there(address), _sent(folder)
        files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not any(name[0] == "." for name in path.relative_to(folder).parts)
        }
        rest = {
            name: path
            for name, path in files.items()
            if not _is_there(path, there.get(name), sent.get(name))
        }
        size = sum(path.stat().st_size for path in rest.values())
        log.info(f"{address}: {len(rest):,} of {len(files):,} files are to be uploaded")
        last = rest.pop(LISTING, None)
        with (
            (folder / NOTE).open("a", encoding="utf-8") as note,
            Progress("uploading", size, "bytes") as display,
            ThreadPoolExecutor(AT_ONCE) as pool,
        ):
            jobs = {
                pool.submit(_put, path, f"{address}/{name}"): name for name, path in rest.items()
            }
            try:
                for job in as_completed(jobs):
                    _enter(note, jobs[job], job.result())
                    display.add(job.result().size)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
            _verify(address, {name: path for name, path in files.items() if name != LISTING})
            if last is not None:
                _enter(note, LISTING, _put(last, f"{address}/{LISTING}"))
                rest[LISTING] = last
        return Uploaded(len(rest), size, len(files) - len(rest))


def _put(path: Path, address: str) -> _Sent:
    """Upload one file; what it was here, and is there."""
    before = path.stat()

    def put() -> None:
        system, name = url_to_fs(address)
        if isinstance(system, LocalFileSystem):
            system.makedirs(system._parent(name), exist_ok=True)
        system.put_file(str(path), name)

    try:
        asked(address, put, "written", more=before.st_size / SLOWEST)
    except AbsentError as error:
        raise InputError(
            f"{address}: there is no such bucket, or it can't be seen; make it with the store's "
            "own tool, or see that its name is right"
        ) from error
    there = files_at(address, 1)
    if not isinstance(there, StoredFile) or there.size != before.st_size:
        raise _other(address, there.size if isinstance(there, StoredFile) else None, before.st_size)
    return _Sent(before.st_size, before.st_mtime_ns, there.state)


def _verify(address: str, files: Mapping[str, Path]) -> None:
    """Raise InputError unless all files are at the address, each as long as here."""
    there = _there(address)
    for name, path in files.items():
        size = there[name].size if name in there else None
        if size != path.stat().st_size:
            raise _other(f"{address}/{name}", size, path.stat().st_size)


def _other(address: str, there: int | None, here: int) -> InputError:
    found = "isn't there" if there is None else f"has {there:,} bytes"
    return InputError(
        f"{address}: {found} after the upload, and {here:,} here; see who else writes there, and "
        "give the same command again"
    )


def _there(address: str) -> dict[str, StoredFile]:
    """Name → file, of all files at an address."""
    try:
        found = files_at(address, MOST)
    except AbsentError:
        return {}
    if isinstance(found, StoredFile):
        raise InputError(f"{address}: is a file, not a folder; name another place")
    return {file.name: file for file in found[1]}


def _is_there(path: Path, there: StoredFile | None, sent: _Sent | None) -> bool:
    """Whether the file at the address is this one, or has become another one than was sent."""
    if there is None:
        return False
    return (sent is not None and _is_as_sent(path, sent)) or _is_same(path, there)


def _is_as_sent(path: Path, sent: _Sent) -> bool:
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns) == (sent.size, sent.time)


def _is_same(path: Path, there: StoredFile) -> bool:
    """Whether a file is the one at the address, by its length and its checksum."""
    if there.size != path.stat().st_size or not there.checksums:
        return False
    with path.open("rb") as file:
        total = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    texts = {total.hexdigest(), base64.b64encode(total.digest()).decode()}
    return bool(texts & there.checksums)


def _sent(folder: Path) -> dict[str, _Sent]:
    """Name → what was uploaded; {} if the note is damaged: then checksums tell."""
    try:
        lines = (folder / NOTE).read_text(encoding="utf-8").splitlines()
        return {name: _Sent(*facts) for name, facts in map(json.loads, lines)}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _enter(note: TextIO, name: str, sent: _Sent) -> None:
    note.write(json.dumps([name, sent]) + "\n")
    note.flush()
