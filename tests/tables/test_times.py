import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.tables.times import days, instants

INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))
SINCE = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return (moment - SINCE) // timedelta(microseconds=1)


def in_zone(moment: datetime, hours: float) -> datetime:
    return moment.astimezone(timezone(timedelta(hours=hours)))


WAYS: dict[str, Callable[[datetime], object]] = {
    "ISO": lambda t: t.isoformat(),
    "Z": lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f}Z",
    "naive": lambda t: f"{t:%Y-%m-%d %H:%M:%S.%f}",
    "offset": lambda t: in_zone(t, 5.5).isoformat(sep=" "),
    "offset without colon": lambda t: f"{in_zone(t, -3):%Y-%m-%dT%H:%M:%S.%f%z}",
    "zone": lambda t: f"{t.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M:%S.%f} Asia/Tokyo",
    "slashes": lambda t: f"{t:%Y/%m/%d %H:%M:%S.%f}",
    "English": lambda t: f"{t:%d} {t:%B} {t:%Y}, {t:%H:%M:%S.%f}",
    "mail": lambda t: f"{t:%a, %d %b %Y %H:%M:%S.%f} GMT",
    "American English": lambda t: f"{t:%b %d, %Y %I:%M:%S.%f %p}",
    "basic": lambda t: f"{t:%Y%m%dT%H%M%S.%f}Z",
    "microseconds": micros,
    "nanoseconds": lambda t: micros(t) * 1000,
    "milliseconds": lambda t: micros(t) / 1000,
    "microseconds as text": lambda t: str(micros(t)),
    "nanoseconds as text": lambda t: str(micros(t) * 1000),
    "seconds as text": lambda t: f"{micros(t) // 10**6}.{micros(t) % 10**6:06}",
    "datetime": lambda t: t,
    "naive datetime": lambda t: t.replace(tzinfo=None),
}


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None, max_examples=20)
@given(st.lists(INSTANTS, min_size=1, max_size=5))
def test_every_way_of_writing_gives_the_same_instants(way: str, moments: list[datetime]) -> None:
    if "milliseconds" in way:  # a float has 53 bits
        moments = [t.replace(microsecond=t.microsecond // 1000 * 1000) for t in moments]
    column = pl.Series([WAYS[way](t) for t in moments])
    assert instants(column, "t.csv").to_list() == moments


@settings(deadline=None, max_examples=30)
@given(st.lists(st.dates(date(1990, 1, 13), date(2099, 12, 31)), min_size=1, max_size=5))
def test_a_day_above_twelve_tells_the_order(dates: list[date]) -> None:
    dates = [*dates, date(2001, 2, 13)]
    for form in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d %b %Y", "%Y%m%d", "%Y/%m/%d"):
        column = pl.Series([f"{day:{form}}" for day in dates])
        assert days(column, "t.csv").to_list() == dates
        expected = [datetime.combine(day, time(), UTC) for day in dates]
        assert instants(column, "t.csv").to_list() == expected


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["03/04/2024", "05/06/2024"], "2024-04-03 .day first. or 2024-03-04 .month first."),
        (["13/04/2024", "04/15/2024"], "'13/04/2024' has the day first, but '04/15/2024' the mont"),
        ([500_000_000], "500000000 is 1985-11-05 in seconds, or 1970-01-06 in milliseconds"),
        ([44_197], "44197 is 2021-01-01 as a spreadsheet's day, or 1970-01-01 in seconds"),
        ([1580464800, 1580464800123], "2020-01-31 in seconds, but .* is 2020-01-31 in millisec"),
        ([True], "holds Boolean, not times"),
        ([time(1)], "holds Time, not times"),
        ([[1]], r"holds List\(Int64\), not times"),
        (pl.Series([2**62]).cast(pl.Datetime("us")), "row 1 is no time from the years"),
        (pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date), "row 1 is no time from the years"),
    ],
)
def test_what_has_two_readings_or_none_is_refused(cells: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        instants(pl.Series(cells), "t.csv: column 'timestamp'")


def test_years_beside_other_numbers_are_refused() -> None:
    assert days(pl.Series([1999, 2000]), "t").to_list() == [date(1999, 1, 1), date(2000, 1, 1)]
    with pytest.raises(InputError, match="20200101 is 2020-01-01 as YYYYMMDD, but 1999 is a year"):
        days(pl.Series([1999, 20200101]), "t.csv")


NO_TIMES = [
    *("soon", "2020-02-30", "2020-13-01", "2020-01-01 25:00", "2020-01-01 13:00 PM", ""),
    *("2020-01-01 10:00 CET", "2020-01-01 10:00 Mars/Base", "2020-10-25 02:30 Europe/Berlin"),
    *("31/12/99", "2020-01-01 10:00+99:00", "0", "-5", "31 Foo 2020", "2020-01-01x"),
]


@pytest.mark.parametrize("cell", NO_TIMES)
def test_a_cell_that_is_no_time_is_null(cell: str) -> None:
    assert instants(pl.Series(["2020-01-01", cell, None]), "t").null_count() == 2


def test_what_is_doubtful_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        instants(pl.Series(["2020-01-01 10:00", "2020-01-01 10:00+01:00"]), "t.csv")
        instants(pl.Series([1_580_464_800]).cast(pl.Datetime("ns")), "t.csv")
        instants(pl.Series(["31/12/2020"]), "t.csv")
        instants(pl.Series([1_580_464_800_000]), "t.csv")
    for text in ("1 times have neither", "January 1970", "day first", "milliseconds since 1970"):
        assert text in caplog.text
