"""The form of what a JSON or YAML file holds: types, ranges and names of fields.

A form is a function of a value. It returns "" if the value is as it should be, or else where in
the value the fault is and what is wrong there: `.data.shards: 5 is no text`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from coldstart.errors import InputError
from coldstart.files import StrPath, is_remote, unusable

Form = Callable[[Any], str]


def json_in(path: StrPath, remedy: str) -> Any:
    """What a JSON file of our own holds; its form is still to be checked.

    Args:
        path: of the file.
        remedy: what to do, for a message.

    Raises:
        InputError: it is missing or no file, no JSON, nested too deeply, or has NaN or infinities,
            which coldstart never writes.
    """
    if reason := unusable(path):
        raise InputError(f"{path}: {reason.partition(';')[0]}; {remedy}")
    try:
        return json.loads(Path(path).read_bytes(), parse_constant=_no_number)
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply; {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable JSON ({error}); {remedy}") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def must_have_form(value: Any, form: Form, path: StrPath, remedy: str) -> None:
    """Raise InputError, with the place in the file, unless a value has the form."""
    if fault := form(value):
        fault = fault.lstrip(".").removeprefix(": ")
        raise InputError(
            f"{path}: not as coldstart writes it, or changed by hand ({fault}); {remedy}"
        )


def anything(value: Any) -> str:
    """Any value."""
    return ""


def text(value: Any) -> str:
    """Text that a file can hold: no half characters.

    >>> text("a"), text(5)
    ('', ': 5 is no text')
    """
    if not isinstance(value, str):
        return f": {_shown(value)} is no text"
    return "" if _is_unicode(value) else f": {_shown(value)} has half a character"


def flag(value: Any) -> str:
    """True or false."""
    return "" if isinstance(value, bool) else f": {_shown(value)} is neither true nor false"


def number(value: Any) -> str:
    """A finite number.

    >>> number(0.5), number(float("nan")), number(True)
    ('', ': nan is no finite number', ': True is no finite number')
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return ""
        except OverflowError:  # a whole number of hundreds of digits
            pass
    return f": {_shown(value)} is no finite number"


def whole(value: Any) -> str:
    """A whole number of at most 63 bits, with or without sign."""
    good = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return "" if good else f": {_shown(value)} is no whole number"


def at_least(least: float, form: Form = number) -> Form:
    """A number from `least` on.

    >>> at_least(0)(1.5), at_least(1, whole)(0)
    ('', ': 0 is below 1')
    """
    return lambda value: form(value) or ("" if value >= least else f": {value} is below {least}")


def one_of_these(*choices: Any) -> Form:
    """One of a few values."""

    def form(value: Any) -> str:
        good = any(type(value) is type(choice) and value == choice for choice in choices)
        return "" if good else f": {_shown(value)} is none of {', '.join(map(str, choices))}"

    return form


def like(pattern: str) -> Form:
    """Text that a regular expression matches as a whole."""
    return lambda value: (
        text(value)
        or (
            ""
            if re.fullmatch(pattern, value)
            else f": {_shown(value)} isn't such as coldstart writes"
        )
    )


def place(value: Any) -> str:
    """A path or an address that the system can be asked for.

    >>> place("runs/a"), place("a" * 300)
    ('', ": 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa… is no path")
    """
    if fault := text(value):
        return fault
    good = value and "\0" not in value and len(value) < 4096
    good = good and (is_remote(value) or all(len(p.encode()) < 256 for p in value.split("/")))
    return "" if good else f": {_shown(value)} is no path"


def moment(value: Any) -> str:
    """A day, or a day and time, in ISO 8601, as text.

    >>> moment("2024-05-01 12:00:00"), moment("May")
    ('', ": 'May' is no time")
    """
    if fault := text(value):
        return fault
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return f": {_shown(value)} is no time"
    return ""


def or_none(form: Form) -> Form:
    """None (JSON's null), or a value of the form."""
    return lambda value: "" if value is None else form(value)


def either(*forms: Form) -> Form:
    """A value of any of these forms; of a fault, the last one says what it is."""
    return lambda value: "" if any(not form(value) for form in forms[:-1]) else forms[-1](value)


def list_of(form: Form, length: int | None = None, least: int = 0) -> Form:
    """A list of values of one form, of this length if one is given, or of at least so many.

    >>> list_of(number)([1, "2"])
    "[1]: '2' is no finite number"
    """

    def check(value: Any) -> str:
        if not isinstance(value, (list, tuple)):
            return f": {_shown(value)} is no list"
        if length is not None and len(value) != length:
            return f": has {len(value)} values, not {length}"
        if len(value) < least:
            return f": has {len(value)} values, fewer than {least}"
        faults = (f"[{i}]{fault}" for i, each in enumerate(value) if (fault := form(each)))
        return next(faults, "")

    return check


def names_of(value: Any) -> str:
    """A list of texts that are all different."""
    fault = list_of(text)(value)
    return fault or ("" if len(set(value)) == len(value) else ": has a name twice")


def table_of(form: Form) -> Form:
    """A mapping from any names to values of one form."""

    def check(value: Any) -> str:
        if fault := _no_mapping(value):
            return fault
        faults = (f".{key}{fault}" for key, each in value.items() if (fault := form(each)))
        return next(faults, "")

    return check


def record(
    required: Mapping[str, Form],
    optional: Mapping[str, Form] | None = None,
    *,
    others: bool = False,
) -> Form:
    """A mapping with these fields.

    Args:
        required: name → form.
        optional: the same of fields that may be missing.
        others: whether there may be fields of other names, of whatever form.

    >>> form = record({"a": whole}, {"b": text})
    >>> form({"a": 1}), form({"b": "x"}), form({"a": 1, "c": 2})
    ('', ": 'a' is missing", ": 'c' is no field that this version knows")
    """
    known = {**required, **(optional or {})}

    def check(value: Any) -> str:
        if fault := _no_mapping(value):
            return fault
        if missing := [key for key in required if key not in value]:
            return f": '{missing[0]}' is missing"
        if not others and (unknown := [key for key in value if key not in known]):
            return f": {_shown(unknown[0])} is no field that this version knows"
        faults = (
            f".{key}{fault}"
            for key, form in known.items()
            if key in value and (fault := form(value[key]))
        )
        return next(faults, "")

    return check


def _no_mapping(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f": {_shown(value)} is no mapping of names to values"
    wrong = [key for key in value if not isinstance(key, str) or not _is_unicode(key)]
    return f": {_shown(wrong[0])} is no name" if wrong else ""


def _is_unicode(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _shown(value: Any) -> str:
    """A value for a message, shortened; of a large one, only its kind."""
    if isinstance(value, (Mapping, list, tuple, set)):
        return f"a {'mapping' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return "a number of very many digits"
    shown = ascii(value) if isinstance(value, str) and not _is_unicode(value) else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
