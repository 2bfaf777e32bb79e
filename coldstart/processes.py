"""Processes of our own, which also start from a script without a main guard, a notebook, or stdin.

A spawned process imports the caller's main module again, for the function that it is to run may be
defined there. Ours are all defined in this package: so the main module is left alone, and a script
without `if __name__ == "__main__":` isn't run a second time. They end with their parent, however
that ends: else those of a job that was killed would write beside the next one.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import current_process
from multiprocessing.context import SpawnContext, SpawnProcess

_STARTING = threading.Lock()

_PATIENCE = 0.2
"""Seconds between two looks for the parent."""


class OwnProcess(SpawnProcess):
    """A spawned process that doesn't import the caller's main module."""

    def start(self) -> None:
        """Start it."""
        with _main_hidden():
            super().start()


class OwnContext(SpawnContext):
    """Spawned, not forked: neither CUDA nor the table library's threads survive a fork."""

    Process = OwnProcess


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


def _follow_parent() -> None:
    """End when the parent has ended, also where that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# A spawned process unpickles `OwnProcess` first, so this module is imported before all that it is
# to run: a process that is still importing torch follows its parent, too.
if getattr(current_process(), "_inheriting", False):
    _follow_parent()
