import logging
from datetime import date

import pytest
from helpers import Table

from coldstart.errors import InputError
from coldstart.tables.listens import read_listens, read_log


def test_each_row_of_an_event_log_is_one_play(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    path = table(
        "timestamp,user_id,track_id,device",
        "2026-01-01T10:00:00+01:00,u,a,phone",
        "2026-01-01T23:30:00-01:00,u,a,car",
        "2026-01-02T10:00:00Z,v,b,",
    )
    with caplog.at_level(logging.INFO):
        assert read_listens(path).rows() == [("u", "a", 2.0), ("v", "b", 1.0)]
    assert "each row counts as one play: 3 rows, 2 pairs of user and track" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    log = read_log(path, day=date(2026, 1, 2))
    assert log.before is not None
    assert log.before.rows() == [("u", "a", 1.0)]
    assert [str(end) for end in log.period or ()] == [
        "2026-01-01 09:00:00+00:00",
        "2026-01-02 10:00:00+00:00",
    ]


def test_ids_alone_are_a_log(table: Table) -> None:
    assert read_listens(table("track_id,user_id", "007,u", "007,u")).rows() == [("u", "007", 2.0)]


@pytest.mark.parametrize("name", ["play", "Plays", "play_count", "playcount", "cnt", "scrobbles"])
def test_plays_under_another_name_are_asked_for(table: Table, name: str) -> None:
    path = table(f"user_id,track_id,{name},timestamp", "u,a,3,2026-01-01", "u,a,4,2026-01-02")
    with pytest.raises(InputError) as error:
        read_listens(path)
    assert f"Is it '{name}'? Pass --columns plays={name}." in str(error.value)
    assert str(error.value).endswith("Or is each row one play? Pass --columns plays=")
    assert read_listens(path, columns=f"plays={name}").rows() == [("u", "a", 7.0)]
    assert read_listens(path, columns="plays=").rows() == [("u", "a", 2.0)]


def test_ratings_need_their_column_and_are_no_plays(table: Table) -> None:
    path = table("user_id,track_id,rating", "u,a,3")
    with pytest.raises(InputError, match=r"Is it 'rating'\? Ratings are for --algorithm explicit"):
        read_listens(path)
    with pytest.raises(InputError, match=r"there is no column 'rating'.*--columns rating=NAME"):
        read_listens(table("user_id,track_id", "u,a"), "rating")


def test_a_number_that_is_not_read_is_named_where_rows_count_nothing(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    header = "user_id,track_id,value,artist,timestamp,ms_played"
    rows = ["u,a,3,x,1700000000,9", "u,b,4,y,1700000000,9", "v,b,4,y,1700000000,9"]
    with caplog.at_level(logging.INFO):
        read_listens(table(header, *rows))
        assert "no pair has two rows, and value isn't read" in caplog.text
        assert "--columns plays=value" in caplog.text
        caplog.clear()
        read_listens(table(header, *rows, rows[0]))
    assert "isn't read" not in caplog.text


def test_rows_of_no_plays_are_counted(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read_listens(table("user_id,track_id,plays", "u,a,1", "u,b,0", "u,c,0"))
    assert "2 of 3 rows have 0 plays" in caplog.text


@pytest.mark.parametrize("plays", [210_000, 95])
def test_plays_that_may_be_milliseconds_are_named(
    table: Table, caplog: pytest.LogCaptureFixture, plays: int
) -> None:
    rows = [f"u,{track},{plays + track}" for track in range(9)]
    with caplog.at_level(logging.INFO):
        read_listens(table("user_id,track_id,plays", *rows))
    absurd = "as if column 'plays' held seconds or milliseconds" in caplog.text
    assert absurd == (plays > 100)
    assert "rename" not in caplog.text.lower()
