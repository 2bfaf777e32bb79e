"""`--part I/N` and `--merge`: several machines' parts are what one machine makes."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import Fitted, World, copy_of, files_of

from coldstart.cli import main
from coldstart.model.predictions import Predictions
from coldstart.retrieval import batch
from coldstart.shards.reading import Shards


def shard_flags(world: World, out: Path) -> list[str]:
    tables = world.catalogue
    flags = ["--splits", str(world.splits), "--attributes.mgp", str(tables / "mgp.parquet")]
    small = ["--sample-rate=8000", "--shard-size=8", "--workers=1"]
    return ["shard", str(tables / "tracks.parquet"), "--out", str(out), *flags, *small]


def test_shards_of_parts_are_those_of_one_machine(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = shard_flags(tiny_world, tmp_path / "shards")
    assert main([*flags, "--part=2/3"]) == 0
    assert "audio: part 2 of 3: wrote 3 of its 3 pieces into" in capsys.readouterr().out
    assert Shards(tmp_path / "shards").modalities == {}  # nobody reads what isn't whole
    assert main([*flags, "--part=1/3"]) == 0
    assert main([*flags, "--merge"]) == 2
    said = capsys.readouterr().err
    assert "2 of 8 tars of 'audio' are missing (the first: train/000002)" in said
    assert main([*flags, "--part=3/3"]) == 0
    assert main([*flags, "--part=3/3"]) == 0
    assert "wrote 0 of its 2 pieces" in capsys.readouterr().out
    assert main([*flags, "--merge"]) == 0
    assert files_of(tmp_path / "shards") == files_of(tiny_world.shards)


def test_what_a_part_lacks_one_machine_makes(tiny_world: World, tmp_path: Path) -> None:
    flags = shard_flags(tiny_world, tmp_path / "shards")
    assert main([*flags, "--part=1/2"]) == 0
    assert main(flags) == 0
    assert files_of(tmp_path / "shards") == files_of(tiny_world.shards)


def test_vectors_of_parts_are_those_of_one_machine(
    mgp_genres: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = copy_of(mgp_genres, tmp_path)
    shutil.rmtree(fitted.run / "predictions", ignore_errors=True)
    assert main(["predict", "--run", str(fitted.run)]) == 0
    whole = Predictions.load(fitted.run / "predictions")
    note = json.loads((fitted.run / "predictions" / "made_from.json").read_bytes())
    shutil.rmtree(fitted.run / "predictions")
    flags = ["predict", "--run", str(fitted.run)]
    for part in ("1/2", "2/2"):
        assert main([*flags, "--merge"]) == 2
        assert main([*flags, "--part", part]) == 0
    assert "pieces are missing (the first: that of shard train/000000)" in capsys.readouterr().err
    assert main([*flags, "--merge"]) == 0
    parts = Predictions.load(fitted.run / "predictions")
    assert parts.track_ids == whole.track_ids
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-6)
    assert json.loads((fitted.run / "predictions" / "made_from.json").read_bytes()) == note
    assert not (fitted.run / "predictions.parts").exists()


def test_lists_of_parts_are_those_of_one_machine(
    mgp_genres: Fitted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(batch, "PIECE", 7)
    flags = ["recommend", "--run", str(mgp_genres.run), "--users=all", "--k=3"]
    whole, out = tmp_path / "whole.parquet", tmp_path / "recs.parquet"
    assert main([*flags, "--out", str(whole)]) == 0
    flags += ["--out", str(out)]
    assert main([*flags, "--part=2/2"]) == 0
    assert "part 2 of 2: wrote 3 of its 3 pieces" in capsys.readouterr().out
    assert main([*flags, "--part=1/2", "--candidates=warm"]) == 2
    assert "holds parts of another job" in capsys.readouterr().err
    assert main([*flags, "--merge"]) == 2
    assert "3 of 6 pieces are missing (the first: that of user" in capsys.readouterr().err
    capsys.readouterr()
    assert main([*flags, "--part=1/2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said | {"folder": ""} == {
        "part": "1/2",
        "folder": "",
        "pieces": 3,
        "written": 3,
        "total": 6,
    }
    assert main([*flags, "--merge"]) == 0
    assert pl.read_parquet(out).equals(pl.read_parquet(whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recs.parquet", "whole.parquet"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--part=4/3"], "part: '4/3' is no part such as 3/8"),
        (["--part=1/3", "--merge"], "are three ways; name one"),
        (["--engine=spark", "--merge"], "are three ways; name one"),
        (["--master=yarn"], "--master is of --engine spark"),
    ],
)
@pytest.mark.parametrize("verb", ["shard", "predict", "recommend"])
def test_what_contradicts_itself_is_refused_at_once(
    verb: str,
    flags: list[str],
    said: str,
    tiny_world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    verbs = {
        "shard": shard_flags(tiny_world, tmp_path / "shards"),
        "predict": ["predict", "--run=nowhere"],
        "recommend": ["recommend", "--run=nowhere", "--users=all", f"--out={tmp_path}/a.csv"],
    }
    assert main([*verbs[verb], *flags]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_flags_of_predict_are_for_one_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--run=a", "--part=1/2", "--data.batch_size=3"]) == 2
    assert "--data.batch_size: with --part" in capsys.readouterr().err
    assert main(["predict", "--run=a", "--part=1/2", "--write=mlg"]) == 2
    assert "--write and --ckpt_path are for one machine" in capsys.readouterr().err
