"""Numbers → times: seconds since 1970 and their parts, YYYYMMDD, years."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import InputError
from coldstart.tables.calendar import REMEDY, Times, midnights

log = logging.getLogger(__name__)

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Units of numbers since 1970, and how many make a second."""
FIRST, LAST = 631_152_000, 4_102_444_800
"""1990 and 2100, in seconds since 1970: between them, a number's size tells its unit."""
EARLIEST = 100_000_000
"""March 1973, in seconds: numbers below are placeholders such as 0, once the unit is clear."""


def amounts_of(
    real: pl.Series, whole: pl.Series | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Numbers, NaN where there is none; and exactly, negative where they aren't whole."""
    amounts = real.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    numbers = np.where(amounts == np.floor(amounts), amounts, -1.0).clip(-1, 2**62)
    exact = numbers.astype(np.int64)
    if whole is not None:
        exact = whole.fill_null(pl.Series(exact)).to_numpy()
    return amounts, exact


def times_of_numbers(
    amounts: NDArray[np.float64],
    whole: NDArray[np.int64],
    place: str,
    years: bool,
    alone: bool,
) -> Times:
    """Numbers as times.

    Args:
        amounts: [N]; NaN where a cell is no number.
        whole: [N] the same, exactly; negative where it is no whole number.
        place: for messages.
        years: whether a number of four digits is a year.
        alone: whether the column has no other times, which would make these numbers faulty cells.
    """
    readings = {
        unit: (amounts >= FIRST * rate) & (amounts < LAST * rate) for unit, rate in UNITS.items()
    }
    written_days = midnights(whole // 10_000, whole // 100 % 100, whole % 100)
    readings["YYYYMMDD"] = (whole >= 19_000_101) & (whole < 21_010_000) & written_days.valid
    readings["years"] = (whole >= 1000) & (whole <= 9999) if years else np.zeros(len(whole), bool)
    units = [unit for unit, mask in readings.items() if mask.any()]
    if len(units) > 1:
        examples = [_reading(amounts[readings[unit]][0], unit) for unit in units[:2]]
        raise InputError(
            f"{place} has numbers of several kinds: {examples[0]}, but {examples[1]}. {REMEDY}"
        )
    nothing = np.zeros(len(amounts), np.int64)
    if not units:
        present = np.flatnonzero(~np.isnan(amounts))
        if alone and len(present):
            _refuse_number(float(amounts[present[0]]), place)
        return Times(nothing, nothing, np.zeros(len(amounts), bool))
    (unit,) = units
    if unit == "years":
        valid = readings[unit]
        first_days = midnights(whole, np.ones_like(whole), np.ones_like(whole)).utc
        return Times(first_days, first_days, valid)
    if unit == "YYYYMMDD":
        log.info(f"{place}: numbers are read as YYYYMMDD")
        return Times(written_days.utc, written_days.utc, readings[unit])
    rate = UNITS[unit]
    if unit != "seconds":
        log.info(f"{place}: numbers are read as {unit} since 1970")
    valid = (amounts >= EARLIEST * rate) & (amounts < LAST * rate)
    fractions = np.where(valid, amounts, 0.0) / rate * 1e6 if rate > 1 else amounts * 1e6
    rounded = np.rint(np.where(valid, fractions, 0.0)).astype(np.int64)
    exact = np.where(valid & (whole >= 0), whole, 0)
    exact = exact * (10**6 // rate) if rate <= 10**6 else exact // (rate // 10**6)
    micros = np.where(whole >= 0, exact, rounded)
    return Times(micros, micros, valid)


def _reading(number: float, unit: str) -> str:
    """A number, and what it is in this unit."""
    shown = f"{number:.0f}" if number == round(number) else str(number)
    if unit == "years":
        return f"{shown} is a year"
    if unit == "YYYYMMDD":
        return f"{shown} is {shown[:4]}-{shown[4:6]}-{shown[6:]} as YYYYMMDD"
    return f"{shown} is {np.datetime64(round(number / UNITS[unit]), 's').astype('M8[D]')} in {unit}"


def _refuse_number(number: float, place: str) -> None:
    """Raise InputError: no unit makes a column's numbers times from 1990 to 2100."""
    readings = [
        _reading(number, unit) for unit, rate in UNITS.items() if 0 <= number / rate < 250e9
    ]
    if 20_000 <= number < 80_000:  # days in a spreadsheet
        spreadsheet = np.datetime64("1899-12-30") + int(number)
        readings.insert(0, f"{number:g} is {spreadsheet} as a spreadsheet's day")
    if not readings:
        raise InputError(f"{place}: {number:g} is no time from 1990 to 2100, in any unit. {REMEDY}")
    shown = ", or ".join([readings[0], *(text.split(" is ")[1] for text in readings[1:2])])
    raise InputError(
        f"{place}: no unit makes its numbers times from 1990 to 2100: {shown}. {REMEDY}"
    )
