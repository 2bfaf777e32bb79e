"""How long somebody listened: columns that are durations, and their unit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.tables.column_names import flag_value, listed
from coldstart.tables.table import Checker

UNITS = {"seconds": 1, "milliseconds": 1000}
"""Columns of durations, and how many of their units make a second."""

_MILLISECONDS = r"ms|msecs?|millis|milliseconds?"
_SECONDS = r"secs?|seconds?"
_LISTENING = r"play|plays|played|playing|listen|listens|listened|listening"
_OTHERS = r"mins?|minutes?|duration|durations|length|elapsed|dwell"


def unit_of(name: str) -> str:
    """The unit that a name of a duration says: `seconds`, `milliseconds`, or "" if it says none.

    >>> unit_of("ms_played"), unit_of("secondsPlayed"), unit_of("duration"), unit_of("plays")
    ('milliseconds', 'seconds', '', '')
    """
    words = _words(name)
    if any(re.fullmatch(_MILLISECONDS, word) for word in words):
        return "milliseconds"
    if any(re.fullmatch(_SECONDS, word) for word in words) or (words[-1:] == ["s"] and words[:-1]):
        return "seconds"
    return ""


def is_duration(name: str) -> bool:
    """Whether a column of this name is a duration, and certainly no count.

    >>> [is_duration(name) for name in ("msPlayed", "listening_time", "duration", "length_s")]
    [True, True, True, True]
    >>> [is_duration(name) for name in ("plays", "cnt", "times_played", "timestamp")]
    [False, False, False, False]
    """
    words = _words(name)
    if unit_of(name) or any(re.fullmatch(_OTHERS, word) for word in words):
        return True
    return "time" in words and any(re.fullmatch(_LISTENING, word) for word in words)


def _words(name: str) -> list[str]:
    """The words of a name, also of `msPlayed`, `msplayed` and `playtime`."""
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    glued = (
        rf"({_MILLISECONDS}|{_SECONDS}|time)({_LISTENING})",
        rf"({_LISTENING}|duration|length)({_MILLISECONDS}|{_SECONDS}|time)",
    )
    out = list[str]()
    for word in words:
        match = next((m for pattern in glued if (m := re.fullmatch(pattern, word))), None)
        out += match.groups() if match else [word]
    return out


def refuse_durations(path: StrPath, names: Mapping[str, str]) -> None:
    """Raise InputError where `--columns` takes durations for plays, or one unit for another."""
    plays = names.get("plays", "")
    if is_duration(plays):
        unit = unit_of(plays) or "milliseconds"
        raise InputError(
            f"{path}: column {plays!r} is called like a duration, which is no number of plays. If "
            "each row is one play, leave it out of --columns: then each row counts once. Short "
            f"plays are left out by --min-seconds 30 --columns {flag_value(unit, plays)}"
        )
    for column in UNITS:
        unit = unit_of(names.get(column, ""))
        if unit and unit != column:
            raise InputError(
                f"{path}: column {names[column]!r} is called like {unit}: --columns "
                f"{flag_value(unit, names[column])}"
            )


def duration_column(path: StrPath, columns: Sequence[str]) -> tuple[str, str]:
    """The column that says how long somebody listened, and its unit.

    It is `seconds` or `milliseconds`; else one whose name says the unit and that it was played,
    such as `ms_played`. A `duration_ms` may be the track's own length, and must be named.

    Raises:
        InputError: there is none, or several.
    """
    for column in UNITS:
        if column in columns:
            return column, column
    played = [
        name
        for name in columns
        if unit_of(name) and any(re.fullmatch(_LISTENING, word) for word in _words(name))
    ]
    if len(played) == 1:
        return played[0], unit_of(played[0])
    others = played or [name for name in columns if is_duration(name)]
    name = others[0] if others else "NAME"
    flag = f"--columns {flag_value(unit_of(name) or 'seconds', name)}"
    if not others:
        raise InputError(
            f"{path}: min_seconds: no column says how long each play lasted; the table has: "
            f"{listed(columns)}. Name it as `seconds` or `milliseconds`: {flag}"
        )
    raise InputError(
        f"{path}: min_seconds: is it {listed(others)} that says how long each play lasted? Name it "
        f"as `seconds` or `milliseconds`: {flag}"
    )


def leave_out_short(check: Checker, column: str, unit: str, least: float) -> int:
    """Drop the rows that are shorter than this many seconds; a duration must be a number from 0 on.

    Returns:
        The number of rows dropped.
    """
    dtype = check.table.schema[column]
    if isinstance(dtype, pl.Duration):
        micros = check.table[column].dt.total_microseconds()
        check.table = check.table.with_columns(micros.alias(column))
        check.numbers(column)
        rate = 1_000_000
    else:
        check.numbers(column)
        rate = UNITS[unit]
    check.rule(column, pl.col(column) < 0, "is negative")
    rows = len(check.table)
    check.table = check.table.filter(pl.col(column) >= least * rate).drop(column)
    return rows - len(check.table)
