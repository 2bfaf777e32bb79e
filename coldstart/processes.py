"""Processes of our own, which also start from a script without a main guard, a notebook, or stdin;
and the part of a job that one of several machines does.

A spawned process imports the caller's main module again, for the function that it is to run may be
defined there. Ours are all defined in this package: so the main module is left alone, and a script
without `if __name__ == "__main__":` isn't run a second time. They end with their parent, however
that ends: else those of a job that was killed would write beside the next one.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import current_process, resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import NamedTuple, TypeVar

from coldstart.errors import InputError
from coldstart.sigterm import end_at_once, heed

T = TypeVar("T")

_STARTING = threading.Lock()

_NO_WARNING = "ignore::UserWarning:multiprocessing.resource_tracker"

_PARENT = "COLDSTART_PARENT"
"""Variable that tells a process of ours the id of the one that started it."""

_PATIENCE = 0.2
"""Seconds between two looks for the parent."""


class OwnProcess(SpawnProcess):
    """A spawned process that doesn't import the caller's main module."""

    def start(self) -> None:
        """Start it."""
        with _main_hidden(), _without_sigint():
            os.environ[_PARENT] = str(os.getpid())
            try:
                super().start()
            finally:
                del os.environ[_PARENT]  # processes that others start aren't ours


class OwnContext(SpawnContext):
    """Spawned, not forked: neither CUDA nor the table library's threads survive a fork."""

    Process = OwnProcess

    def __init__(self) -> None:
        super().__init__()
        if os.name != "nt":
            _begin_tracker()


@contextmanager
def _main_hidden() -> Iterator[None]:
    """While a process starts, `__main__` doesn't say where it came from."""
    with _STARTING:
        main = vars(sys.modules["__main__"])
        hidden = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
        main["__spec__"] = None  # multiprocessing asks for it
        try:
            yield
        finally:
            main.update({"__spec__": None} | hidden)


@contextmanager
def _without_sigint() -> Iterator[None]:
    """A process that starts within the block never gets a SIGINT: its parent does, and ends it.

    A terminal sends it to all, and one that is still starting would print a traceback.
    """
    if os.name == "nt":
        yield
        return
    resource_tracker.ensure_running()  # it would let the signal through, if it had to start
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_tracker() -> None:
    """Start multiprocessing's own process, which removes what a process that was ended has left,
    and needn't warn of it.
    """
    sys.warnoptions.append(_NO_WARNING)  # the process is started with the same ones
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(_NO_WARNING)


def _follow_parent() -> None:
    """End when the parent has ended, also where that was killed."""
    # Not `getppid()`: a parent that was killed before this line would have another one's place.
    parent = int(os.environ.pop(_PARENT))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PATIENCE)
        end_at_once(1)

    threading.Thread(target=watch, daemon=True).start()


# A spawned process unpickles `OwnProcess` first, so this module is imported before all that it is
# to run: a process that is still importing torch follows its parent, too.
if getattr(current_process(), "_inheriting", False) and _PARENT in os.environ:
    _follow_parent()
    heed(patience=0)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes with one thread within the block."""
    import torch  # by those alone who have it already

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class JobPart(NamedTuple):
    """One of several parts of a job, each of which some machine does; they share storage.

    Attributes:
        number: from 1 on.
        parts: how many there are.
    """

    number: int
    parts: int

    @classmethod
    def of(cls, text: str) -> JobPart:
        """Read `I/N`, as a job scheduler's array gives it.

        >>> JobPart.of("3/8")
        JobPart(number=3, parts=8)
        >>> JobPart.of("0/8")
        Traceback (most recent call last):
        ...
        coldstart.errors.InputError: part: '0/8' is no part such as 3/8, the third of eight
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        part = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= part.number <= part.parts:
            raise InputError(f"part: {text!r} is no part such as 3/8, the third of eight")
        return part

    def share(self, items: Sequence[T]) -> list[T]:
        """The items that are this part's: every n-th.

        >>> JobPart(2, 3).share("abcdefg")
        ['b', 'e']
        """
        return list(items[self.number - 1 :: self.parts])


def chosen_part(part: str | None, merge: bool, clustered: bool) -> JobPart | None:
    """The part that a verb is given by `--part`, if it is.

    Raises:
        InputError: it is no part, or more than one of the ways to use several machines is named.

    >>> chosen_part("1/2", False, False), chosen_part(None, True, False)
    (JobPart(number=1, parts=2), None)
    """
    chosen = None if part is None else JobPart.of(part)
    if sum((chosen is not None, merge, clustered)) > 1:
        raise InputError("--part, --merge and --engine spark are three ways; name one")
    return chosen


class PartDone(NamedTuple):
    """What a part of a job has written.

    Attributes:
        part: which.
        folder: of the pieces.
        pieces: of this part.
        written: those of them that weren't there before.
        total: pieces of the whole job.
    """

    part: JobPart
    folder: Path
    pieces: int
    written: int
    total: int

    def __str__(self) -> str:
        """For people."""
        return (
            f"part {self.part.number} of {self.part.parts}: wrote {self.written:,} of its "
            f"{self.pieces:,} pieces into {self.folder} (the whole job has {self.total:,})"
        )


MERGE = "next, when all parts are there: the same command with --merge in place of --part"
"""What is said after a part."""
