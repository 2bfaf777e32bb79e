"""Downloading an original file: resumable, tried again, checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import re
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from filelock import FileLock
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)

from coldstart.errors import InputError
from coldstart.files import file_hash, write_json
from coldstart.forms.content import json_in, must_have_form, record, text
from coldstart.reporting.progress import Progress

log = logging.getLogger(__name__)

BLOCK = 1 << 20
TIMEOUT = 60
"""Seconds without a byte after which a connection counts as broken."""

TRIES = 4
"""Of a fetch that fails for a reason that may pass by itself."""

WAIT = wait_exponential_jitter(initial=1, max=8, jitter=1)
"""Before another try: 1, 2 and 4 seconds, and up to one more, or many machines come at once."""

LONGEST_WAIT = 60
"""Seconds that a server may ask us to wait (`Retry-After`); if it asks for more, it gets this."""

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Statuses of HTTP that may be others in a while."""


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


class _MayPassError(Exception):
    """A fetch has failed for a reason that may pass by itself.

    Attributes:
        seconds: that the server asks to wait.
    """

    def __init__(self, reason: object, seconds: float = 0) -> None:
        super().__init__(str(reason))
        self.seconds = seconds


def _fetch(address: str, part: Path) -> None:
    """Fetch into `part`, after the bytes that it has already."""
    try:
        _tries(address)(_fetch_once, address, part)
    except _MayPassError as error:
        raise InputError(
            f"{address}: {error}, at each of {TRIES} tries{_resume_hint(part)}"
        ) from error.__cause__


def _tries(address: str) -> Retrying:
    """What calls a function again while it raises `_MayPassError`; the last one is raised."""

    def wait(state: RetryCallState) -> float:
        asked = error.seconds if isinstance(error := _error_of(state), _MayPassError) else 0
        return min(LONGEST_WAIT, max(WAIT(state), asked))

    def say(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0
        log.warning(f"{address}: {_error_of(state)}; another try in {seconds:.0f} s")

    return Retrying(
        retry=retry_if_exception_type(_MayPassError),
        stop=stop_after_attempt(TRIES),
        wait=wait,
        before_sleep=say,
        reraise=True,
    )


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _fetch_once(address: str, part: Path) -> None:
    """One try of `_fetch`."""
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
            return _fetch_once(address, part)
        _raise(error, f"can't be fetched ({error})", address)
    except (OSError, ValueError, http.client.HTTPException) as error:
        _raise(error, f"can't be fetched ({error})", address, _resume_hint(part))
    size_here = part.stat().st_size
    if total is not None and size_here != total:
        raise _MayPassError(f"broke off after {size_here:,} of {total:,} bytes")
    tag.unlink(missing_ok=True)


def _raise(error: Exception, reason: str, address: str, hint: str = "") -> NoReturn:
    """Raise what a failed fetch means.

    Raises:
        _MayPassError: another try may succeed.
        InputError: none would.
    """
    if isinstance(error, urllib.error.HTTPError):
        if error.code in _PASSING:
            asked = error.headers.get("Retry-After") or ""
            raise _MayPassError(reason, float(asked) if asked.isdecimal() else 0) from error
        raise InputError(f"{address}: {reason}{hint}") from error
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    passing = (ConnectionError, TimeoutError, http.client.HTTPException)
    no_name_server = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
    # A certificate that is wrong stays so, and so does an address that is none.
    lasting = (http.client.InvalidURL, ssl.SSLCertVerificationError)
    if (isinstance(cause, passing) or no_name_server) and not isinstance(cause, lasting):
        raise _MayPassError(reason) from error
    raise InputError(f"{address}: {reason}{hint}") from error


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
    """A short text at an address."""
    try:
        return str(_tries(address)(_text_once, address))
    except _MayPassError as error:
        raise InputError(f"{address}: {error}, at each of {TRIES} tries") from error.__cause__


def _text_once(address: str) -> str:
    try:
        with _open(address) as answer:
            return str(answer.read(10 * BLOCK), "utf-8")
    except (OSError, ValueError, http.client.HTTPException) as error:
        _raise(error, f"can't be asked for a checksum ({error})", address)


def _digest(path: Path, algorithm: str) -> str:
    if algorithm == "sha256":
        return f"sha256:{file_hash(path)}"
    if algorithm not in ("md5", "sha1"):
        raise InputError(f"{path}: {algorithm!r} is no kind of checksum that we support")
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
