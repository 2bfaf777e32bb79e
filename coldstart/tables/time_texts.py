"""Texts → times: the ways in which people write them, and which of day and month comes first."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import InputError
from coldstart.tables.calendar import REMEDY, Times, midnights
from coldstart.tables.time_zones import in_utc

log = logging.getLogger(__name__)

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


def times_of_texts(text: pl.Series, place: str) -> Times:
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
    days_since_1970 = midnights(number("year"), month, day)
    valid = days_since_1970.valid & table["year"].is_not_null().to_numpy()
    valid &= (table["clock"] >= 0).to_numpy()
    local = days_since_1970.utc + np.where(valid, number("clock"), 0)
    return in_utc(Times(local, local, valid), table["zone"], table["has_clock"], place)


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
