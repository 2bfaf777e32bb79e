import csv
import datetime
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart.commands.factorize import factorize
from coldstart.errors import Broken, InputError
from coldstart.factors.factors import Factors
from coldstart.tables.attributes import read_attributes
from coldstart.tables.listens import read_listens
from coldstart.tables.splits import read_splits
from coldstart.tables.table import read_table, write_table
from coldstart.tables.tracks import read_tracks

STRANGE_IDS = [
    "007",
    "AC/DC",
    "a.b",
    "two words",
    " led",
    "中文",
    "é",
    "😀",
    "a,b",
    'say "hi"',
    "-",
]
TRACKS = "track_id,title,artist"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda s: s.strip())

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Write lines as a CSV and give its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def parquet(folder: Path, **columns: object) -> Path:
    path = folder / "table.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


def listens(*rows: str) -> list[str]:
    return ["user_id,track_id,plays", *rows]


@pytest.mark.parametrize("name", ["play", "Plays", "playcount"])
def test_a_misnamed_column_is_named_beside_what_there_is(table: Table, name: str) -> None:
    with pytest.raises(InputError) as error:
        read_listens(table(f"user_id,track_id,{name}", "u,t,1"))
    assert "table.csv" in str(error.value)
    assert "no column 'plays'" in str(error.value)
    assert f"user_id, track_id, {name}" in str(error.value)
    assert f"Is it '{name}'?" in str(error.value)


@pytest.mark.parametrize("column", ["track_id", "title", "artist"])
def test_a_track_table_without_a_column_it_needs_is_refused(tmp_path: Path, column: str) -> None:
    columns = {name: ["x"] for name in TRACKS.split(",") if name != column}
    with pytest.raises(InputError, match=f"no column '{column}'"):
        read_tracks(parquet(tmp_path, **columns))


def test_two_columns_of_one_name_are_refused(table: Table) -> None:
    with pytest.raises(InputError, match="two columns 'plays'"):
        read_listens(table("user_id,track_id,plays,plays", "u,t,1,2"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("listens.tsv", b"user_id\ttrack_id\tplays\n", "read from .parquet or .csv"),
        ("listens", b"", "read from .parquet or .csv"),
        ("listens.parquet", b"PAR1 and no more", "not a readable .parquet table"),
        ("listens.parquet", b"", "not a readable .parquet table"),
        ("listens.csv", b"", "not a readable .csv table"),
        ("listens.csv", b"user_id,track_id,plays\nu,\xe9,1\n", "not a readable .csv table"),
        ("listens.csv", b"user_id,track_id,plays\nu,t,1,2\n", "not a readable .csv table"),
        ("listens.csv", b"user_id,track_id,plays\n", "no rows"),
        ("listens.csv", b"\x00\x01\x02", "no column 'user_id'"),
    ],
)
def test_a_file_that_holds_no_table_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_listens(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: there is no such file"):
        read_listens(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="there is no such file"):
        read_table(tmp_path, [])


def test_a_table_is_written_only_as_what_can_be_read_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="written as"):
        write_table(tmp_path / "x.json", pl.DataFrame({"a": [1]}))
    assert not list(tmp_path.iterdir())


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


def test_ids_that_look_like_numbers_stay_text(table: Table, tmp_path: Path) -> None:
    log = read_listens(table(*listens("01,007,1", "1,7,2", "1,7.0,3")))
    assert log["user_id"].to_list() == ["01", "1", "1"]
    assert log["track_id"].to_list() == ["007", "7", "7.0"]
    whole = read_listens(parquet(tmp_path, user_id=[1], track_id=[7], plays=[3]))
    assert whole.row(0) == ("1", "7", 3.0)


@pytest.mark.parametrize("ids", [[7.0], [[7]], [b"x"], [datetime.date(2020, 1, 1)]])
def test_ids_of_an_unfit_type_are_refused(tmp_path: Path, ids: list[object]) -> None:
    with pytest.raises(InputError, match=r"column 'track_id' holds .* ids are text or whole"):
        read_listens(parquet(tmp_path, user_id=["u"], track_id=ids, plays=[1]))


def test_the_second_row_of_an_id_is_named(table: Table) -> None:
    with pytest.raises(InputError, match="row 3, track 'b', field 'track_id': 'b' is there twice"):
        read_tracks(table(TRACKS, "a,t,x", "b,t,x", "b,t,x"))


@pytest.mark.parametrize("row", [",t,x", '"",t,x', "  ,t,x"])
def test_an_empty_id_is_named_by_its_row(table: Table, row: str) -> None:
    with pytest.raises(InputError, match=r"table\.csv, row 2, .* field 'track_id': .* is empty"):
        read_tracks(table(TRACKS, "a,t,x", row))


def test_an_empty_user_is_named_by_its_row(table: Table) -> None:
    with pytest.raises(InputError, match="row 1, track 't', field 'user_id': None is no id"):
        read_listens(table(*listens(",t,1")))


@pytest.mark.parametrize(
    ("plays", "reason"),
    [
        ("-1", "-1.0 is negative"),
        ("nan", "'nan' is not a finite number"),
        ("inf", "'inf' is not a finite number"),
        ("many", "'many' is not a finite number"),
        ("", "None is not a finite number"),
        ("10000001", "10000001.0 is absurd"),
    ],
)
def test_a_broken_play_count_is_named_by_file_row_track_and_field(
    table: Table, plays: str, reason: str
) -> None:
    path = table(*listens("u,a,1", f"u,b,{plays}", "u,c,2"))
    with pytest.raises(InputError, match=r"^table\.csv, row 2, track 'b', field 'plays'") as error:
        read_listens(path)
    assert reason in str(error.value)
    assert "--skip-broken" in str(error.value)
    broken = Broken(skip=True)
    assert read_listens(path, broken=broken)["track_id"].to_list() == ["a", "c"]
    assert [fault.row for fault in broken.faults] == [2]


