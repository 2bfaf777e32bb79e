"""SIGINT and SIGTERM: how a verb ends by them, and how a fit saves first.

`heed` is the one place that answers them. The signal raises `Stopped` in the main thread, so that
everything is left in order. A process that hasn't ended a second later, since it is in C code that
doesn't come back to Python, or somebody has swallowed the exception, is ended from another thread:
files are written whole or not at all, so nothing is lost. What must take longer says so: a fit that
saves (`Sigterm`), and whoever waits for one (`saving`).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import active_children
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from coldstart.errors import Stopped

PATIENCE = 1.0
"""Seconds from the signal until a process that hasn't ended by itself is ended."""

_AGAIN = 0.3
"""Seconds after which a second SIGINT is another one: `timeout` and others send one twice."""

_MOMENT = 1.0
"""Seconds that other processes have to end, once they are told to."""

UNFINISHED: set[Path] = set()
"""Files and folders that are being written under another name; removed where a process is ended."""


class _Stop:
    """The state of this process: there is one.

    Attributes:
        heeded: whether `heed` was called.
        first: the signal that has stopped it.
        raises: whether somebody is there who catches `Stopped`.
        saving: how many wait for something that is being saved.
        said: whether a person has been told, or isn't to be.
        verb: what is running.
        keeps: what to say of what is kept, and of how to go on.
    """

    heeded = False
    first: int | None = None
    raises = False
    saving = 0
    said = False
    verb, keeps = "", "nothing was begun; to begin, give the same command again"


_stop = _Stop()


def heed(patience: float = PATIENCE) -> None:
    """From now on, answer SIGINT and SIGTERM; for a program's main thread.

    A signal that is ignored stays so, as under `nohup` or in a shell's background.

    Args:
        patience: seconds until the process is ended; 0: one of ours, whose parent speaks for it.
    """
    if os.name == "nt" or _stop.heeded:
        return  # on Windows, SIGINT is KeyboardInterrupt, and there is no SIGTERM
    _stop.heeded, _stop.said = True, patience == 0 or os.environ.get("LOCAL_RANK", "0") != "0"
    _stop.verb = " ".join(sys.argv[1:2])
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _receive)
    sys.unraisablehook = _without_stops(sys.unraisablehook)
    threading.excepthook = _before_a_stop(threading.excepthook)
    os.register_at_fork(after_in_child=_as_worker)
    watch = threading.Thread(target=_watch, args=(reader, writer, patience), daemon=True)
    watch.start()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block, a signal that was heeded raises `Stopped`, also one from before.

    Whatever comes out of the block once a signal has come is `Stopped`: what it was raised in may
    have made something else of it, as C code does that calls Python.
    """
    before, _stop.raises = _stop.raises, _stop.heeded
    try:
        if _stop.first is not None:
            raise Stopped(_stop.first)
        yield
        if _stop.first is not None:
            raise Stopped(_stop.first)
    except BaseException as error:
        if _stop.first is None or isinstance(error, Stopped):
            raise
        raise Stopped(_stop.first) from error
    finally:
        _stop.raises = before


def describe(verb: str, keeps: str) -> None:
    """Say what is running, and what is to be said of what is kept if it is stopped."""
    _stop.verb, _stop.keeps = verb, keeps


def sentence(number: int) -> str:
    """What a person is to know when a signal has ended the process."""
    how = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
    return f"coldstart {_stop.verb}: {how}; {_stop.keeps}"


def say(text: str) -> None:
    """Write a process's last words to stderr; of a process that a signal has stopped, the first."""
    if not _stop.heeded:
        sys.stderr.write(f"{text}\n")
    elif not _stop.said:
        _stop.said = True
        with suppress(OSError, ValueError):  # nobody is there any more
            sys.stderr.flush()
            os.write(2, f"{text}\n".encode())


@contextmanager
def saving() -> Iterator[None]:
    """Within the block, a process that was stopped may take its time; a second SIGINT ends it."""
    _stop.saving += 1
    try:
        yield
    finally:
        _stop.saving -= 1


