"""How far something has come, in one style: a line on a terminal; elsewhere a plain line at times.

A library is silent: there is progress only within `showing`, which the command line opens.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import length_hint
from typing import Self, TextIO, TypeVar

from coldstart.reporting.terminal import speaks_unicode
from coldstart.reporting.text import clean, cut, width

T = TypeVar("T")

REDRAWN = 0.1
"""Seconds between two looks of a line on a terminal."""

EVERY = 30.0
"""Seconds between two plain lines, where nobody watches."""

CELLS = 20
"""Width of the bar."""

AGREE = 0.25
"""Two estimates of the whole time differ by no more than this share: then it can be told."""


class _State:
    """What this process shows: there is one.

    Attributes:
        shown: whether progress is shown at all.
        verb: what a plain line begins with.
        due: when the next plain line may be written, by `time.monotonic`.
        displays: those that are open, one for each stream.
    """

    shown = False
    verb = ""
    due = 0.0
    displays: list[Progress] = []  # noqa: RUF012  # of the only state there is


_state = _State()


@contextmanager
def showing(verb: str = "") -> Iterator[None]:
    """Within the block, progress is shown on stderr.

    Args:
        verb: what is running, for plain lines.
    """
    before = _state.shown, _state.verb
    _state.shown, _state.verb, _state.due = True, verb, time.monotonic() + EVERY
    try:
        yield
    finally:
        _state.shown, _state.verb = before


class Progress:
    """One piece of work, and how much of it is done; a context manager.

    Within another one on the same stream it shows nothing: one display at a time.

    Attributes:
        what: is done.
        note: gives what else there is to say, such as a loss; asked only when a line is written.
        longest: whether the time that is left is a maximum, since the work may end early.
    """

    def __init__(
        self, what: str, total: float | None = None, unit: str = "", *, done: float = 0
    ) -> None:
        """Nothing is shown before the block.

        Args:
            what: is done, such as `sharding mgp`.
            total: how much there is to do; None: nobody knows.
            unit: of `total`, in the plural, such as `tracks`, or `bytes`; empty: not worth telling.
            done: how much of it was done before.
        """
        self.what, self.total, self.unit = what, total, unit
        self.done = self._before = done
        self.note: Callable[[], str] = str
        self.longest = False
        self._stream: TextIO | None = None
        self._live = False
        self._cells, self._next = 0, 0.0
        self._began, self._clock = time.monotonic(), _Clock()

    def __enter__(self) -> Self:
        if _state.shown and not any(each._stream is sys.stderr for each in _state.displays):
            self._stream, self._live = sys.stderr, is_watched(sys.stderr)
            _state.displays.append(self)
            self._began = time.monotonic()
            self._look(self._began)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._stream is not None:
            self.clear()
            _state.displays.remove(self)
            self._stream = None

    def add(self, amount: float = 1) -> None:
        """More is done."""
        self.done += amount
        if self._stream is not None:
            self._look(time.monotonic())

    def now(self, what: str) -> None:
        """From now on, something else is done, which a terminal shows at once."""
        self.what, self._next = what, 0.0
        if self._stream is not None:
            self._look(time.monotonic())

    def clear(self) -> None:
        """Take the line off the terminal; it comes again with the next step."""
        if self._live and self._cells and self._stream is not None:
            self._stream.write(f"\r{' ' * self._cells}\r")
            self._stream.flush()
            self._cells, self._next = 0, 0.0

    def text(self) -> str:
        """What is done, how much of it, and what is known of the rest."""
        return ", ".join(part for part in (f"{self.what}{self._amount()}", *self._rest()) if part)

    def _look(self, now: float) -> None:
        """Write a line, if it is time to."""
        if self.total:
            self._clock.read(now - self._began, self._share())
        if self._live:
            if now >= self._next:
                self._next = now + REDRAWN
                self._draw()
        elif now >= _state.due:
            _write_plainly(self.text())

    def _draw(self) -> None:
        assert self._stream is not None
        text = ", ".join(part for part in (self._amount().strip(": "), *self._rest()) if part)
        line = "  ".join(part for part in (self.what, self._bar(), text) if part)
        line = cut(clean(line), _columns(self._stream) - 1)
        self._stream.write(f"\r{line}{' ' * (self._cells - width(line))}")
        self._stream.flush()
        self._cells = width(line)

    def _bar(self) -> str:
        if not self.total:
            return ""
        full = int(CELLS * min(1.0, self.done / self.total))
        done, rest = "━─" if speaks_unicode(self._stream) else "#."
        return done * full + rest * (CELLS - full)

    def _amount(self) -> str:
        if not self.unit:
            return ""
        if self.unit == "bytes":
            done, total, unit = self.done / 1e6, (self.total or 0) / 1e6, "MB"
        else:
            done, total, unit = self.done, self.total or 0, self.unit
        return f": {done:,.0f} of {total:,.0f} {unit}" if self.total else f": {done:,.0f} {unit}"

    def _rest(self) -> tuple[str, str]:
        seconds = self._clock.left(time.monotonic() - self._began, self._share())
        if seconds is None:
            return self.note(), ""
        return self.note(), f"{'at most ' if self.longest else ''}{duration(seconds)} left"

    def _share(self) -> float:
        """Of the work that was there when the clock began."""
        work = (self.total or 0) - self._before
        return min(1.0, (self.done - self._before) / work) if work > 0 else 0.0


class _Clock:
    """Estimates a time once it is known: when twice the time has changed the estimate but little.

    What is slow to begin, or comes in large pieces, gets none until then.
    """

    seconds = 0.0
    whole = 0.0
    known = False

    def read(self, seconds: float, share: float) -> None:
        """After so many seconds, a share of the work is done."""
        if share > 0 and seconds >= max(1.0, 2 * self.seconds):
            whole = seconds / share
            self.known = self.whole > 0 and abs(whole - self.whole) <= AGREE * whole
            self.seconds, self.whole = seconds, whole

    def left(self, seconds: float, share: float) -> float | None:
        """Seconds until the end; None: not known."""
        return seconds / share - seconds if self.known and share > 0 else None


def tracked(
    items: Iterable[T], what: str, unit: str = "", total: float | None = None
) -> Iterator[T]:
    """The items, and how many of them were taken.

    Args:
        items: whose length is the total, if they have one and none is named.
        what: as in `Progress`.
        unit: as in `Progress`.
        total: how many there are.
    """
    with Progress(what, total or length_hint(items) or None, unit) as display:
        for item in items:
            yield item
            display.add()


def doing(what: str) -> None:
    """Say what begins now, of work whose length nobody knows: such as a large system to solve.

    On a terminal it takes the place of the line that is there; elsewhere it is a line of its own.
    As a library, nothing is said.

    Args:
        what: such as `Kernel: solving 6,065 tracks`.
    """
    if not _state.shown:
        return
    for display in _state.displays:
        if display._stream is sys.stderr and display._live:
            display.total, display.unit = None, ""
            display.now(what)
            return
    _write_plainly(what)


def clear() -> None:
    """Make room for another line on stderr, where a display is open."""
    for display in _state.displays:
        if display._stream is sys.stderr:
            display.clear()


def is_watched(stream: TextIO) -> bool:
    """Whether somebody sees a line change: a terminal that can do that."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def duration(seconds: float) -> str:
    """A time, as exact as people want to know it.

    >>> duration(4.2), duration(50), duration(200), duration(9000)
    ('5 s', '50 s', '4 min', '2 h 30 min')
    """
    if seconds <= 60:
        return f"{5 * max(1, round(seconds / 5))} s"
    minutes = -int(-seconds // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _write_plainly(text: str) -> None:
    _state.due = time.monotonic() + EVERY
    begin = f"coldstart {_state.verb}: " if _state.verb else ""
    sys.stderr.write(f"{begin}{clean(text)}\n")
    sys.stderr.flush()


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80
