"""The folder of factors: what it holds, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import Log, World, made_from
from safetensors.numpy import load_file

from coldstart.errors import InputError
from coldstart.factors.factors import Factors

plays = pl.col("plays")


def test_saving_and_loading_changes_nothing(tiny_log: Log, tmp_path: Path) -> None:
    log, splits, _ = tiny_log
    made = made_from(tmp_path, log, splits)
    back = Factors.load(tmp_path / "out")
    assert (back.track_ids, back.user_ids) == (made.track_ids, made.user_ids)
    for name in ("tracks", "users", "folded", "split", "plays"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
    assert abs(back.listens - made.listens).nnz == 0
    assert back.about == made.about
    assert back.rows([made.track_ids[3], "nobody played it"]).tolist() == [3, -1]


def test_the_log_is_kept_whole(tiny_log: Log, tmp_path: Path) -> None:
    log, splits, _ = tiny_log
    made = made_from(tmp_path, log, splits)
    total = log.group_by("track_id").agg(plays.sum())
    assert dict(zip(made.track_ids, made.plays, strict=True)) == dict(total.iter_rows())


def test_the_folder_holds_no_pickle_and_keeps_folded_vectors_apart(
    tiny_log: Log, tmp_path: Path
) -> None:
    log, splits, _ = tiny_log
    made = made_from(tmp_path, log, splits)
    out = tmp_path / "out"
    assert {p.suffix for p in out.rglob("*")} == {".json", ".parquet", ".safetensors"}
    for path in out.glob("*.safetensors"):
        assert load_file(path)
    for path in out.glob("*.parquet"):
        assert len(pl.read_parquet(path))
    assert json.loads((out / "factors.json").read_text())["factors"] == 6
    assert len(load_file(out / "factors.safetensors")["tracks"]) == (~made.folded).sum()
    assert len(load_file(out / "folded.safetensors")["tracks"]) == made.folded.sum() > 0


FILES = ["factors.json", "factors.safetensors", "folded.safetensors", "listens.safetensors"]
FILES += ["tracks.parquet", "users.parquet"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "cut", "garbage"])
def test_an_incomplete_or_damaged_folder_says_so(
    tiny_world: World, tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "factors"
    shutil.copytree(tiny_world.factors, folder)
    content = (folder / name).read_bytes()
    if damage == "gone":
        (folder / name).unlink()
    else:
        wrong = content[: len(content) // 2] if damage == "cut" else b"\xff\x00 garbage"
        (folder / name).write_bytes(wrong)
    with pytest.raises(InputError) as error:
        Factors.load(folder)
    assert str(folder) in str(error.value)


def test_factors_of_another_version_or_number_are_refused(
    tiny_world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "factors"
    shutil.copytree(tiny_world.factors, folder)
    pl.read_parquet(folder / "tracks.parquet")[1:].write_parquet(folder / "tracks.parquet")
    with pytest.raises(InputError, match="don't match in number"):
        Factors.load(folder)
    about = json.loads((folder / "factors.json").read_text())
    (folder / "factors.json").write_text(json.dumps({**about, "version": 99}))
    with pytest.raises(InputError, match="version 99"):
        Factors.load(folder)
    with pytest.raises(InputError, match="coldstart factorize"):
        Factors.load(tmp_path)


def test_an_interrupted_save_leaves_no_loadable_factors(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    made = Factors.load(tiny_world.factors)
    made.save(tmp_path)
    monkeypatch.setattr("coldstart.factors.factors.write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        made.save(tmp_path)
    with pytest.raises(InputError, match="no factors here"):
        Factors.load(tmp_path)
