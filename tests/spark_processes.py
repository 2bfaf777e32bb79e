"""Spark's own processes: how they begin quickly, and how the tests find and kill them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LINUX = pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="processes are found by Linux's /proc"
)

QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java that compiles fast rather than well, and collects garbage in one thread: no test calls
anything often enough for more."""


def executors() -> list[int]:
    """Processes of Spark's executors that this process's JVM has started."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes()
            line = [int(place.name)]
            while line[-1] > 1 and line[-1] != os.getpid():
                line.append(int((Path("/proc") / str(line[-1]) / "stat").read_text().split()[3]))
        except OSError:  # it has ended meanwhile
            continue
        if b"CoarseGrainedExecutorBackend" in command and line[-1] == os.getpid():
            found.append(line[0])
    return found


@contextmanager
def executor_killed(due: Callable[[], bool], whole: Callable[[], bool]) -> Iterator[None]:
    """An executor is killed within the block, once it is due and before all is done.

    Args:
        due: whether the work is in its middle.
        whole: whether it has come to its end, where a kill would prove nothing.
    """
    killed: list[int] = []
    early: list[bool] = []
    ended = threading.Event()

    def kill() -> None:
        while not due():
            if ended.wait(0.01):
                return
        killed.append(executors()[0])
        os.kill(killed[0], signal.SIGKILL)
        early.append(not whole())

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join(5)
    assert early == [True]
    deadline = time.monotonic() + 10
    while killed[0] in executors() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert killed[0] not in executors()
