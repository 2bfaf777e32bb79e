import gzip
import logging
from pathlib import Path

import polars as pl
import pytest
from helpers import Table

from coldstart.commands.split import split
from coldstart.errors import InputError
from coldstart.files import file_hash
from coldstart.tables.listens import read_listens
from coldstart.tables.parts import folder_of_paths, parts_of, table_hash
from coldstart.tables.table import read_table

LOG = pl.DataFrame(
    [("01", "007", 2), ("01", "9", 1), ("2", "007", 3), ("3", "a", 5)],
    ["user_id", "track_id", "plays"],
    orient="row",
)


@pytest.fixture
def spark(tmp_path: Path) -> Path:
    """A folder as Spark writes it."""
    folder = tmp_path / "log.parquet"
    folder.mkdir()
    LOG[:3].write_parquet(folder / "part-00000-c000.snappy.parquet", compression="snappy")
    LOG[3:].write_parquet(folder / "part-00001-c000.zstd.parquet", compression="zstd")
    for name in ("_SUCCESS", ".part-00000-c000.snappy.parquet.crc", "_metadata", "notes.txt"):
        (folder / name).write_text("no table")
    return folder


def test_a_folder_and_a_pattern_are_read_like_one_file(spark: Path, tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "log.csv")
    expected = read_listens(tmp_path / "log.csv")
    assert read_listens(spark).equals(expected)
    assert read_listens(spark / "part-*.parquet").equals(expected)
    assert read_listens(tmp_path / "*.parquet").equals(expected)
    assert read_listens(f"{tmp_path}/**/part-*.parquet").equals(expected)


def test_parts_of_text_may_be_compressed_and_empty(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    LOG[:2].write_csv(folder / "part-0.csv", separator=";")
    (folder / "part-1.csv.gz").write_bytes(gzip.compress(LOG[2:].write_csv().encode()))
    (folder / "part-2.csv").touch()
    assert len(read_listens(folder)) == len(read_listens(folder / "part-*")) == 4


def test_folders_of_partitions_give_a_column(tmp_path: Path) -> None:
    for day, rows in (("2026-01-01", LOG[:3]), ("2026-01-02", LOG[3:])):
        (tmp_path / "log" / f"timestamp={day}").mkdir(parents=True)
        rows.write_parquet(tmp_path / "log" / f"timestamp={day}" / "0.parquet")
    (tmp_path / "log" / "timestamp=__HIVE_DEFAULT_PARTITION__").mkdir()
    LOG[:1].write_parquet(tmp_path / "log" / "timestamp=__HIVE_DEFAULT_PARTITION__" / "0.parquet")
    for path in (tmp_path / "log", tmp_path / "log" / "*" / "0.parquet"):
        days = read_table(path, [])["timestamp"].to_list()
        assert days == ["2026-01-01"] * 3 + ["2026-01-02", None]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (LOG.rename({"plays": "cnt"}), "1.parquet lacks plays, which .*0.parquet has"),
        (LOG.with_columns(more=1), "0.parquet lacks more, which .*1.parquet has"),
        (LOG.with_columns(track_id=pl.Series([7, 8, 9, 10])), "'track_id' is String in .*Int64 in"),
        (LOG.with_columns(plays=pl.lit(1.5)), "'plays' is Int64 in .*0.parquet, but Float64 in"),
    ],
)
def test_parts_that_differ_are_refused_by_name(
    tmp_path: Path, table: pl.DataFrame, message: str
) -> None:
    LOG.write_parquet(tmp_path / "0.parquet")
    table.write_parquet(tmp_path / "1.parquet")
    with pytest.raises(InputError, match=message):
        read_listens(tmp_path)


def test_parts_whose_types_mean_the_same_are_joined(tmp_path: Path) -> None:
    LOG.write_parquet(tmp_path / "0.parquet")
    LOG.with_columns(pl.col("plays").cast(pl.Int32)).write_parquet(tmp_path / "1.parquet")
    LOG.select("plays", "track_id", "user_id").write_parquet(tmp_path / "2.parquet")
    assert read_listens(tmp_path)["plays"].to_list() == [6.0, 3.0, 9.0, 15.0]
    LOG.with_columns(track_id=pl.lit(None)).write_parquet(tmp_path / "3.parquet")
    with pytest.raises(InputError, match="row 13, track None, field 'track_id'"):
        read_listens(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.csv", "has parts of two kinds, .* name one kind, such as"),
        ("part-00002", "part-00002: has no ending that says what it is"),
    ],
)
def test_another_kind_of_part_is_refused(spark: Path, name: str, message: str) -> None:
    (spark / name).write_text("user_id,track_id,plays\nu,t,1\n")
    with pytest.raises(InputError, match=message):
        read_listens(spark)


def test_a_folder_or_a_pattern_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder without a table"):
        parts_of(tmp_path)
    with pytest.raises(InputError, match="no file has a name of this pattern"):
        parts_of(tmp_path / "part-*.csv")


def test_a_job_that_may_not_have_finished_is_named(
    spark: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (spark / "_temporary").mkdir()
    (spark / "_SUCCESS").unlink()
    with caplog.at_level(logging.INFO):
        assert len(read_listens(spark)) == 4
    assert "may not have finished" in caplog.text
    assert "1 files are no tables, such as notes.txt" in caplog.text


def test_a_file_with_the_signs_of_a_pattern_is_that_file(tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "log[1]*.csv")
    assert len(read_listens(tmp_path / "log[1]*.csv")) == 4


def test_a_hash_is_that_of_the_file_or_of_all_parts(spark: Path, tmp_path: Path) -> None:
    LOG.write_csv(tmp_path / "log.csv")
    assert table_hash(tmp_path / "log.csv") == file_hash(tmp_path / "log.csv")
    before = table_hash(spark)
    assert before == table_hash(spark)
    LOG[3:].with_columns(plays=6).write_parquet(spark / "part-00001-c000.zstd.parquet")
    assert table_hash(spark) != before


@pytest.mark.parametrize("within", [True, False])
def test_sound_is_found_beside_a_folder_of_parts_or_in_it(tmp_path: Path, within: bool) -> None:
    folder = tmp_path / "tracks"
    sound = (folder if within else tmp_path) / "audio"
    sound.mkdir(parents=True)
    folder.mkdir(exist_ok=True)
    header = "track_id,title,artist,audio\n"
    for number in range(10):
        (sound / f"{number % 5}.wav").write_text("x" * (number % 5 + 1))
        row = f"t{number},title,artist,audio/{number % 5}.wav\n"
        (folder / f"part-{number}.csv").write_text(header + row)
    assert folder_of_paths(folder, ["audio/0.wav"]) == (folder if within else tmp_path)
    split(folder, out=tmp_path / "splits.csv", fractions=(0.5, 0.2, 0.3))
    report = (tmp_path / "splits.csv.report.json").read_text()
    assert '"duplicate_audio": [\n' in report  # files were found, and have the same bytes


def test_paths_of_one_file_are_relative_to_its_folder(table: Table) -> None:
    path = table("track_id", "a")
    assert folder_of_paths(path, []) == path.parent
    assert folder_of_paths(path.parent / "part-*.csv", []) == path.parent
