"""One file from an address: within limits of time and size, tried again, and checked."""

from __future__ import annotations

import errno
import logging
import random
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from textwrap import shorten
from typing import Any, NamedTuple, TypeVar

from fsspec.asyn import sync
from fsspec.callbacks import Callback
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from coldstart.errors import InputError, without_passwords

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 20
"""Seconds in which the first bytes must come, and after them at least `LEAST` more each time."""
LEAST = 20_000
"""Bytes: what comes more slowly than this in `PATIENCE` seconds counts as nothing."""
WAITS = (1, 2, 4)
"""Seconds before the second, third and fourth try, where the reason may pass by itself; and up to
a quarter more, or many machines that were refused at once come again at once."""
REDIRECTS = 5
"""From one http address to another; never to another scheme."""

ADVICE = "write an address like https://host/folder or s3://bucket/folder"
AGAIN = (
    "see that the server and the network are well, and give the same command again: what is here "
    "already is not fetched twice"
)


class Failure(NamedTuple):
    """Why a try failed.

    Attributes:
        reason: for people.
        advice: what they can do.
        tries: how many tries this is worth.
        error: what was raised.
    """

    reason: str
    advice: str
    tries: int
    error: Exception


def fetch(
    address: str,
    folder: Path,
    use: Callable[[Path], T],
    largest: int = sys.maxsize,
    unannounced: int = sys.maxsize,
) -> T:
    """Fetch a file from an address, through whatever fsspec reads.

    Args:
        address: of the file.
        folder: where it lies while it is fetched; it must exist.
        use: called with its path once it is whole. It checks the file, and moves it if it is to be
            kept. A ValueError that it raises is the reason why the file is damaged.
        largest: bytes that it may have.
        unannounced: bytes that it may have if the server doesn't announce how many there are.

    Returns:
        What `use` returns.

    Raises:
        InputError: it can't be fetched, or is damaged.
        OSError: `folder` can't be written to.
    """
    number, waits = 0, iter(WAITS)
    while True:
        number += 1
        with TemporaryDirectory(prefix=".", dir=folder, ignore_cleanup_errors=True) as place:
            path = Path(place) / "file"
            failure = _transfer(address, path, largest, unannounced)
            if failure is None:
                try:
                    return use(path)
                except ValueError as error:
                    failure = _damage(path, error)
        wait = next(waits, None) if number < failure.tries else None
        if wait is None:
            tries = f", at each of {number} tries" if number > 1 else ""
            raise InputError(
                f"{address}: {failure.reason}{tries}; {failure.advice}"
            ) from failure.error
        log.warning(without_passwords(f"{address}: {failure.reason}; another try in {wait} s"))
        time.sleep(wait * random.uniform(1, 1.25))  # noqa: S311


def _transfer(address: str, path: Path, largest: int, unannounced: int) -> Failure | None:
    """One try. A thread does it, which is left alone where too little comes: no file system of
    fsspec's has limits of time that hold for all of it.
    """
    given_up = threading.Event()
    ended: SimpleQueue[Exception | None] = SimpleQueue()
    room = shutil.disk_usage(path.parent).free

    def limit(size: int | None, value: int, **_: object) -> None:
        if given_up.is_set():
            raise TimeoutError
        come = max(size or 0, value)
        most = largest if size and value <= size else min(largest, unannounced)
        if come > most:
            raise OSError(errno.EFBIG, f"it is longer than {most:,} bytes")
        if come > room:
            raise OSError(errno.ENOSPC, f"it has {come:,} bytes or more, and {room:,} are free")

    callback = Callback(hooks={"limit": limit})

    def work() -> None:
        try:
            _copy(address, path, callback)
            ended.put(None)
        except Exception as error:  # whatever a store's package raises
            ended.put(error)

    threading.Thread(target=work, daemon=True).start()
    before = 0
    while True:
        try:
            error = ended.get(timeout=PATIENCE)
            return None if error is None else _failure(error)
        except Empty:
            # A file system may write without a call of the hooks, or call them before it writes.
            come = max(callback.value, path.stat().st_size if path.exists() else 0)
            if come < before + LEAST:
                given_up.set()
                return _failure(TimeoutError(f"{come - before:,} bytes came in {PATIENCE} seconds"))
            before = come


