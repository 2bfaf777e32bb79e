"""Times as people write them → instants in UTC, or days.

A column is read as a whole: which of day and month comes first, and the unit of numbers, must
follow from its cells. Where they leave two readings, both are shown and the column is refused.
"""

from __future__ import annotations

import logging
import re
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import InputError
from coldstart.tables.calendar import DAY, FIRST_DAY, LAST_DAY, REMEDY, Times
from coldstart.tables.time_numbers import amounts_of, times_of_numbers
from coldstart.tables.time_texts import times_of_texts

log = logging.getLogger(__name__)


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
        check_years(values, place)
        utc = values.dt.convert_time_zone("UTC") if dtype.time_zone else values
        utc = utc.dt.replace_time_zone("UTC").dt.cast_time_unit("us")
        _warn_of_the_epoch(utc, place)
        return utc
    if dtype == pl.Date:
        check_years(values, place)
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
        check_years(values, place)
        dates = values.dt.date()
        check_years(dates, place)  # of an instant at the edge, the zone's own day lies beyond it
        return dates
    times = _read(values, place, years=True)
    return _series(times.local // DAY, times.valid, pl.Date())


def period_of(times: pl.Series, place: str) -> tuple[datetime, datetime] | None:
    """The first and the last time of a column; None if it has none, or can't be read.

    Not all of them are read where texts or whole numbers are in order as they stand.

    >>> times = pl.Series(["2020-01-31", "2020-01-02"])
    >>> [str(time.date()) for time in period_of(times, "t.csv") or ()]
    ['2020-01-02', '2020-01-31']
    """
    first = times.first() if times.dtype == pl.String else None
    if isinstance(first, str) and _in_order(times, first):
        ends = _ends(pl.Series([times.min(), times.max()]), place)
        if ends:
            return ends
    return _ends(times, place)


def _in_order(times: pl.Series, first: str) -> bool:
    """Whether texts are in the order of their times: of one length and zone, the year first."""
    lengths = times.str.len_bytes()
    if lengths.min() != lengths.max():
        return False
    zone = re.search(r"(?<=[\d ])(Z|UTC|[+-]\d\d:?\d\d)$", first[10:])
    written = r"\d{4}([-/]\d\d){2}([T ][\d:.,]*" + re.escape(zone[0] if zone else "") + ")?"
    return bool(times.str.contains(rf"^({written}|\d+)$").all())


def _ends(times: pl.Series, place: str) -> tuple[datetime, datetime] | None:
    try:
        return ends_of(instants(times, place))
    except InputError as error:
        log.info(f"{error}. So its first and last time aren't kept")
        return None


def ends_of(times: pl.Series) -> tuple[datetime, datetime] | None:
    """The first and the last of N instants; None if there are none."""
    first, last = times.min(), times.max()
    return (first, last) if isinstance(first, datetime) and isinstance(last, datetime) else None


def _series(numbers: NDArray[np.int64], valid: NDArray[np.bool_], dtype: pl.DataType) -> pl.Series:
    """Days or microseconds as times; null where they aren't valid, or beyond the calendar."""
    unit, physical = (1, pl.Int32) if dtype == pl.Date else (DAY, pl.Int64)
    valid = valid & (numbers >= FIRST_DAY * unit) & (numbers < (LAST_DAY + 1) * unit)
    series = pl.Series(np.where(valid, numbers, 0)).cast(physical)
    return pl.select(pl.when(pl.Series(valid)).then(series).cast(dtype)).to_series()


def check_years(values: pl.Series, place: str) -> None:
    """Raise InputError for a typed time beyond the years 1 to 9999, which no calendar shows."""
    unit = values.dtype.time_unit if isinstance(values.dtype, pl.Datetime) else None
    per_day = DAY if unit is None else {"ms": DAY // 1000, "us": DAY, "ns": DAY * 1000}[unit]
    day = values.to_physical().cast(pl.Int64)
    day = day if values.dtype == pl.Date else day // per_day
    faulty = ((day < FIRST_DAY) | (day > LAST_DAY)).fill_null(value=False).arg_true()
    if len(faulty):
        raise InputError(
            f"{place}: row {faulty[0] + 1} is no time from the years 1 to 9999; leave such cells "
            "empty, or mend them"
        )


def _warn_of_the_epoch(utc: pl.Series, place: str) -> None:
    """Numbers that were read in a wrong unit all lie in January 1970."""
    latest = utc.dt.epoch("s").max()
    if isinstance(latest, int) and 0 <= latest < 31 * 86_400:
        log.warning(
            f"{place}: every time is in January 1970; numbers were probably read in a wrong unit "
            "when the table was made"
        )


def _read(values: pl.Series, place: str, years: bool) -> Times:
    """Numbers or texts as times."""
    dtype = values.dtype
    if dtype.is_numeric():
        whole = values.cast(pl.Int64, strict=False) if dtype.is_integer() else None
        return times_of_numbers(*amounts_of(values, whole), place, years, alone=True)
    if dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise InputError(f"{place} holds {dtype}, not times. {REMEDY}")
    text = values.cast(pl.String).str.strip_chars()
    whole = text.str.extract(r"^(\d{1,19})$", 1).cast(pl.Int64, strict=False)
    real = text.str.extract(r"^(\d+(?:\.\d*)?(?:[eE]\+?\d+)?)$", 1)
    written = times_of_texts(text, place)
    alone = not written.valid.any()
    counted = times_of_numbers(*amounts_of(real, whole), place, years, alone)
    return Times(*(np.where(counted.valid, a, b) for a, b in zip(counted, written, strict=True)))
