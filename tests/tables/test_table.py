import logging
from pathlib import Path

import polars as pl
import pytest
from helpers import STRANGE_IDS, Table, parquet

from coldstart.errors import InputError
from coldstart.tables.attributes import read_attributes, read_column
from coldstart.tables.listens import read_listens
from coldstart.tables.splits import read_ids, read_splits
from coldstart.tables.table import read_table, write_table
from coldstart.tables.tracks import read_tracks
from coldstart.tables.vectors import read_vectors


def test_two_columns_of_one_name_are_refused(table: Table) -> None:
    with pytest.raises(InputError, match="two columns 'plays'"):
        read_listens(table("user_id,track_id,plays,plays", "u,t,1,2"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("listens.tsv", b"user_id\ttrack_id\tplays\n", "no rows"),
        ("listens.xlsx", b"PK", "read from .parquet or .csv"),
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
    with pytest.raises(InputError, match="is a folder without a table"):
        read_table(tmp_path, [])


def test_a_table_is_written_only_as_what_can_be_read_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="written as"):
        write_table(tmp_path / "x.json", pl.DataFrame({"a": [1]}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_ids_come_out_of_every_table_as_they_went_in(tmp_path: Path, ending: str) -> None:
    path, n = tmp_path / f"table.{ending}", len(STRANGE_IDS)
    ids = {"track_id": STRANGE_IDS}
    write_table(path, pl.DataFrame({**ids, "title": STRANGE_IDS, "artist": STRANGE_IDS}))
    assert read_tracks(path)["artist_id"].to_list() == STRANGE_IDS
    write_table(path, pl.DataFrame({**ids, "user_id": STRANGE_IDS, "plays": [1] * n}))
    assert read_listens(path)["user_id"].to_list() == sorted(STRANGE_IDS)
    assert read_listens(path)["track_id"].to_list() == sorted(STRANGE_IDS)
    write_table(path, pl.DataFrame({**ids, "split": ["train"] * n}))
    assert read_splits(path)["track_id"].to_list() == read_ids(path) == STRANGE_IDS
    write_table(path, pl.DataFrame({**ids, "happy": [i / 7 for i in range(n)]}))
    assert read_attributes(path)["track_id"].to_list() == STRANGE_IDS
    assert list(read_vectors(path, [])) == STRANGE_IDS
    write_table(path, pl.DataFrame({**ids, "text": STRANGE_IDS}))
    assert read_column(path, "text").rows() == [(name, name) for name in STRANGE_IDS]


def test_ids_with_spaces_around_are_named(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_ids(table("track_id", "a", " a", "b "))
    assert "2 ids of column 'track_id' begin or end with a space, such as ' a'" in caplog.text


@pytest.mark.parametrize("column", ["title", "artist", "audio", "genres"])
def test_texts_as_bytes_are_refused(tmp_path: Path, column: str) -> None:
    columns = {name: [b"\xff"] if name == column else ["x"] for name in ("title", "artist", column)}
    with pytest.raises(InputError, match=f"column '{column}' holds Binary"):
        read_tracks(parquet(tmp_path, track_id=["a"], **columns))
