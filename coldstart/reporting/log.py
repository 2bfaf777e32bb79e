"""Showing the package's log to a person; as a library, coldstart is silent."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal, get_args

from coldstart.errors import without_passwords
from coldstart.reporting import foreign, progress

Verbosity = Literal["quiet", "normal", "verbose"]
"""What a person wants to see beside results: errors alone; what they can act on; everything."""

_LEFT_OUT: dict[Verbosity, foreign.LeftOut] = {
    "quiet": "all",
    "normal": "foreign",
    "verbose": "none",
}

HOW_MUCH = "Of every verb: --quiet shows results and errors alone, --verbose all that there is."
"""What help says of the flags."""

VERBOSITY = "COLDSTART_VERBOSITY"
"""Variable that holds it, for this process and those that it starts."""


class _Stderr(logging.Handler):
    """Writes bare messages to whatever `sys.stderr` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        progress.clear()
        sys.stderr.write(without_passwords(self.format(record)) + "\n")
        sys.stderr.flush()


def verbosity() -> Verbosity:
    """What was asked for of this process; `normal` where nobody has said it."""
    value = os.environ.get(VERBOSITY, "")
    return next((known for known in get_args(Verbosity) if known == value), "normal")


@contextmanager
def shown(verb: str = "", *, bars: bool = True) -> Iterator[None]:
    """Within the block, the log of `coldstart` and progress are shown on stderr.

    `verbosity` says how much of it, and of what other packages say. A block within such a block
    changes nothing.

    >>> with shown():
    ...     logging.getLogger("coldstart.shards").isEnabledFor(logging.INFO)
    True

    Args:
        verb: what is running.
        bars: whether it shows progress.
    """
    logger, before = logging.getLogger("coldstart"), logging.getLogger("coldstart").level
    if any(isinstance(handler, _Stderr) for handler in logger.handlers):
        yield
        return
    handler, wanted = _Stderr(), verbosity()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if wanted == "verbose" else logging.INFO)
    try:
        with ExitStack() as stack:
            stack.enter_context(foreign.hushed(_LEFT_OUT[wanted]))
            if bars and wanted != "quiet":
                stack.enter_context(progress.showing(verb))
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
