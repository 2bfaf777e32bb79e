"""Showing the package's log to a person; as a library, coldstart is silent."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from coldstart.errors import without_passwords


class _Stderr(logging.Handler):
    """Writes bare messages to whatever `sys.stderr` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(without_passwords(self.format(record)) + "\n")
        sys.stderr.flush()


@contextmanager
def shown() -> Iterator[None]:
    """Within the block, the log of `coldstart` is shown on stderr, from INFO on.

    A block within such a block changes nothing.

    >>> with shown():
    ...     logging.getLogger("coldstart.shards").isEnabledFor(logging.INFO)
    True
    """
    logger, before = logging.getLogger("coldstart"), logging.getLogger("coldstart").level
    if any(isinstance(handler, _Stderr) for handler in logger.handlers):
        yield
        return
    handler = _Stderr()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Send prints, progress bars and Lightning's messages to a file."""
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        before = {handler: handler.stream for handler in _lightning_handlers()}
        try:
            with redirect_stdout(file), redirect_stderr(file):
                for handler in before:
                    handler.setStream(file)
                yield
        finally:
            # If the job itself has imported Lightning, the handlers made then write to the file.
            for handler in _lightning_handlers():
                handler.setStream(before.get(handler, sys.stderr))


def _lightning_handlers() -> list[logging.StreamHandler[Any]]:
    """What shows Lightning's messages; none before it is imported, which takes seconds."""
    return [
        handler
        for name in ("lightning.pytorch", "lightning.fabric")
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler)
    ]
