import datetime
import logging
from pathlib import Path

import pytest
from helpers import Table, parquet

from coldstart.errors import Broken, InputError
from coldstart.tables.durations import is_duration, unit_of
from coldstart.tables.listens import read_listens

MILLISECONDS = ["ms_played", "msPlayed", "msplayed", "duration_ms", "ms", "playtimeMs", "PLAYED_MS"]
SECONDS = ["seconds", "seconds_played", "secondsPlayed", "length_s", "sec", "durationSeconds"]
NO_UNIT = ["duration", "listening_time", "playtime", "play_time", "time_played", "dwell", "minutes"]
COUNTS = ["plays", "cnt", "count", "times_played", "playcount", "n", "streams", "listens", "items"]


@pytest.mark.parametrize("name", [*MILLISECONDS, *SECONDS, *NO_UNIT])
def test_durations_are_recognised_and_never_taken_for_plays(table: Table, name: str) -> None:
    assert is_duration(name)
    assert unit_of(name) == (
        "milliseconds" if name in MILLISECONDS else "seconds" if name in SECONDS else ""
    )
    path = table(f"user_id,track_id,{name}", "u,t,1", "u,t,240000")
    with pytest.raises(InputError, match=f"'{name}' is called like a duration") as error:
        read_listens(path, columns={"plays": name})
    assert f"plays={name}" not in str(error.value)
    # Without the mapping each row is a play.
    assert read_listens(path).rows() == [("u", "t", 2.0)]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_no_durations(name: str) -> None:
    assert not is_duration(name)


@pytest.mark.parametrize(
    ("name", "short", "long", "columns"),
    [
        ("ms_played", 29_999, 30_000, None),
        ("msPlayed", 29_999, 30_000, None),
        ("milliseconds", 29_999, 30_000, None),
        ("seconds", 29.99, 30, None),
        ("played_seconds", 29, 30, None),
        ("duration", 29_999, 30_000, "milliseconds=duration"),
        ("listening_time", 29, 30, "seconds=listening_time"),
    ],
)
def test_short_plays_are_left_out_and_counted(
    table: Table,
    caplog: pytest.LogCaptureFixture,
    name: str,
    short: float,
    long: float,
    columns: str | None,
) -> None:
    path = table(f"user_id,track_id,{name}", f"u,a,{short}", f"u,b,{long}", f"u,b,{long}")
    with caplog.at_level(logging.INFO):
        log = read_listens(path, columns=columns, min_seconds=30)
    assert log.rows() == [("u", "b", 2.0)]
    assert "left out 1 of 3 rows: plays of less than 30 seconds" in caplog.text
    assert "2 rows, 1 pairs" in caplog.text


def test_a_typed_duration_needs_no_unit(tmp_path: Path) -> None:
    times = [datetime.timedelta(seconds=seconds) for seconds in (29, 31)]
    path = parquet(tmp_path, user_id=["u", "u"], track_id=["a", "b"], seconds=times)
    assert read_listens(path, min_seconds=30)["track_id"].to_list() == ["b"]


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        ("x", None, "no column says how long each play lasted; the table has: user_id,track_id,x"),
        ("duration_ms", None, "is it duration_ms .*: --columns milliseconds=duration_ms"),
        ("listening_time", None, "is it listening_time .*: --columns seconds=listening_time"),
        ("ms_played", "seconds=ms_played", "called like milliseconds: --columns milliseconds=ms_"),
    ],
)
def test_what_may_be_the_duration_is_asked(
    table: Table, header: str, columns: str | None, message: str
) -> None:
    path = table(f"user_id,track_id,{header}", "u,a,1")
    with pytest.raises(InputError, match=message.replace("id,", "id, ")):
        read_listens(path, columns=columns, min_seconds=30)


def test_broken_durations_are_named_and_can_be_skipped(table: Table) -> None:
    path = table("user_id,track_id,seconds", "u,a,-1", "u,b,", "u,c,x", "u,d,60")
    with pytest.raises(InputError, match=r"field 'seconds': None is not a finite number .*1 more"):
        read_listens(path, min_seconds=30)
    broken = Broken(skip=True)
    assert read_listens(path, broken=broken, min_seconds=30)["track_id"].to_list() == ["d"]
    assert sorted(fault.row or 0 for fault in broken.faults) == [1, 2, 3]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_seconds_out_of_range_are_refused(table: Table, seconds: float) -> None:
    with pytest.raises(InputError, match="min_seconds is a number from 0 on"):
        read_listens(table("user_id,track_id,seconds", "u,a,1"), min_seconds=seconds)


def test_a_log_without_a_long_play_is_refused(table: Table) -> None:
    with pytest.raises(InputError, match=r"every row would be left out: .* 30 seconds"):
        read_listens(table("user_id,track_id,seconds", "u,a,1"), min_seconds=30)
