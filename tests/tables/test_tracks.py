import datetime
from pathlib import Path

import polars as pl
import pytest
from helpers import STRANGE_IDS, Table, parquet
from hypothesis import given
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.tables.table import write_table
from coldstart.tables.tracks import read_tracks

TRACKS = "track_id,title,artist"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda s: s.strip())


@pytest.mark.parametrize("column", ["track_id", "title", "artist"])
def test_a_track_table_without_a_column_it_needs_is_refused(tmp_path: Path, column: str) -> None:
    columns = {name: ["x"] for name in TRACKS.split(",") if name != column}
    with pytest.raises(InputError, match=f"no column '{column}'"):
        read_tracks(parquet(tmp_path, **columns))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_strange_ids_come_back_as_they_were(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tracks.{ending}"
    columns = {"track_id": STRANGE_IDS, "title": STRANGE_IDS, "artist": STRANGE_IDS}
    write_table(path, pl.DataFrame(columns))
    assert read_tracks(path)["track_id"].to_list() == STRANGE_IDS
    assert read_tracks(path)["artist_id"].to_list() == STRANGE_IDS


@given(st.lists(IDS, min_size=1, unique=True))
def test_any_id_survives_parquet(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = parquet(tmp_path_factory.mktemp("ids"), track_id=ids, title=ids, artist=ids)
    assert read_tracks(path)["track_id"].to_list() == ids


def test_the_second_row_of_an_id_is_named(table: Table) -> None:
    with pytest.raises(InputError, match="row 3, track 'b', field 'track_id': 'b' is there twice"):
        read_tracks(table(TRACKS, "a,t,x", "b,t,x", "b,t,x"))


@pytest.mark.parametrize("row", [",t,x", '"",t,x', "  ,t,x"])
def test_an_empty_id_is_named_by_its_row(table: Table, row: str) -> None:
    with pytest.raises(InputError, match=r"table\.csv, row 2, .* field 'track_id': .* is empty"):
        read_tracks(table(TRACKS, "a,t,x", row))


def test_genres_come_from_a_csv_cell(table: Table) -> None:
    got = read_tracks(
        table(TRACKS + ",genres", "a,t,x,rock| indie pop ||", "b,t,x,", "c,t,x,|", "d,t,x,jazz")
    )
    assert got["genres"].to_list() == [["rock", "indie pop"], None, [], ["jazz"]]


@pytest.mark.parametrize(
    ("genres", "expected"),
    [
        ([["rock", None, " pop ", ""]], ["rock", "pop"]),
        ([[1, 2]], ["1", "2"]),
        (pl.Series(["rock|pop"], dtype=pl.Categorical), ["rock", "pop"]),
        ([7], ["7"]),
    ],
)
def test_genres_of_any_simple_type_become_names(
    tmp_path: Path, genres: object, expected: list[str]
) -> None:
    path = parquet(tmp_path, track_id=["a"], title=["t"], artist=["x"], genres=genres)
    assert read_tracks(path)["genres"].to_list() == [expected]


def test_genres_of_another_shape_are_refused(tmp_path: Path) -> None:
    for genres in ([[["rock"]]], [{"name": "rock"}]):
        path = parquet(tmp_path, track_id=["a"], title=["t"], artist=["x"], genres=genres)
        with pytest.raises(InputError, match="column 'genres' holds"):
            read_tracks(path)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1999-12-31", datetime.date(1999, 12, 31)),
        ("1999-12-31T23:59:00", datetime.date(1999, 12, 31)),
        ("1999", datetime.date(1999, 1, 1)),
        ("1999.0", datetime.date(1999, 1, 1)),
        (" 1999 ", datetime.date(1999, 1, 1)),
        ("", None),
    ],
)
def test_dates_are_days_or_years(table: Table, cell: str, expected: datetime.date | None) -> None:
    got = read_tracks(table(TRACKS + ",release_date", f"a,t,x,{cell}"))
    assert got["release_date"].to_list() == [expected]


@pytest.mark.parametrize("cell", ["31/12/99", "1999-02-30", "1999-12", "1999-12-31st", "soon"])
def test_a_bad_date_is_named(table: Table, cell: str) -> None:
    with pytest.raises(InputError, match=r"row 2, track 'b', field 'release_date': .* not a date"):
        read_tracks(table(TRACKS + ",release_date", "a,t,x,2001", f"b,t,x,{cell}"))


def test_parquet_dates_may_have_a_type(tmp_path: Path) -> None:
    day, base = datetime.date(2001, 2, 3), {"track_id": ["a"], "title": ["t"], "artist": ["x"]}
    for value in (day, datetime.datetime(2001, 2, 3, 4, 5)):
        got = read_tracks(parquet(tmp_path, **base, release_date=[value]))
        assert got["release_date"].to_list() == [day]


def test_a_date_may_be_an_instant_whose_own_day_counts(tmp_path: Path, table: Table) -> None:
    written = "2001-02-03T23:30:00-05:00"
    got = read_tracks(table(TRACKS + ",release_date", f"a,t,x,{written}", "b,t,x,31/12/1999"))
    days = [datetime.date(2001, 2, 3), datetime.date(1999, 12, 31)]
    assert got["release_date"].to_list() == days
    typed = pl.Series([written]).str.to_datetime(time_zone="America/New_York")
    base = {"track_id": ["a"], "title": ["t"], "artist": ["x"]}
    assert read_tracks(parquet(tmp_path, **base, release_date=typed))["release_date"][0] == days[0]


def test_genres_as_text_of_lists_are_lists(tmp_path: Path) -> None:
    base = {"track_id": ["a", "b"], "title": ["t", "t"], "artist": ["x", "x"]}
    path = parquet(tmp_path, **base, genres=["['rock' 'pop']", "['jazz']"])
    assert read_tracks(path)["genres"].to_list() == [["rock", "pop"], ["jazz"]]
    path = parquet(tmp_path, **base, genres=[["rock, pop"], ["jazz"]])
    split = read_tracks(path, genre_separator=",")["genres"].to_list()
    assert split == [["rock", "pop"], ["jazz"]]