def test_plays_of_an_unfit_type_are_refused(tmp_path: Path) -> None:
    for plays in ([datetime.date(2020, 1, 1)], [[1]]):
        with pytest.raises(InputError, match=r"column 'plays' holds .* not numbers"):
            read_listens(parquet(tmp_path, user_id=["u"], track_id=["t"], plays=plays))


def test_skipping_lists_every_broken_row_in_a_file(table: Table, tmp_path: Path) -> None:
    rows = ["u,a,1", "u,b,-5", "v,a,3", "v,,2", "v,b,nan", "w,b,2"]
    made = factorize(table(*listens(*rows)), out=tmp_path / "factors", factors=2, skip_broken=True)
    assert made.user_ids == ["u", "v", "w"]
    assert made.listens.sum() == 6
    with (tmp_path / "factors" / "broken.csv").open(encoding="utf-8") as file:
        listed = {int(row["row"]): row for row in csv.DictReader(file)}
    assert sorted(listed) == [2, 4, 5]
    assert {row["file"] for row in listed.values()} == {"table.csv"}
    assert listed[2]["item"] == "track 'b'"
    assert listed[5]["field"] == "plays"
    assert "negative" in listed[2]["reason"]


def test_nothing_is_written_when_a_row_is_broken(table: Table, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="negative"):
        factorize(table(*listens("u,a,-1")), out=tmp_path / "factors")
    assert not (tmp_path / "factors").exists()


def test_a_table_of_broken_rows_alone_is_refused_even_when_skipping(table: Table) -> None:
    with pytest.raises(InputError, match="no usable rows are left"):
        read_listens(table(*listens("u,a,-1")), broken=Broken(skip=True))


def test_zero_plays_are_dropped_and_repeated_pairs_summed(table: Table) -> None:
    log = read_listens(table(*listens("u,a,1", "u,b,0", "v,a,2", "u,a,3", "u,b,0")))
    assert log.rows() == [("u", "a", 4.0), ("v", "a", 2.0)]
    with pytest.raises(InputError, match="every row has 0 plays"):
        read_listens(table(*listens("u,a,0")))


def test_ratings_may_be_negative_and_repeated_ones_are_averaged(table: Table) -> None:
    log = read_listens(table("user_id,track_id,rating", "u,a,-1", "u,a,2", "u,b,0"), "rating")
    assert log.rows() == [("u", "a", 0.5), ("u", "b", 0.0)]


@pytest.mark.parametrize("cell", ["nan", "-inf", "", "high", "1e300"])
def test_an_attribute_that_is_no_usable_number_is_named(table: Table, cell: str) -> None:
    path = table("track_id,happy,loud", "a,1,0.5", f"b,0,{cell}")
    with pytest.raises(InputError, match=r"table\.csv, row 2, track 'b', field 'loud'"):
        read_attributes(path)
    assert read_attributes(path, Broken(skip=True))["track_id"].to_list() == ["a"]


def test_attributes_keep_their_order_and_become_float32(table: Table) -> None:
    got = read_attributes(table("z,track_id,a", "1,x,2", "3,y,4"))
    assert got.columns == ["track_id", "z", "a"]
    assert got.schema["z"] == pl.Float32
    assert got.rows() == [("x", 1.0, 2.0), ("y", 3.0, 4.0)]


def test_attribute_tables_need_an_attribute_and_one_row_a_track(table: Table) -> None:
    with pytest.raises(InputError, match="no attribute column"):
        read_attributes(table("track_id", "a"))
    with pytest.raises(InputError, match=r"row 2, track 'a'.* is there twice"):
        read_attributes(table("track_id,x", "a,1", "a,2"))
    with pytest.raises(InputError, match="two columns 'x'"):
        read_attributes(table("track_id,x,x", "a,1,2"))


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


@pytest.mark.parametrize("cell", ["31/12/1999", "1999-02-30", "1999-12", "1999-12-31st", "soon"])
def test_a_bad_date_is_named(table: Table, cell: str) -> None:
    with pytest.raises(InputError, match=r"row 2, track 'b', field 'release_date': .* not a date"):
        read_tracks(table(TRACKS + ",release_date", "a,t,x,2001", f"b,t,x,{cell}"))


def test_parquet_dates_may_have_a_type(tmp_path: Path) -> None:
    day, base = datetime.date(2001, 2, 3), {"track_id": ["a"], "title": ["t"], "artist": ["x"]}
    for value in (day, datetime.datetime(2001, 2, 3, 4, 5)):
        got = read_tracks(parquet(tmp_path, **base, release_date=[value]))
        assert got["release_date"].to_list() == [day]


def test_a_split_table_holds_each_track_once_on_a_known_side(table: Table) -> None:
    with pytest.raises(InputError, match="row 2, track 'b', field 'split': 'dev' is none of"):
        read_splits(table("track_id,split", "a,train", "b,dev"))
    with pytest.raises(InputError, match=r"row 2, track 'a'.* is there twice"):
        read_splits(table("track_id,split", "a,train", "a,test"))
    assert read_splits(table("split,track_id", "val,007")).rows() == [("007", "val")]


def test_strange_ids_reach_the_factors_and_come_back(tmp_path: Path) -> None:
    path = parquet(tmp_path, user_id=STRANGE_IDS, track_id=STRANGE_IDS, plays=[2] * 11)
    factorize(path, out=tmp_path / "factors", factors=2, iterations=1)
    made = Factors.load(tmp_path / "factors")
    assert made.track_ids == sorted(STRANGE_IDS)
    assert made.user_ids == sorted(STRANGE_IDS)
