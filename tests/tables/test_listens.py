import csv
import datetime
from pathlib import Path

import polars as pl
import pytest
from helpers import STRANGE_IDS, Table, parquet

from coldstart.commands.factorize import factorize
from coldstart.errors import Broken, InputError
from coldstart.factors.factors import Factors
from coldstart.tables.listens import read_listens, read_log
from coldstart.tables.table import write_table


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


def test_strange_ids_reach_the_factors_and_come_back(tmp_path: Path) -> None:
    path = parquet(
        tmp_path, user_id=STRANGE_IDS, track_id=STRANGE_IDS, plays=[2] * len(STRANGE_IDS)
    )
    factorize(path, out=tmp_path / "factors", factors=2, iterations=1)
    made = Factors.load(tmp_path / "factors")
    assert made.track_ids == sorted(STRANGE_IDS)
    assert made.user_ids == sorted(STRANGE_IDS)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_same_instants_are_cut_alike_in_csv_and_parquet(tmp_path: Path, ending: str) -> None:
    zone, instants = "America/New_York", ["2020-01-31T18:59:59", "2020-01-31T19:00:00"]
    times = pl.Series(instants).str.to_datetime().dt.replace_time_zone(zone)
    log = pl.DataFrame({"user_id": ["u", "v"], "track_id": ["a", "a"], "plays": [1, 1]})
    path = tmp_path / f"log.{ending}"
    write_table(path, log.with_columns(timestamp=times))
    before = read_log(path, day=datetime.date(2020, 2, 1)).before
    assert before is not None
    assert before["user_id"].to_list() == ["u"]
