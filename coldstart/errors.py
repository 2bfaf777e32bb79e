"""What people see when their input is wrong, and the list of what was skipped."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


def without_passwords(text: str) -> str:
    """The text, such as a message, with `***` for the passwords of addresses in it.

    >>> without_passwords("s3://bucket/a: no such file; https://ann:secret@host/b: none, too")
    's3://bucket/a: no such file; https://ann:***@host/b: none, too'
    """
    return re.sub(r"(:/{1,2}[^\s/?#:@]*):[^\s/?#]*@", r"\1:***@", text)


class InputError(ValueError):
    """Something in the user's input is wrong: the message says what, where, and what to do.

    The command line prints the message alone, without a traceback.
    """

    def __init__(self, message: str) -> None:
        # A loader's worker process sends its whole traceback as the message; users need the end.
        message = message.rsplit("coldstart.errors.InputError: ", 1)[-1].strip()
        super().__init__(without_passwords(message))


class Stopped(SystemExit):
    """SIGINT or SIGTERM was received, and nothing but order is to be left; see `sigterm.heed`.

    Not a KeyboardInterrupt, of which other packages make an end of their own.
    """

    def __init__(self, number: int) -> None:
        self.number, self.status = number, 128 + number
        super().__init__(self.status)


class UnknownIdError(InputError):
    """There is no track, or no listener, of an id."""


class TakenIdError(InputError):
    """An id that is to be new is in use already."""


class Preempted(SystemExit):
    """A SIGTERM was received, and everything that is needed to resume has been saved.

    Not an error, so that code that continues after errors doesn't continue after this.
    """

    status = 128 + signal.SIGTERM
    """The exit status that a shell reports for a process ended by SIGTERM."""

    def __init__(self, saved: str | os.PathLike[str]) -> None:
        super().__init__(
            f"stopped by SIGTERM; {saved} is saved. To go on, give the same command again "
            "(fit: with --ckpt_path last)"
        )


class ItemError(ValueError):
    """One item can't be used; the message is the reason alone, without the item's name."""


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks.

    >>> one_line(ValueError("bad\\n  header"))
    'bad header'
    """
    return " ".join(str(error).split())


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


def check_seed(seed: int) -> None:
    """Raise InputError unless random numbers can begin with it.

    >>> check_seed(-1)
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: seed is a whole number from 0 on, not -1
    """
    if seed < 0:
        raise InputError(f"seed is a whole number from 0 on, not {seed}")


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
            others = f" (and {len(new) - 1:,} more like it)" if len(new) > 1 else ""
            raise InputError(f"{new[0]}{others}.\n{self.remedy}")
        self.faults += new