def _copy(address: str, path: Path, callback: Any) -> None:
    """Copy a file from an address to a path; raises whatever fsspec raises."""
    system, name = url_to_fs(address)
    if address.startswith(("http:", "https:")):
        import aiohttp

        # Without `identity`, bytes and announced bytes would differ. By default all of a file would
        # have to come within five minutes.
        options = {
            "headers": {**system.kwargs.get("headers", {}), "Accept-Encoding": "identity"},
            "timeout": aiohttp.ClientTimeout(total=None, connect=PATIENCE, sock_read=PATIENCE),
            "max_redirects": REDIRECTS,
        }
        # Not `system.get_file`: it would take the timeout for its own.
        sync(system.loop, partial(system._get_file, name, str(path), callback=callback, **options))
        return
    if isinstance(system, LocalFileSystem) and not Path(name).is_file():
        raise FileNotFoundError(name)  # or a pipe or a device, which might never end
    system.get_file(name, str(path), callback=callback)
    if not path.is_file():  # of a folder, a folder is made
        raise FileNotFoundError(name)


def _failure(error: Exception) -> Failure:
    """What an error of fsspec's, or of the package below it, means."""
    import aiohttp

    text = str(error) or type(error).__name__
    status = getattr(error, "status", None)  # of an HTTP reply
    number, cause = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
    if isinstance(status, int):
        text = f"{status} {getattr(error, 'message', '')}"
    text = shorten(text, 200, placeholder=" …")
    said = partial(Failure, error=error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return said("there is no such file", "see that address and upload are complete", 1)
    if isinstance(error, PermissionError) or status in (401, 403):
        advice = "make it public, or put your credentials where fsspec looks for them"
        return said(f"access is refused ({text})", advice, 1)
    if isinstance(error, ImportError):
        return said(f"can't be fetched ({text})", "install what is missing beside coldstart", 1)
    if "Redirect" in type(error).__name__:  # aiohttp has several, in each version others
        return said(f"is redirected too often, or to no http address ({text})", ADVICE, 1)
    if number == socket.EAI_NONAME:
        return said(f"there is no such host ({text})", ADVICE, 1)
    if number in (socket.EAI_AGAIN, socket.EAI_FAIL):  # often after ten seconds or more
        return said(f"no name server knows the host ({text})", AGAIN, 2)
    if number == errno.EFBIG:
        return said(f"is refused, since {cause}", "give the address of a dataset of coldstart's", 1)
    if number in (errno.ENOSPC, errno.EDQUOT):
        advice = "make room, or let COLDSTART_CACHE name a folder with more"
        return said(f"doesn't fit on the disk ({cause})", advice, 1)
    if isinstance(error, TimeoutError):
        return said(f"nobody answers, or too slowly ({text})", AGAIN, 2)
    if status is not None and (status >= 500 or status in (408, 425, 429)):
        return said(f"the server is in trouble ({text})", AGAIN, len(WAITS) + 1)
    passing = (ConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    if isinstance(error, passing) and not isinstance(error, aiohttp.ClientSSLError):
        nobody = isinstance(error, (aiohttp.ClientConnectorError, ConnectionRefusedError))
        reason = "nobody answers" if nobody else "the connection broke off"
        return said(f"{reason} ({text})", AGAIN, len(WAITS) + 1)
    return said(f"can't be fetched ({text})", ADVICE, 1)


def _damage(path: Path, error: ValueError) -> Failure:
    """What it means that a file isn't as it should be: a cut reply, a bad upload, a web page."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        advice = "open it in a browser to see whether it wants a login, or another address"
        return Failure("a web page came instead of the file", advice, 1, error)
    return Failure(f"came damaged ({error})", "upload it again, as coldstart wrote it", 2, error)
