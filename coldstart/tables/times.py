"""Times as people write them → instants in UTC, or days.

A column is read as a whole: which of day and month comes first, and the unit of numbers, must
follow from its cells. Where they leave two readings, both are shown and the column is refused.
"""

from __future__ import annotations

import logging
import zoneinfo
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import InputError

log = logging.getLogger(__name__)

REMEDY = "Write times as YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SS with an offset such as +01:00"
DAY = 86_400_000_000
"""Microseconds of a day."""
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
"""Units of numbers since 1970, and how many make a second."""
FIRST, LAST = 631_152_000, 4_102_444_800
"""1990 and 2100, in seconds since 1970: between them, a number's size tells its unit."""
EARLIEST = 100_000_000
"""March 1973, in seconds: numbers below are placeholders such as 0, once the unit is clear."""
CHUNK = 1 << 20

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r"(?:\s?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
# An offset may be followed by its zone's name, as in +01:00[Europe/Berlin].
_ZONE = (
    r"(?P<zone>(?:UTC|GMT)?[+-]\d\d(?::?\d\d)?|[Zz]|UTC|GMT|[A-Za-z]+(?:/[A-Za-z0-9_+-]+)+)"
    r"(?:\s?[\[(][^\])]*[\])])?"
)
_TIME = rf"(?:(?:T|,?\s+){_CLOCK}(?:\s?{_ZONE})?)?"
_WEEKDAY = r"(?:[A-Za-z]+,?\s+)?"
FORMATS = (
    rf"^(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}}){_TIME}$",
    rf"^(?P<one>\d{{1,2}})[-/.](?P<two>\d{{1,2}})[-/.](?P<year>\d{{4}}){_TIME}$",
    # 31 Jan 2020, 10:00; Fri, 31 Jan 2020 10:00:00 GMT; Jan 31, 2020
    rf"^{_WEEKDAY}(?P<day>\d{{1,2}})[\s-](?P<name>[A-Za-z]+)\.?,?[\s-](?P<year>\d{{4}}){_TIME}$",
    rf"^{_WEEKDAY}(?P<name>[A-Za-z]+)\.?\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}}){_TIME}$",
    # Fri Jan 31 10:00:00 +0000 2020
    rf"^{_WEEKDAY}(?P<name>[A-Za-z]+)\s+(?P<day>\d{{1,2}})\s+{_CLOCK}(?:\s{_ZONE})?"
    r"\s+(?P<year>\d{4})$",
    # 20200131T100000Z
    r"^(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)T(?P<hour>\d\d):?(?P<minute>\d\d):?"
    rf"(?P<second>\d\d)?(?:[.,](?P<fraction>\d+))?{_ZONE}?$",
)
MONTHS = {
    "january": 1,
    "february": 2,
    "march": 3,
    "april": 4,
    "may": 5,
    "june": 6,
    "july": 7,
    "august": 8,
    "september": 9,
    "october": 10,
    "november": 11,
    "december": 12,
}
_MONTH_NUMBERS = {**MONTHS, **{name[:3]: number for name, number in MONTHS.items()}, "sept": 9}
_FIELDS = ("year", "month", "day", "one", "two", "name", "hour", "minute", "second", "half")


class _Times(NamedTuple):
    """Microseconds since 1970, on the clock of the cell's own zone, and in UTC.

    Attributes:
        local: [N] int64.
        utc: [N] int64.
        valid: [N] bool: whether the cell is a time.
    """

    local: NDArray[np.int64]
    utc: NDArray[np.int64]
    valid: NDArray[np.bool_]


def instants(values: pl.Series, place: str) -> pl.Series:
    """Times in any of many ways of writing → instants.

    A day is its midnight, and what has neither offset nor zone is taken as UTC. Numbers are
    seconds, milliseconds, microseconds or nanoseconds since 1970, by their size, or YYYYMMDD.

    Args:
        values: N datetimes, dates, numbers or texts.
        place: table and column, for messages.

    Returns:
        N datetimes in UTC, in microseconds; null where a cell is no time.

    Raises:
        InputError: the column can be read in two ways, or holds something else.

    >>> instants(pl.Series(["1/31/2020 10:00 PM", "2/1/2020 9:30 AM"]), "t.csv").dt.hour().to_list()
    [22, 9]
    """
    dtype = values.dtype
    if isinstance(dtype, pl.Datetime):
        _check_years(values, place)
        utc = values.dt.convert_time_zone("UTC") if dtype.time_zone else values
        utc = utc.dt.replace_time_zone("UTC").dt.cast_time_unit("us")
        _warn_of_the_epoch(utc, place)
        return utc
    if dtype == pl.Date:
        _check_years(values, place)
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    times = _read(values, place, years=False)
    return _series(times.utc, times.valid, pl.Datetime("us")).dt.replace_time_zone("UTC")


