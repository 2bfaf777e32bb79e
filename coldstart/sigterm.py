"""Handling of SIGTERM, the signal that a scheduler sends before it takes a machine away."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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
