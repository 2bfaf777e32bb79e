"""What people see when their input is wrong, and the list of what was skipped."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from coldstart.files import StrPath, atomic


class InputError(ValueError):
    """Something the user brought is wrong: the message says what, where, and what to do.

    The command line prints the message alone, without a traceback.
    """

    def __init__(self, message: str) -> None:
        # A loader's worker process sends its whole traceback as the message; people need the end.
        super().__init__(message.rsplit("coldstart.errors.InputError: ", 1)[-1].strip())


class Preempted(SystemExit):
    """A SIGTERM came, and what is needed to go on has been saved.

    No error, so that nothing that goes on after errors goes on after this.
    """

    status = 128 + signal.SIGTERM
    """What a shell says of a process that a SIGTERM ended."""

    def __init__(self, saved: StrPath) -> None:
        super().__init__(
            f"stopped by SIGTERM; {saved} is saved. To go on, give the same command again "
            "(fit: with --ckpt_path last)"
        )


class ItemError(ValueError):
    """One item can't be used; the message is the reason alone, without the item's name."""


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise InputError unless `value` is one of the choices.

    >>> one_of("method", "artst", ("random", "artist"))
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: method: 'artst' is none of random, artist
    """
    if value not in choices:
        raise InputError(f"{name}: {value!r} is none of {', '.join(choices)}")


class Fault(NamedTuple):
    """One broken item: the file it is in, the row (1 = first after the header), what and why."""

    file: str
    row: int | None
    item: str
    field: str
    reason: str

    def __str__(self) -> str:
        row = f", row {self.row}" if self.row is not None else ""
        return f"{self.file}{row}, {self.item}, field '{self.field}': {self.reason}"


@dataclass
class Broken:
    """Collects faults. The first one raises, unless the user asked to skip what is broken.

    Examples:
        >>> broken = Broken(skip=True)
        >>> broken.add([Fault("listens.csv", 3, "track 'a'", "plays", "-1 is negative")])
        >>> len(broken.faults)
        1
        >>> Broken().add([Fault("listens.csv", 3, "track 'a'", "plays", "-1 is negative")])
        Traceback (most recent call last):
        ...
        coldstart.errors.InputError: listens.csv, row 3, track 'a', field 'plays': -1 is negative.
        Mend it, or pass --skip-broken to leave such items out and list them in a file.
    """

    skip: bool = False
    faults: list[Fault] = field(default_factory=list)
    remedy: str = "Mend it, or pass --skip-broken to leave such items out and list them in a file."

    def add(self, faults: Iterable[Fault]) -> None:
        """Record faults; raise InputError for the first unless skipping was asked for."""
        new = list(faults)
        if new and not self.skip:
            more = f" (and {len(new) - 1:,} more like it)" if len(new) > 1 else ""
            raise InputError(f"{new[0]}{more}.\n{self.remedy}")
        self.faults += new

    def write(self, path: StrPath) -> str:
        """Write the list as CSV (if there is anything in it); return a sentence about it."""
        if not self.faults:
            return ""
        with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(Fault._fields)
            writer.writerows(self.faults)
        return f"{len(self.faults):,} broken items were skipped; the reasons are in {path}"
