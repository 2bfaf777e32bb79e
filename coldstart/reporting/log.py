"""Showing the package's log to a person; as a library, coldstart is silent."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
