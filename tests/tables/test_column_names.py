import contextlib
import json
import logging
from typing import Any

import polars as pl
import pytest
from helpers import Table
from hypothesis import given
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.tables.column_names import column_names, flag_value, with_names
from coldstart.tables.listens import LISTEN_COLUMNS, read_listens
from coldstart.tables.tracks import read_tracks

NAMES = st.dictionaries(
    st.sampled_from(LISTEN_COLUMNS), st.text(min_size=1).filter(str.strip), max_size=4
).filter(lambda names: len(set(names.values())) == len(names))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@given(NAMES)
def test_text_json_and_a_mapping_say_the_same(names: dict[str, str]) -> None:
    text = ", ".join(f"{column} = {quoted(name)}" for column, name in names.items())
    assert column_names(text, LISTEN_COLUMNS) == names
    assert column_names(names, LISTEN_COLUMNS) == names
    assert column_names(json.dumps(names), LISTEN_COLUMNS) == names


@given(st.text(alphabet='ab=,"{} '))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert set(column_names(text, ("a", "b"))) <= {"a", "b"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("uid", "'uid' is not COLUMN=NAME"),
        ("user_id", "is not COLUMN=NAME"),
        ("=uid", "is not COLUMN=NAME"),
        ("user_id=a=b", 'two equals signs; write .* in quotes: user_id="a=b"'),
        ('user_id="a', "is not COLUMN=NAME"),
        ("uid=user_id", "'uid' is none of the columns that are read here: user_id.*first"),
        ("user_id=a,user_id=b", "'user_id' is given twice"),
        ("user_id=a,track_id=a", "'a' is given twice"),
        ('{"user_id": 1}', "is no mapping from column to name"),
        ('{"user_id"', "is no JSON"),
        ({"user_id": None}, "is no mapping from column to name"),
    ],
)
def test_other_columns_are_refused(columns: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^columns: .*{message}"):
        column_names(columns, LISTEN_COLUMNS)


def test_two_columns_can_exchange_their_names() -> None:
    table = pl.DataFrame({"user_id": ["t"], "track_id": ["u"], "x": [1]})
    names = {"user_id": "track_id", "track_id": "user_id"}
    assert with_names("t.csv", table, names).rows(named=True) == [
        {"track_id": "t", "user_id": "u", "x": 1}
    ]


def test_names_are_applied_and_what_has_the_name_already_gives_way(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    path = table("uid,song,cnt,plays", "u,a,3,999", "u,b,4,9")
    with caplog.at_level(logging.INFO):
        log = read_listens(path, columns="user_id=uid,track_id=song,plays=cnt")
    assert log.rows() == [("u", "a", 3.0), ("u", "b", 4.0)]
    assert "not read, for --columns says so: plays" in caplog.text
    tracks = table("song,name,by,title", "007,T,X,other")
    columns = {"track_id": "song", "title": "name", "artist": "by"}
    assert read_tracks(tracks, columns=columns).select("track_id", "title", "artist").rows() == [
        ("007", "T", "X")
    ]


def test_a_name_that_is_no_column_is_refused_with_those_there_are(table: Table) -> None:
    with pytest.raises(InputError, match=r"no column 'cnt', which is to be 'plays'; .*: user_id,"):
        read_listens(table("user_id,track_id,count", "u,a,3"), columns="plays=cnt")


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        ("userid,track_id,plays", "Is it 'userid'? Pass --columns user_id=userid."),
        ("User-ID,track_id,plays", "Is it 'User-ID'? Pass --columns user_id=User-ID."),
        ("user id,track_id,plays", "Is it 'user id'? Pass --columns 'user_id=user id'."),
        ("user_id, track_id,plays", "Is it ' track_id'? Pass --columns 'track_id=\" track_id\"'."),
        ("uid,track_id,plays", "If it has another name: --columns user_id=NAME."),
    ],
)
def test_only_nearly_the_same_name_is_suggested(table: Table, header: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        read_listens(table(header, "u,t,1"))
    assert str(error.value).endswith(hint)


def test_a_duration_is_no_artist(table: Table) -> None:
    with pytest.raises(InputError) as error:
        read_tracks(table("track_id,title,duration", "a,t,1"))
    assert "Is it" not in str(error.value)


@given(st.text(min_size=1).filter(lambda name: "'" not in name))
def test_a_suggested_flag_is_read_as_the_name(name: str) -> None:
    assert column_names(flag_value("plays", name).strip("'"), ("plays",)) == {"plays": name}
