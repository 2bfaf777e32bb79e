"""Runs that were moved, with their data or without, and runs that can't be written to."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Fitted
from hypothesis import given
from hypothesis import strategies as st

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.model.predictions import Predictions
from coldstart.runs.places import data_places, moved
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run

NAMES = st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True), min_size=1, max_size=3)


@given(NAMES, NAMES, st.sampled_from(["/there", "/mnt/a/b"]))
def test_what_moved_together_is_found(run: list[str], data: list[str], old: str) -> None:
    new = Path("/proc/self")  # exists; nothing is made
    place = moved("/".join([old, "fd"]), "/".join([old, *run]), new.joinpath(*run))
    assert place == new / "fd"
    assert moved("/".join([old, *data, "no such"]), "/".join([old, *run]), new) is None


@pytest.fixture
def together(mgp_genres: Fitted, tmp_path: Path) -> Path:
    """A run, its shards and its factors in one folder, as copied to another machine."""
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(mgp_genres.run, old / "runs" / "run")
    shutil.copytree(mgp_genres.world.shards, old / "shards")
    shutil.copytree(mgp_genres.world.factors, old / "factors")
    config = old / "runs" / "run" / "config.yaml"
    text = config.read_text(encoding="utf-8")
    for before, after in (
        (mgp_genres.run, old / "runs" / "run"),
        (mgp_genres.world.shards, old / "shards"),
        (mgp_genres.world.factors, old / "factors"),
    ):
        text = text.replace(str(before), str(after))
    config.write_text(text, encoding="utf-8")
    old.rename(new)
    return new


def test_a_run_that_moved_with_its_data_works_with_every_verb(
    together: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = together / "runs" / "run"
    assert data_places(run)["shards"] == str(together / "shards")
    for args in (
        ["recommend", f"--run={run}", "--like=t000001", "--k=1"],
        ["neighbours", f"--run={run}", "--like=t000001", "--k=1"],
        ["test", f"--run={run}", "--no-rivals"],
        ["predict", f"--run={run}"],
        ["fit", f"--run={run}", "--ckpt_path=last", "--trainer.max_epochs=3"],
    ):
        assert main(args) == 0, capsys.readouterr().err[-2000:]
    assert (run / "predictions" / "vectors.safetensors").is_file()
    assert not (run / "predictions_shards").exists()
    assert not (together.parent / "old").exists()


def test_a_run_that_was_copied_with_its_data_reads_the_copy(together: Path) -> None:
    original, copy = together.parent / "old", together.parent / "copy"
    together.rename(original)  # back to where the fit was
    shutil.copytree(original, copy)
    expected = {key: str(copy / key) for key in ("shards", "factors")}
    assert data_places(copy / "runs" / "run") == {**expected, "test_tracks": None}
    assert data_places(original / "runs" / "run")["shards"] == str(original / "shards")
    assert main(["recommend", f"--run={copy / 'runs' / 'run'}", "--like=t000001", "--k=1"]) == 0
    # Tracks that were added to one of them are no reason to read the other.
    about = json.loads((copy / "shards" / "dataset.json").read_bytes())
    about["splits"]["new"] = []
    (copy / "shards" / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    assert data_places(copy / "runs" / "run")["shards"] == str(copy / "shards")


@pytest.mark.parametrize("change", ["plan", "source", "id"])
def test_a_run_that_was_copied_beside_other_data_reads_its_own(together: Path, change: str) -> None:
    original, copy = together.parent / "old", together.parent / "copy"
    together.rename(original)
    shutil.copytree(original, copy)
    file = copy / ("factors/factors.json" if change == "id" else "shards/dataset.json")
    about = json.loads(file.read_bytes())
    if change == "source":
        about["modalities"]["mgp"]["source"] = "of other attributes"
    else:
        about[change] = "of others"
    file.write_text(json.dumps(about), encoding="utf-8")
    key = file.parent.name
    assert data_places(copy / "runs" / "run")[key] == str(original / key)


def test_a_run_that_moved_alone_asks_once(
    together: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = together.parent / "elsewhere" / "run"
    shutil.move(together / "runs" / "run", run)
    query = ["recommend", f"--run={run}", "--like=t000001", "--k=1"]
    data = [f"--shards={together / 'shards'}", f"--factors={together / 'factors'}"]
    assert main(query) == 2
    assert "--shards PLACE and --factors PLACE" in capsys.readouterr().err
    assert main(["test", f"--run={run}"]) == 2
    assert "--data.shards PLACE" in capsys.readouterr().err
    assert main([*query, *data]) == 0
    assert "remembered" in capsys.readouterr().err
    assert main(query) == 0
    assert main(["test", f"--run={run}", "--no-rivals"]) == 0
    further = together.parent / "further"
    (together.parent / "elsewhere").rename(further)  # what was remembered is absolute
    assert main(["validate", f"--run={further / 'run'}"]) == 0


def test_other_shards_are_not_taken_for_the_run_s_own(together: Path) -> None:
    run = together.parent / "elsewhere" / "run"
    shutil.move(together / "runs" / "run", run)
    about = json.loads((together / "shards" / "dataset.json").read_bytes())
    about["modalities"]["mgp"]["mean"][0] += 0.5  # the same attributes, of other tracks
    (together / "shards" / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    opened = open_run(run, str(together / "shards"), str(together / "factors"))
    assert not opened.own_shards
    places = json.loads((run / "places.json").read_bytes())
    assert set(places) == {"run", "factors"}


def test_a_run_that_can_t_be_written_to_keeps_its_predictions_elsewhere(
    together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, cache = together / "runs" / "run", tmp_path / "cache"
    monkeypatch.setenv("COLDSTART_CACHE", str(cache))
    shutil.rmtree(run / "predictions", ignore_errors=True)
    expected = predictions_of(open_run(run))
    shutil.rmtree(run / "predictions")
    save, refused = Predictions.save, [run]

    def read_only(
        predictions: Predictions, folder: Path, tracks: Any, made_from: Any = None
    ) -> None:
        if any(Path(folder).is_relative_to(place) for place in refused):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
        save(predictions, folder, tracks, made_from)

    monkeypatch.setattr(Predictions, "save", read_only)
    refused.append(cache)  # none anywhere
    assert torch.equal(predictions_of(open_run(run)).values, expected.values)
    refused.pop()
    predictions_of(open_run(run))
    (copy,) = (cache / "predictions").iterdir()
    name = "coldstart.runs.predictions.predict_tracks"
    monkeypatch.setattr(name, lambda run: pytest.fail("not again"))
    again = predictions_of(open_run(run))
    assert again.track_ids == expected.track_ids
    assert torch.equal(again.values, Predictions.load(copy).values)
    assert not (run / "predictions").exists()


def test_verbs_that_write_into_a_read_only_run_say_so(
    together: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = together / "runs" / "run"
    monkeypatch.setattr("coldstart.training.preparation.is_writable", lambda folder: False)
    for verb in ("test", "predict", "validate"):
        assert main([verb, f"--run={run}"]) == 2
        assert "--trainer.default_root_dir DIR, or copy the run" in capsys.readouterr().err


def test_a_damaged_note_is_named(together: Path) -> None:
    run = together / "runs" / "run"
    (run / "places.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"places\.json: not readable JSON"):
        open_run(run)
