"""Hearing a SIGTERM, the sign that a machine is about to be taken away."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Sigterm:
    """Whether one has come since `listen`.

    It is noted, and no more: Lightning's handler would talk to the other ranks at once, in the
    middle of whatever they are saying to each other. When its trainer is done, Lightning puts back
    the handler that was there before.
    """

    came = False

    def listen(self) -> None:
        """Begin; signals reach a program's main thread only."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.hear)

    def hear(self, *_: Any) -> None:
        """One has come."""
        self.came = True


@contextmanager
def answering(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Within the block this answers a SIGTERM; signals reach a program's main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def only_from_parent(_worker: int) -> None:
    """For loader workers: end by a SIGTERM of the trainer's process, and of nobody else.

    Schedulers send it to every process of a job, but the trainer needs its workers until it has
    saved, and ends them itself. Where the system can't tell who sent it (macOS), they end.
    """
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
