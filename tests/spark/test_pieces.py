"""`shard`, `predict` and `recommend --users` on a cluster: what one machine makes, also where a
worker is killed in the middle.
"""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import Fitted, World, copy_of, files_of
from spark_processes import LINUX, executor_killed

from coldstart.cli import main
from coldstart.commands.predict import predict
from coldstart.model.predictions import Predictions
from coldstart.retrieval import batch

pytestmark = pytest.mark.usefixtures("spark")


def shard_flags(world: World, out: Path, size: int = 2) -> list[str]:
    tables = world.catalogue
    flags = ["--splits", str(world.splits), "--attributes.mgp", str(tables / "mgp.parquet")]
    small = ["--sample-rate=8000", f"--shard-size={size}", "--workers=1"]
    return ["shard", str(tables / "tracks.parquet"), "--out", str(out), *flags, *small]


@pytest.fixture(scope="module")
def narrow(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny world with a shard for each two tracks: 30 tasks."""
    shards = tmp_path_factory.mktemp("narrow") / "shards"
    assert main(shard_flags(tiny_world, shards)) == 0
    return tiny_world._replace(shards=shards)


@LINUX
def test_shards_are_equal_byte_for_byte_though_a_worker_is_killed(
    narrow: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # executors run elsewhere: paths that are relative must hold there
    notes = tmp_path / "shards" / ".progress"

    def written() -> int:
        return len(list(notes.glob("audio-*/*.json")))

    with executor_killed(lambda: written() > 3, lambda: written() == 30):
        flags = shard_flags(narrow, Path("shards"))
        assert main([*flags, "--engine=spark", "--spark.task.maxFailures=4"]) == 0
    assert files_of(tmp_path / "shards") == files_of(narrow.shards)


def test_a_broken_file_is_named_as_on_one_machine(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_world.catalogue, tmp_path / "catalogue")
    tracks = pl.read_parquet(tmp_path / "catalogue" / "tracks.parquet")
    (tmp_path / "catalogue" / tracks["audio"][5]).write_bytes(b"no sound")
    world = tiny_world._replace(catalogue=tmp_path / "catalogue")
    said = []
    for name, engine in (("here", "local"), ("there", "spark")):
        flags = shard_flags(world, tmp_path / name, 20)
        assert main([*flags, f"--engine={engine}"]) == 2
        said.append(capsys.readouterr().err)
    here, there = (text[text.index("tracks.parquet, track ") :] for text in said)
    assert there == here
    assert "sharding audio, task " in said[1]
    flags = [*shard_flags(world, tmp_path / "skip", 20), "--engine=spark", "--skip-broken"]
    assert main(flags) == 0
    broken = pl.read_csv(tmp_path / "skip" / "broken.csv")
    assert tracks["track_id"][5] in broken["item"][0]


@LINUX
def test_vectors_are_equal_though_a_worker_is_killed(
    mgp_genres: Fitted, narrow: World, tmp_path: Path
) -> None:
    fitted = copy_of(mgp_genres._replace(world=mgp_genres.world), tmp_path)
    shutil.rmtree(fitted.run / "predictions", ignore_errors=True)
    place = f"--data.shards={narrow.shards}"
    assert main(["predict", "--run", str(fitted.run), place]) == 0
    (folder,) = fitted.run.glob("predictions_*")
    whole = Predictions.load(folder)
    shutil.rmtree(folder)

    def written() -> int:
        return len(list(fitted.run.glob("*.parts/*.parquet")))

    with executor_killed(lambda: written() > 3, lambda: written() == 30):
        predict(fitted.run, overrides={"data.shards": narrow.shards}, engine="spark")
    there = Predictions.load(folder)
    assert there.track_ids == whole.track_ids
    np.testing.assert_allclose(there.values, whole.values, atol=1e-5)
    assert not list(fitted.run.glob("*.parts"))


@LINUX
def test_lists_are_equal_though_a_worker_is_killed(
    mgp_genres: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PIECE", 1)
    flags = ["recommend", "--run", str(mgp_genres.run), "--users=all", "--k=5", "--candidates=all"]
    flags += ["--per-artist=2", "--where=title is not null"]
    assert main([*flags, "--out", str(tmp_path / "here.parquet")]) == 0

    def written() -> int:
        return len(list(tmp_path.glob("*.parts/*.parquet")))

    with executor_killed(lambda: written() > 3, lambda: written() == 40):
        assert main([*flags, "--out", str(tmp_path / "there.parquet"), "--engine=spark"]) == 0
    here, there = (pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert there.drop("score").equals(here.drop("score"))
    np.testing.assert_allclose(there["score"], here["score"], atol=1e-6)