def end(status: int) -> None:
    """End a stopped process: to tear down what was imported takes a busy machine seconds."""
    if _stop.heeded and "wandb" not in sys.modules:  # which still sends what it has
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        end_at_once(status)


def end_at_once(status: int) -> NoReturn:
    """End this process and those it has started, whatever they are doing.

    Those that have been told to end get a moment to remove what is half-written.
    """
    until = time.monotonic() + _MOMENT
    for child in active_children():
        with suppress(OSError, ValueError):
            child.join(max(0.0, until - time.monotonic()))
        child.kill()
    for path in list(UNFINISHED):
        with suppress(OSError):
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)
    os._exit(status)


def _receive(number: int, frame: FrameType | None) -> None:
    """The handler of both signals: what was started in other processes ends as well, or saves."""
    if _stop.first is not None:
        return
    _stop.first, children = number, active_children()
    for child in children:
        child.terminate()
    if not _stop.raises:
        return
    if not _is_importing(frame):
        raise Stopped(number)
    if not children:  # else they have the time until `_watch` ends the process
        say(sentence(number))
        end_at_once(128 + number)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: C++ of one that calls Python would abort by `Stopped`."""
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


def _watch(reader: socket.socket, _writer: socket.socket, patience: float) -> None:
    """End the process when it doesn't end by itself. It hears a signal before the handler does."""
    first, since, until = 0, 0.0, None
    while True:
        reader.settimeout(None if until is None else max(0.001, until - time.monotonic()))
        try:
            heard = [number for number in reader.recv(64) if _is_ours(number)]
        except TimeoutError:
            heard = []
        now = time.monotonic()
        if heard and not first:
            first, since, until = heard[0], now, now + patience
        again = signal.SIGINT in heard and now > since + _AGAIN
        if again or (until is not None and now >= until and not _stop.saving):
            say(f"\n{sentence(first)}")  # a progress bar has left its line open
            end_at_once(128 + first)
        elif until is not None and now >= until:
            until = now + patience


def _is_ours(number: int) -> bool:
    """Whether it is one of the two, and nobody has it who saves first."""
    if number not in (signal.SIGINT, signal.SIGTERM):
        return False
    return not isinstance(getattr(signal.getsignal(number), "__self__", None), Sigterm)


def _without_stops(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Where Python can't raise, such as in a destructor, it would print a traceback and go on."""

    def quiet(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Stopped):
            hook(unraisable)

    return quiet


def _before_a_stop(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Threads of other packages fail when the processes that they wait for are ended."""

    def quiet(failure: Any) -> None:
        if _stop.first is None:
            hook(failure)

    return quiet


def _until_hung_up(hook: Callable[..., Any]) -> Callable[..., Any]:
    """A worker lends its tensors from a thread, which fails where a parent has just been ended."""

    def quiet(kind: type[BaseException], *rest: Any) -> None:
        if not issubclass(kind, EOFError | ConnectionError):
            hook(kind, *rest)

    return quiet


def _as_worker() -> None:
    """In a forked process, such as a loader's worker: its parent gets SIGINT, and ends it."""
    sys.excepthook = _until_hung_up(sys.excepthook)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Sigterm:
    """Whether one has been received since `listen`.

    It is only recorded: Lightning's handler would communicate with the other ranks at once, perhaps
    in the middle of another exchange. When its trainer is done, Lightning restores the handler that
    was set before.
    """

    received = False

    def listen(self) -> None:
        """Begin to record; only a program's main thread can handle signals."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.receive)

    def receive(self, *_: Any) -> None:
        """The signal's handler."""
        self.received = True


@contextmanager
def sigterm_handler(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Within the block, `handler` handles SIGTERM; without effect outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def only_from_parent(_worker: int) -> None:
    """For loader workers: end on a SIGTERM of the trainer's process, and ignore all others.

    Schedulers send it to every process of a job, but the trainer needs its workers until it has
    saved, and ends them itself. Where the system doesn't tell the sender (macOS), they end.
    """
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
