"""Something asked of an address, or fetched from it: within limits, tried again, and checked."""

from __future__ import annotations

import errno
import inspect
import logging
import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from fsspec.asyn import sync
from fsspec.callbacks import Callback
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from coldstart.addresses.failures import Failure, failure_of
from coldstart.errors import without_passwords

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 20
"""Seconds in which the first bytes must come, and after them at least `LEAST` more each time."""
LEAST = 20_000
"""Bytes: what comes more slowly than this in `PATIENCE` seconds counts as nothing."""
LONGER = 3
"""So many times as long may an answer take of which no bytes are seen, such as a listing."""
WAITS = (1, 2, 4)
"""Seconds before the second, third and fourth try, where the reason may pass by itself; and up to
a quarter more, or many machines that were refused at once come again at once."""
REDIRECTS = 5
"""From one http address to another; never to another scheme."""


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
        AbsentError: there is no such file.
        InputError: it can't be fetched, or is damaged.
        OSError: `folder` can't be written to.
    """

    def attempt() -> T | Failure:
        with TemporaryDirectory(prefix=".", dir=folder, ignore_cleanup_errors=True) as place:
            path = Path(place) / "file"
            failure = _transfer(address, path, largest, unannounced)
            if failure is not None:
                return failure
            try:
                return use(path)
            except ValueError as error:
                return _damage(path, error)

    return tried(address, attempt)


def asked(address: str, question: Callable[[], T], what: str = "fetched", more: float = 0) -> T:
    """What a question to a store is answered with, such as what lies in a folder, or a write.

    Args:
        address: that it is about, for messages.
        question: may be left alone, and then goes on in its thread.
        what: was to be done, for messages.
        more: seconds that it may take beside those that each question may.

    Raises:
        AbsentError: there is nothing.
        InputError: no answer comes, or it is no.
    """

    def attempt() -> T | Failure:
        answer: SimpleQueue[tuple[T] | Exception] = SimpleQueue()

        def work() -> None:
            try:
                answer.put((question(),))
            except Exception as error:  # whatever a store's package raises
                answer.put(error)

        threading.Thread(target=work, daemon=True).start()
        seconds = LONGER * PATIENCE + more
        try:
            got = answer.get(timeout=seconds)
        except Empty:
            got = TimeoutError(f"no answer in {seconds:,.0f} seconds")
        return failure_of(got, what) if isinstance(got, Exception) else got[0]

    return tried(address, attempt)


def tried(address: str, attempt: Callable[[], T | Failure]) -> T:
    """What an attempt gives, made again where the reason of a failure may pass by itself.

    Raises:
        InputError: the last one failed, too.
    """
    number, waits = 0, iter(WAITS)
    while True:
        number += 1
        failure = attempt()
        if not isinstance(failure, Failure):
            return failure
        wait = next(waits, None) if number < failure.tries else None
        if wait is None:
            tries = f", at each of {number} tries" if number > 1 else ""
            message = f"{address}: {failure.reason}{tries}; {failure.advice}"
            raise failure.kind(message) from failure.error
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
    counted = written = 0
    while True:
        try:
            error = ended.get(timeout=PATIENCE)
            return None if error is None else failure_of(error)
        except Empty:
            # A file system may write without a call of the hooks, call them before it writes, or
            # give the file its whole length at once.
            before = counted, written
            counted, written = callback.value, path.stat().st_size if path.exists() else 0
            come = max(counted - before[0], written - before[1])
            if come < LEAST:
                given_up.set()
                return failure_of(TimeoutError(f"{come:,} bytes came in {PATIENCE} seconds"))


def is_http(address: str) -> bool:
    """Whether a web server is asked, which has no folders.

    >>> is_http("https://example.org/a.csv"), is_http("s3://bucket/a.csv")
    (True, False)
    """
    return address.lower().startswith(("http:", "https:"))


def http_options(system: Any) -> dict[str, Any]:
    """How we ask: of fsspec's file system of HTTP, options of each request."""
    import aiohttp

    # Without `identity`, bytes and announced bytes would differ. By default all of a file would
    # have to come within five minutes.
    return {
        "headers": {**system.kwargs.get("headers", {}), "Accept-Encoding": "identity"},
        "timeout": aiohttp.ClientTimeout(total=None, connect=PATIENCE, sock_read=PATIENCE),
        "max_redirects": REDIRECTS,
    }


def _copy(address: str, path: Path, callback: Any) -> None:
    """Copy a file from an address to a path; raises whatever fsspec raises."""
    system, name = url_to_fs(address)
    if is_http(address):
        # Not `system.get_file`: it would take the timeout for its own.
        options = http_options(system)
        sync(system.loop, partial(system._get_file, name, str(path), callback=callback, **options))
        return
    if isinstance(system, LocalFileSystem) and not Path(name).is_file():
        raise FileNotFoundError(name)  # or a pipe or a device, which might never end
    # Pieces side by side, as s3fs fetches what is large, are held in memory, ten of 50 MB, before
    # any of it is counted or written: a slow line would seem to bring nothing.
    own = inspect.signature(getattr(system, "_get_file", system.get_file)).parameters
    options = {"max_concurrency": 1} if "max_concurrency" in own else {}
    system.get_file(name, str(path), callback=callback, **options)
    if not path.is_file():  # of a folder, a folder is made
        raise FileNotFoundError(name)


def _damage(path: Path, error: ValueError) -> Failure:
    """What it means that a file isn't as it should be: a cut reply, a bad upload, a web page."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        advice = "open it in a browser to see whether it wants a login, or another address"
        return Failure("a web page came instead of the file", advice, 1, error)
    return Failure(f"came damaged ({error})", "upload it again, as coldstart wrote it", 2, error)
