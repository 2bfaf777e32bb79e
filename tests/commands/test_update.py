"""The verb `update`: what it reads, refuses and prints."""

import gzip
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from helpers import World, made_from, random_log

import coldstart as cs
from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.factors.update import current_factors

NEW = random_log(6, 8, 6, 0.6, first=16).with_columns(pl.col("timestamp").dt.offset_by("1y"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("factors")
    made_from(root, random_log(), None)
    return root / "out"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "factors")


def test_an_update_from_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    NEW.write_csv(tmp_path / "day.csv", separator=";")
    (tmp_path / "day.csv.gz").write_bytes(gzip.compress((tmp_path / "day.csv").read_bytes()))
    NEW.write_parquet(tmp_path / "day.parquet")
    assert main(["update", str(folder), "--listens", str(tmp_path / "day.csv.gz")]) == 0
    printed = capsys.readouterr().out
    assert f"update 1: {len(NEW)} listens by 8 users (0 new) of 6 tracks (4 new)" in printed
    assert "are of 4 unknown tracks" in printed
    assert "since the fit:" in printed
    assert main(["update", str(folder), "--listens", str(tmp_path / "day.parquet")]) == 0
    assert f"these {len(NEW)} listens were there before" in capsys.readouterr().out
    day = random_log(9, 20, 18, 0.2).with_columns(pl.col("timestamp").dt.offset_by("1y"))
    day.write_parquet(tmp_path / "next.parquet")
    arguments = ["--listens", str(tmp_path / "next.parquet"), "--compare-refit"]
    assert main(["update", str(folder), *arguments]) == 0
    printed = capsys.readouterr().out
    for word in ("NDCG@20 of", "candidates for", "tracks to be found, seed 0", "popularity"):
        assert word in printed
    report = json.loads((folder / "updates" / "report.json").read_text())
    assert report["updates"] == 2
    assert 0 < report["comparison"]["random"] < 1
    assert main(["update", str(folder), "--undo"]) == 0
    assert "updates that count: 1" in capsys.readouterr().out
    assert main(["update", str(folder)]) == 0
    assert current_factors(folder).about["updates"] == 1


def test_a_row_a_play_under_other_names_without_short_ones(folder: Path, tmp_path: Path) -> None:
    rows = [("u00", "new", "2021-01-01T10:00:00", 200), ("u00", "new", "2021-01-02T10:00:00", 100)]
    rows += [("u00", "new", "2021-01-02T10:00:00", 100), ("u01", "new", "2021-01-03T10:00:00", 9)]
    table = pl.DataFrame(rows, ["uid", "song", "time", "seconds"], orient="row")
    table.write_csv(tmp_path / "day.csv")
    columns = {"user_id": "uid", "track_id": "song", "timestamp": "time"}
    report = cs.update(folder, listens=tmp_path / "day.csv", columns=columns, min_seconds=30)
    assert (report.listens, report.repeated, report.users) == (2, 1, 1)
    factors = current_factors(folder)
    assert factors.plays[factors.row["new"]] == 2


def test_short_plays_are_left_out_as_by_the_factorisation(folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "factors.json").read_text())
    (folder / "factors.json").write_text(json.dumps({**about, "min_seconds": 30}))
    table = pl.DataFrame({"user_id": ["u00", "u01"], "track_id": ["t00"] * 2, "seconds": [29, 31]})
    table.write_csv(tmp_path / "day.csv")
    assert cs.update(folder, listens=tmp_path / "day.csv").users == 1


def test_numeric_ids_are_text_as_in_the_factorisation(tmp_path: Path) -> None:
    log = random_log().with_columns(
        pl.col("user_id").str.slice(1).cast(pl.Int64), pl.col("track_id").str.slice(1)
    )
    made_from(tmp_path, log, None)
    log[:9].with_columns(pl.col("timestamp").dt.offset_by("1y")).write_parquet(
        tmp_path / "a.parquet"
    )
    report = cs.update(tmp_path / "out", listens=tmp_path / "a.parquet")
    assert (report.new_users, report.new_tracks, report.unknown_tracks) == (0, 0, 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["user_id,track_id,plays"], "no rows"),
        (["user_id,track_id,plays", "a,x,nan"], "'nan' is not a finite number"),
        (["user_id,track_id,plays", "a,x,0"], "every row has 0 plays"),
        (["user_id,track_id,plays", "a,,3"], "is no id: it is empty"),
        (["user_id,track_id,plays,timestamp", "a,x,3,soon"], "no time"),
        (["user_id,track_id,rating", "a,x,3"], "rating"),
    ],
)
def test_bad_listens_are_refused_and_nothing_changes(
    lines: list[str], message: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "day.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        cs.update(folder, listens=tmp_path / "day.csv")
    assert not (folder / "updates").exists()


def test_plays_are_no_ratings(tmp_path: Path) -> None:
    made_from(tmp_path, random_log(), None, algorithm="explicit")
    NEW.write_parquet(tmp_path / "day.parquet")
    with pytest.raises(InputError, match="no column 'rating'"):
        cs.update(tmp_path / "out", listens=tmp_path / "day.parquet")


def test_broken_rows_are_left_out_and_listed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("user_id,track_id,plays\nu00,t00,nan\nu01,t00,0\nu02,t00,2\n")
    report = cs.update(folder, listens=tmp_path / "day.csv", skip_broken=True)
    assert (report.listens, report.users) == (1, 1)
    assert "nan" in (folder / "updates" / "broken.csv").read_text()


def test_addresses_and_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written to"):
        cs.update("s3://bucket/factors")
    with pytest.raises(InputError, match="no factors here"):
        cs.update(tmp_path)


def test_the_dataset_s_tracks_are_known(tiny_world: World, folder: Path, tmp_path: Path) -> None:
    track = min(Factors.load(tiny_world.factors).track_ids)
    table = pl.DataFrame({"user_id": ["u00", "u00"], "track_id": [track, "x"], "plays": [1, 1]})
    table.write_csv(tmp_path / "day.csv")
    report = cs.update(folder, listens=tmp_path / "day.csv", shards=tiny_world.shards)
    assert (report.unknown_tracks, report.new_tracks) == (1, 2)
