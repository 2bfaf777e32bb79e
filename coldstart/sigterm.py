"""Hearing a SIGTERM, the sign that a machine is about to be taken away."""

from __future__ import annotations

import signal
import threading
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
            signal.signal(signal.SIGTERM, self._hear)

    def _hear(self, *_: Any) -> None:
        self.came = True
