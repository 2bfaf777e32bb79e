"""Downloading an original file: resumable, checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from coldstart.errors import InputError
from coldstart.files import file_hash, write_json
from coldstart.forms.content import json_in, must_have_form, record, text
from coldstart.reporting.progress import Progress

log = logging.getLogger(__name__)

BLOCK = 1 << 20
TIMEOUT = 60
"""Seconds without a byte after which a connection counts as broken."""


_NOTE = record({"checksum": text}, {}, others=True)
"""The form of what is noted of a file that was fetched."""


@dataclass(frozen=True)
class Remote:
    """One original file: its name, its address, and its checksum, if somebody has published one.

    Attributes:
        name: file name, by which a source is searched for it, too; may have folders in it.
        address: http(s) address.
        checksum: `md5:…`, `sha1:…` or `sha256:…`; empty: not published, as far as we know.
        by: who published the checksum.
    """

    name: str
    address: str
    checksum: str = ""
    by: str = "its host"

    def published(self) -> str:
        """The published checksum, or an empty text."""
        return self.checksum


@dataclass(frozen=True)
class Zenodo(Remote):
    """A file of a Zenodo record: the record itself says what its md5 is."""

    def published(self) -> str:
        """Ask the record.

        Raises:
            InputError: it can't be reached, or has no such file (its files are named).
        """
        record = re.sub(r"/records?/(\d+)/.*", r"/api/records/\1", self.address)
        name = self.address.rpartition("/")[2].partition("?")[0]
        text = _text(record)
        try:
            files = {file["key"]: str(file["checksum"]) for file in json.loads(text)["files"]}
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(f"{record}: doesn't list files and checksums ({error!r})") from error
        if name not in files:
            raise InputError(f"{record}: has no file {name!r}; it has: {', '.join(sorted(files))}")
        return files[name]


@dataclass(frozen=True)
class HuggingFace(Remote):
    """A large file on Hugging Face: its pointer in git holds its sha256."""

    def published(self) -> str:
        """Ask for the pointer.

        Raises:
            InputError: it can't be reached, or is no pointer.
        """
        pointer = self.address.replace("/resolve/", "/raw/")
        match = re.search(r"^oid sha256:([0-9a-f]{64})$", _text(pointer), re.MULTILINE)
        if not match:
            raise InputError(f"{pointer}: doesn't say what the file's sha256 is")
        return f"sha256:{match[1]}"


def download(remote: Remote, folder: Path) -> Path:
    """Fetch a file, unless it exists; a download that broke off is resumed.

    Beside it, `NAME.checksum.json` says what it was checked against. Where no checksum is
    published, that file records the first download's, and a later download must have the same.

    Args:
        remote: the file.
        folder: where it goes.

    Returns:
        Its path.

    Raises:
        InputError: it can't be fetched, breaks off, or has another checksum.
    """
    path = folder / remote.name
    note = path.with_name(path.name + ".checksum.json")
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.is_file() and note.is_file():
            return path
        expected, by = remote.published(), remote.by
        if not expected and note.is_file():
            remedy = f"delete it, and {path.name} is fetched anew"
            recorded = json_in(note, remedy)
            must_have_form(recorded, _NOTE, note, remedy)
            expected = recorded["checksum"]
            by = f"the first one, in {note}"
        if not path.is_file():
            _fetch(remote.address, part)
        file = path if path.is_file() else part
        checksum = _digest(file, expected.partition(":")[0] or "sha256")
        if expected and checksum != expected:
            if file == part:
                part.unlink()
            raise InputError(
                f"{remote.address}: the checksum is {checksum}, but should be {expected} (says "
                f"{by}). {'It is thrown away.' if file == part else f'Delete {path}.'} Try again; "
                "if it stays so, the file has changed there: fetch it by hand, look at it, "
                "--source it"
            )
        if not expected:
            log.info(f"{remote.name}: no checksum is published; {checksum} is recorded in {note}")
        about = {
            "address": remote.address,
            "checksum": checksum,
            "published_by": by if expected else "",
            "bytes": file.stat().st_size,
        }
        write_json(note, about)
        file.replace(path)
    return path


def _fetch(address: str, part: Path) -> None:
    """Fetch into `part`, after the bytes that it has already."""
    tag = part.with_name(part.name + ".tag")  # the version of the file that the bytes are of
    start = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and tag.is_file():
        headers["If-Range"] = tag.read_text()
    try:
        with _open(address, headers) as answer:
            if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                start = 0  # the server sends all of it
            tag.unlink(missing_ok=True)
            if re.match('"', version := answer.headers.get("ETag") or ""):  # W/"…" may be another
                tag.write_text(version)
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length else None
            with part.open("ab" if start else "wb") as file:
                _copy(answer, file, part.name.removesuffix(".part"), start, total)
    except urllib.error.HTTPError as error:
        past_the_end = error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        size = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if past_the_end and size == str(start):
            return  # `part` has all of it
        if past_the_end and start:
            part.unlink()
            return _fetch(address, part)
        raise InputError(f"{address}: can't be fetched ({error})") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{address}: can't be fetched ({error}){_resume_hint(part)}") from error
    size_here = part.stat().st_size
    if total is not None and size_here != total:
        raise InputError(
            f"{address}: broke off after {size_here:,} of {total:,} bytes{_resume_hint(part)}"
        )
    tag.unlink(missing_ok=True)


def _resume_hint(part: Path) -> str:
    return ". The same command goes on where it stopped" if part.is_file() else ""


def _copy(answer: Any, file: BinaryIO, name: str, start: int, total: int | None) -> None:
    with Progress(name, total, "bytes", done=start) as display:
        while block := answer.read(BLOCK):
            file.write(block)
            display.add(len(block))


def _open(address: str, headers: dict[str, str] | None = None) -> Any:
    if not re.match(r"https?://", address):
        raise ValueError("no http address")
    headers = {"User-Agent": "coldstart", **(headers or {})}
    request = urllib.request.Request(address, headers=headers)  # noqa: S310
    return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310


def _text(address: str) -> str:
    try:
        with _open(address) as answer:
            return str(answer.read(10 * BLOCK), "utf-8")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{address}: can't be asked for a checksum ({error})") from error


def _digest(path: Path, algorithm: str) -> str:
    if algorithm == "sha256":
        return f"sha256:{file_hash(path)}"
    if algorithm not in ("md5", "sha1"):
        raise InputError(f"{path}: {algorithm!r} is no kind of checksum that we support")
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
