"""Downloading an original file: going on where it stopped, checked, and never half there."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from tqdm import tqdm

from coldstart.errors import InputError
from coldstart.files import file_hash, write_json

BLOCK = 1 << 20
PATIENCE = 60
"""Seconds without a byte after which a connection counts as broken."""


@dataclass(frozen=True)
class Remote:
    """One original file: its name, where it lies, and its checksum, if somebody has published one.

    Attributes:
        name: file name, also where the source is searched for it; may have folders in it.
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
        answer = _text(record)
        try:
            files = {file["key"]: str(file["checksum"]) for file in json.loads(answer)["files"]}
        except (ValueError, LookupError, TypeError) as error:
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
        found = re.search(r"^oid sha256:([0-9a-f]{64})$", _text(pointer), re.MULTILINE)
        if not found:
            raise InputError(f"{pointer}: doesn't say what the file's sha256 is")
        return f"sha256:{found[1]}"


def download(remote: Remote, folder: Path) -> Path:
    """Fetch a file, unless it is there; a download that broke off goes on.

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
            expected, by = (
                str(json.loads(note.read_bytes())["checksum"]),
                f"the first one, in {note}",
            )
        if not path.is_file():
            _fetch(remote.address, part)
        whole = path if path.is_file() else part
        found = _digest(whole, expected.partition(":")[0] or "sha256")
        if expected and found != expected:
            if whole == part:
                part.unlink()
            raise InputError(
                f"{remote.address}: the checksum is {found}, but should be {expected} (says {by}). "
                f"{'It is thrown away.' if whole == part else f'Delete {path}.'} Try again; if it "
                "stays so, the file has changed there: fetch it by hand, look at it, --source it"
            )
        about = {
            "address": remote.address,
            "checksum": found,
            "published_by": by if expected else "",
        }
        if not expected:
            print(f"{remote.name}: no checksum is published; {found} is recorded in {note}")
        write_json(note, {**about, "bytes": whole.stat().st_size})
        whole.replace(path)
    return path


def _fetch(address: str, part: Path) -> None:
    """Fetch into `part`, going on after what it has."""
    tag = part.with_name(part.name + ".tag")  # tells whether it is still the same file there
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and tag.is_file():
        headers["If-Range"] = tag.read_text()
    try:
        with _open(address, headers) as answer:
            if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0  # the server begins anew, and so do we
            tag.unlink(missing_ok=True)
            if re.match('"', version := answer.headers.get("ETag") or ""):  # W/"…" may be another
                tag.write_text(version)
            left = answer.headers.get("Content-Length")
            total = have + int(left) if left else None
            with part.open("ab" if have else "wb") as file:
                _copy(answer, file, part.name.removesuffix(".part"), have, total)
    except urllib.error.HTTPError as error:
        asked_past_the_end = error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
        if asked_past_the_end and whole == str(have):
            return  # all of it was there
        if asked_past_the_end and have:
            part.unlink()
            return _fetch(address, part)
        raise InputError(f"{address}: can't be fetched ({error})") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{address}: can't be fetched ({error}){_go_on(part)}") from error
    if total is not None and (got := part.stat().st_size) != total:
        raise InputError(f"{address}: broke off after {got:,} of {total:,} bytes{_go_on(part)}")
    tag.unlink(missing_ok=True)


def _go_on(part: Path) -> str:
    return ". The same command goes on where it stopped" if part.is_file() else ""


def _copy(answer: Any, file: BinaryIO, name: str, have: int, total: int | None) -> None:
    with tqdm(
        desc=name, initial=have, total=total, unit="B", unit_scale=True, disable=None
    ) as progress:
        while block := answer.read(BLOCK):
            file.write(block)
            progress.update(len(block))


def _open(address: str, headers: dict[str, str] | None = None) -> Any:
    if not re.match(r"https?://", address):
        raise ValueError("no http address")
    headers = {"User-Agent": "coldstart", **(headers or {})}
    request = urllib.request.Request(address, headers=headers)  # noqa: S310
    return urllib.request.urlopen(request, timeout=PATIENCE)  # noqa: S310


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
        raise InputError(f"{path}: {algorithm!r} is no kind of checksum that we know")
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