def days(values: pl.Series, place: str) -> pl.Series:
    """Dates, as `instants`; also years (their 1 January). A time's day is that of its own zone.

    Returns:
        N dates; null where a cell is none.

    >>> days(pl.Series(["1999", "2001-02-03", "31/12/2003"]), "t.csv").to_list()[2]
    datetime.date(2003, 12, 31)
    """
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        _check_years(values, place)
        return values.dt.date()
    times = _read(values, place, years=True)
    return _series(times.local // DAY, times.valid, pl.Date())


def _series(numbers: NDArray[np.int64], valid: NDArray[np.bool_], dtype: pl.DataType) -> pl.Series:
    physical = pl.Int32 if dtype == pl.Date else pl.Int64
    series = pl.Series(np.where(valid, numbers, 0)).cast(physical)
    return pl.select(pl.when(pl.Series(valid)).then(series).cast(dtype)).to_series()


def _check_years(values: pl.Series, place: str) -> None:
    """Raise InputError for a typed time beyond the years 1 to 9999, which no calendar shows."""
    unit = values.dtype.time_unit if isinstance(values.dtype, pl.Datetime) else None
    per_day = DAY if unit is None else {"ms": DAY // 1000, "us": DAY, "ns": DAY * 1000}[unit]
    day = values.to_physical().cast(pl.Int64)
    day = day if values.dtype == pl.Date else day // per_day
    faulty = ((day < -719_162) | (day > 2_932_895)).fill_null(value=False).arg_true()
    if len(faulty):
        raise InputError(f"{place}: row {faulty[0] + 1} is no time from the years 1 to 9999")


def _warn_of_the_epoch(utc: pl.Series, place: str) -> None:
    """Numbers that were read in a wrong unit all lie in January 1970."""
    latest = utc.dt.epoch("s").max()
    if isinstance(latest, int) and 0 <= latest < 31 * 86_400:
        log.warning(
            f"{place}: every time is in January 1970; numbers were probably read in a wrong unit "
            "when the table was made"
        )


def _read(values: pl.Series, place: str, years: bool) -> _Times:
    """Numbers or texts as times."""
    dtype = values.dtype
    if dtype.is_numeric():
        whole = values.cast(pl.Int64, strict=False) if dtype.is_integer() else None
        return _counted(*_amounts(values, whole), place, years, alone=True)
    if dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise InputError(f"{place} holds {dtype}, not times. {REMEDY}")
    text = values.cast(pl.String).str.strip_chars()
    whole = text.str.extract(r"^(\d{1,19})$", 1).cast(pl.Int64, strict=False)
    real = text.str.extract(r"^(\d+(?:\.\d*)?(?:[eE]\+?\d+)?)$", 1)
    written = _written(text, place)
    alone = not written.valid.any()
    counted = _counted(*_amounts(real, whole), place, years, alone)
    return _Times(*(np.where(counted.valid, a, b) for a, b in zip(counted, written, strict=True)))


def _amounts(
    real: pl.Series, whole: pl.Series | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Numbers, NaN where there is none; and exactly, negative where they aren't whole."""
    amounts = real.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    numbers = np.where(amounts == np.floor(amounts), amounts, -1.0).clip(-1, 2**62)
    exact = numbers.astype(np.int64)
    if whole is not None:
        exact = whole.fill_null(pl.Series(exact)).to_numpy()
    return amounts, exact


# Numbers


def _counted(
    amounts: NDArray[np.float64],
    whole: NDArray[np.int64],
    place: str,
    years: bool,
    alone: bool,
) -> _Times:
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
    written_days = _days_from(whole // 10_000, whole // 100 % 100, whole % 100)
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
        return _Times(nothing, nothing, np.zeros(len(amounts), bool))
    (unit,) = units
    if unit == "years":
        valid = readings[unit]
        first_days = _days_from(whole, np.ones_like(whole), np.ones_like(whole)).utc
        return _Times(first_days, first_days, valid)
    if unit == "YYYYMMDD":
        log.info(f"{place}: numbers are read as YYYYMMDD")
        return _Times(written_days.utc, written_days.utc, readings[unit])
    rate = UNITS[unit]
    if unit != "seconds":
        log.info(f"{place}: numbers are read as {unit} since 1970")
    valid = (amounts >= EARLIEST * rate) & (amounts < LAST * rate)
    fractions = np.where(valid, amounts, 0.0) / rate * 1e6 if rate > 1 else amounts * 1e6
    rounded = np.rint(np.where(valid, fractions, 0.0)).astype(np.int64)
    exact = np.where(valid & (whole >= 0), whole, 0)
    exact = exact * (10**6 // rate) if rate <= 10**6 else exact // (rate // 10**6)
    micros = np.where(whole >= 0, exact, rounded)
    return _Times(micros, micros, valid)


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
    shown = ", or ".join([readings[0], *(text.split(" is ")[1] for text in readings[1:2])])
    raise InputError(
        f"{place}: no unit makes its numbers times from 1990 to 2100: {shown}. {REMEDY}"
        if readings
        else f"{place}: {number:g} is no time from 1990 to 2100, in any unit. {REMEDY}"
    )


# Texts


def _written(text: pl.Series, place: str) -> _Times:
    """Texts as times; numbers and everything else are none."""
    parts = [_parts(text[start : start + CHUNK]) for start in range(0, len(text), CHUNK)]
    table = pl.concat(parts) if parts else _parts(text)

    def number(name: str) -> NDArray[np.int64]:
        return table[name].fill_null(0).to_numpy().astype(np.int64)

    month, day = number("month"), number("day")
    other = table["one"].is_not_null().to_numpy()
    if other.any():
        one, two = number("one"), number("two")
        if _day_is_first(text, one, two, other, place):
            month, day = np.where(other, two, month), np.where(other, one, day)
        else:
            month, day = np.where(other, one, month), np.where(other, two, day)
    days_since_1970 = _days_from(number("year"), month, day)
    valid = days_since_1970.valid & table["year"].is_not_null().to_numpy()
    valid &= (table["clock"] >= 0).to_numpy()
    local = days_since_1970.utc + np.where(valid, number("clock"), 0)
    return _in_utc(_Times(local, local, valid), table["zone"], table["has_clock"], place)


def _parts(text: pl.Series) -> pl.DataFrame:
    """What each cell has: year, month, day, or `one` and `two`; `clock` in microseconds, or -1."""
    rest = pl.DataFrame({"text": text.fill_null("")}).with_row_index("row")
    schema = {name: pl.String() for name in (*_FIELDS, "fraction", "zone")}
    parsed = [pl.DataFrame(schema={"row": pl.UInt32(), **schema})]
    for pattern in FORMATS:
        if rest.is_empty():
            break
        groups = rest["text"].str.extract_groups(pattern).struct.unnest()
        matches = groups["year"].is_not_null()
        parsed.append(pl.concat([rest.select("row"), groups], how="horizontal").filter(matches))
        rest = rest.filter(~matches)
    table = pl.concat(parsed, how="diagonal")
    whole = {
        name: pl.col(name).cast(pl.Int32)
        for name in ("year", "month", "day", "one", "two", "hour", "minute", "second")
    }
    name = pl.col("name").str.to_lowercase()
    half = pl.col("half").str.to_lowercase()
    fraction = pl.col("fraction").str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64)
    table = table.with_columns(**whole).with_columns(
        month=pl.coalesce(
            "month",
            name.replace_strict(_MONTH_NUMBERS, default=None, return_dtype=pl.Int32),
        ),
        # 12 AM is midnight, 12 PM is noon; with either, hours are 1 to 12.
        hour=pl.when(half.is_null())
        .then("hour")
        .when(pl.col("hour").is_between(1, 12))
        .then(pl.col("hour") % 12 + pl.when(half == "p").then(12).otherwise(0))
        .otherwise(99),
    )
    hour, minute, second = (pl.col(c).fill_null(0) for c in ("hour", "minute", "second"))
    in_range = (hour < 24) & (minute < 60) & (second < 60)
    seconds = (hour.cast(pl.Int64) * 60 + minute) * 60 + second
    clock = pl.when(in_range).then(seconds * 1_000_000 + fraction.fill_null(0)).otherwise(-1)
    columns = ["row", "year", "month", "day", "one", "two", "zone"]
    table = table.select(*columns, clock=clock, has_clock=pl.col("hour").is_not_null())
    everything = pl.DataFrame({"row": pl.Series(range(len(text)), dtype=pl.UInt32)})
    table = everything.join(table, on="row", how="left", maintain_order="left")
    return table.with_columns(
        pl.col("has_clock").fill_null(value=False), pl.col("clock").fill_null(-1)
    )


def _day_is_first(
    text: pl.Series,
    one: NDArray[np.int64],
    two: NDArray[np.int64],
    other: NDArray[np.bool_],
    place: str,
) -> bool:
    """Whether the column writes the day before the month.

    Raises:
        InputError: no cell decides, or cells contradict each other.
    """
    day_first = np.flatnonzero(other & (one > 12) & (two <= 12))
    month_first = np.flatnonzero(other & (two > 12) & (one <= 12))
    if len(day_first) and len(month_first):
        raise InputError(
            f"{place}: {text[int(day_first[0])]!r} has the day first, but "
            f"{text[int(month_first[0])]!r} the month. {REMEDY}"
        )
    if len(day_first) or len(month_first):
        order = "day" if len(day_first) else "month"
        example = text[int(day_first[0] if len(day_first) else month_first[0])]
        log.info(f"{place}: dates are read with the {order} first, as {example!r} shows")
        return bool(len(day_first))
    doubtful = np.flatnonzero(other & (one != two))
    if len(doubtful):
        cell = int(doubtful[0])
        year = text.str.extract(r"(\d{4})")[cell]
        readings = [f"{year}-{a[cell]:02}-{b[cell]:02}" for a, b in ((two, one), (one, two))]
        raise InputError(
            f"{place}: {text[cell]!r} is either {readings[0]} (day first) or {readings[1]} (month "
            f"first), and no cell of the column tells which. {REMEDY}"
        )
    return True


def _days_from(year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]) -> _Times:
    """Midnights of the calendar's days; invalid ones aren't valid."""
    valid = (year >= 0) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = np.where(valid, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    date = months.astype("datetime64[D]") + np.where(valid, day - 1, 0)
    valid &= date.astype("datetime64[M]") == months  # no 30 February
    micros = date.astype(np.int64) * DAY
    return _Times(micros, micros, valid)


def _in_utc(times: _Times, zone: pl.Series, has_clock: pl.Series, place: str) -> _Times:
    """Shift times that have an offset or a zone to UTC; those of an unknown zone aren't valid."""
    if zone.null_count() == len(zone):
        return times
    naive = (has_clock & zone.is_null()).to_numpy() & times.valid
    if naive.any():
        log.warning(
            f"{place}: {naive.sum():,} times have neither offset nor zone, others have one; the "
            "former are taken as UTC"
        )
    utc, valid = times.utc.copy(), times.valid.copy()
    for name in zone.drop_nulls().unique():
        rows = np.flatnonzero((zone == name).fill_null(value=False).to_numpy())
        shifted = _shifted(times.local[rows], name)
        utc[rows] = shifted.fill_null(0).to_numpy()
        valid[rows] &= shifted.is_not_null().to_numpy()
    return _Times(times.local, utc, valid)


def _shifted(local: NDArray[np.int64], zone: str) -> pl.Series:
    """Microseconds on a zone's clock → in UTC; null where the zone's clock has no such instant, or
    two of them.
    """
    micros = pl.Series(local)
    offset = zone.upper().removeprefix("UTC").removeprefix("GMT")
    if offset in ("", "Z"):
        return micros
    if offset[0] in "+-":
        digits = offset[1:].replace(":", "").ljust(4, "0")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        if minutes > 18 * 60 or int(digits[2:]) > 59:
            return pl.Series([None] * len(local), dtype=pl.Int64)
        return micros - (minutes if offset[0] == "+" else -minutes) * 60_000_000
    if zone not in zoneinfo.available_timezones():
        return pl.Series([None] * len(local), dtype=pl.Int64)
    clock = micros.cast(pl.Datetime("us")).dt.replace_time_zone(
        zone, ambiguous="null", non_existent="null"
    )
    return clock.dt.convert_time_zone("UTC").to_physical()
