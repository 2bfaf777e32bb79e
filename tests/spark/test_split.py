"""`split` on a cluster: what one machine writes, also where a worker is killed in the middle."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import World
from spark_processes import LINUX, executor_killed

from coldstart.cli import main
from coldstart.datasets.loaders import hetrec_lastfm
from coldstart.spark import digests

pytestmark = pytest.mark.usefixtures("spark")

FRACTIONS = "--fractions=[0.5,0.2,0.3]"


def written(out: Path) -> list[bytes]:
    return [path.read_bytes() for path in (out, out.with_name(f"{out.name}.report.json"))]


def both(tracks: Path, folder: Path, *flags: str) -> list[list[bytes]]:
    """The files of one machine and of a cluster, both under one name."""
    outputs = []
    for engine in ("local", "spark"):
        out = folder / engine / "splits.parquet"
        out.parent.mkdir(parents=True)
        assert main(["split", str(tracks), f"--out={out}", f"--engine={engine}", *flags]) == 0
        assert len(list(out.parent.iterdir())) == 2
        outputs.append(written(out))
    return outputs


@pytest.fixture(scope="module")
def parts(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world's tracks in several files of several groups of rows each, with copies of one
    sound, a file that is missing and a track without one.
    """
    table = pl.read_parquet(tiny_world.catalogue / "tracks.parquet")
    places = [str(tiny_world.catalogue / path) for path in table["audio"]]
    places[7] = places[31] = places[2]
    table = table.with_columns(audio=pl.Series([*places[:-2], "none.flac", None]))
    folder = tmp_path_factory.mktemp("parts")
    for number, start in enumerate(range(0, len(table), 13)):
        table[start : start + 13].write_parquet(folder / f"{number}.parquet", row_group_size=4)
    return folder


@LINUX
def test_splits_and_reports_are_equal_byte_for_byte_though_a_worker_is_killed(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "FILES", 1)

    def done() -> int:
        return len(list(tmp_path.glob("spark/.splits*/digests-*.parquet")))

    with executor_killed(lambda: done() > 3, lambda: done() == 60):
        here, there = both(parts, tmp_path, "--method=artist", FRACTIONS, "--seed=3")
    assert there == here
    report: dict[str, Any] = json.loads(here[1])
    tracks = pl.read_parquet(parts / "*.parquet")["track_id"]
    assert report["leaks"]["duplicate_audio"] == [[tracks[i] for i in (2, 7, 31)]]


@pytest.mark.parametrize("files", [7, 100])
def test_the_number_of_tasks_changes_nothing(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    monkeypatch.setattr(digests, "FILES", files)
    here, there = both(parts, tmp_path, FRACTIONS)
    assert there == here


def test_a_table_of_real_tracks_without_sound_is_split_as_on_one_machine(
    shared_data: Path, tmp_path: Path
) -> None:
    hetrec_lastfm(out=tmp_path / "tables", source=shared_data / "lastfm")
    here, there = both(tmp_path / "tables" / "tracks.parquet", tmp_path)
    assert there == here


def test_broken_rows_are_said_as_on_one_machine_before_anything_is_read(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pl.read_parquet(parts / "*.parquet")
    pl.concat([table, table[3:5]]).write_parquet(tmp_path / "tracks.parquet")
    said = []
    for engine in ("local", "spark"):
        flags = [f"--out={tmp_path / 'splits.csv'}", f"--engine={engine}"]
        assert main(["split", str(tmp_path / "tracks.parquet"), *flags]) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert "row 61, " in said[0]
    flags = [f"--out={tmp_path / 'splits.csv'}", "--engine=spark", "--hash-audio=false"]
    assert main(["split", str(tmp_path / "tracks.parquet"), *flags]) == 2
    assert "leave one of the two out" in capsys.readouterr().err
