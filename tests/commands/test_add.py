"""The verbs `add` and `remove` with a run: candidates at once, and only new tracks are read."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import torch
from helpers import Fitted

import coldstart as cs
from coldstart.cli import main
from coldstart.data.pipeline import Pipeline
from coldstart.model.predictions import MADE_FROM
from coldstart.runs.predictions import predict_tracks, predictions_of
from coldstart.runs.run import open_run
from coldstart.tables.splits import IN_USE, SPLITS

NEW = [f"n{number}" for number in range(6)]


class Label(NamedTuple):
    """A run with shards of its own, and tables of new tracks: copies of six that it has."""

    run: Path
    shards: Path
    tables: Path
    copied: list[str]


@pytest.fixture
def label(mgp_genres: Fitted, tmp_path: Path) -> Label:
    run, shards, tables = (tmp_path / name for name in ("run", "shards", "tables"))
    shutil.copytree(mgp_genres.run, run)
    shutil.rmtree(run / "predictions", ignore_errors=True)
    shutil.copytree(mgp_genres.world.shards, shards)
    config = (run / "config.yaml").read_text(encoding="utf-8")
    old = str(mgp_genres.world.shards)
    (run / "config.yaml").write_text(config.replace(old, str(shards)), encoding="utf-8")
    tables.mkdir()
    catalogue = mgp_genres.world.catalogue
    copied = [track["track_id"] for track in cs.Shards(shards).all_tracks(["test"])][:6]
    names = dict(zip(copied, NEW, strict=True))
    for name in ("tracks", "mgp"):
        table = pl.read_parquet(catalogue / f"{name}.parquet")
        table = table.filter(pl.col("track_id").is_in(copied))
        table = table.with_columns(pl.col("track_id").replace_strict(names))
        order = pl.DataFrame({"track_id": NEW})
        table = order.join(table, on="track_id", maintain_order="left").drop("audio", strict=False)
        table.write_parquet(tables / f"{name}.parquet")
    return Label(run, shards, tables, copied)


def add(label: Label, *more: str) -> int:
    args = [str(label.tables / "tracks.parquet"), "--shards", str(label.shards), "--workers=1"]
    return main(["add", *args, f"--attributes.mgp={label.tables / 'mgp.parquet'}", *more])


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the tracks that pipelines read, one after the other."""
    ids: list[str] = []
    samples = Pipeline.samples

    def counted(pipeline: Pipeline, place: Any) -> Iterator[Any]:
        for sample in samples(pipeline, place):
            ids.append(sample["track_id"])
            yield sample

    monkeypatch.setattr(Pipeline, "samples", counted)
    return ids


def vectors(predictions: cs.Predictions) -> dict[str, torch.Tensor]:
    return dict(zip(predictions.track_ids, predictions.values, strict=True))


def test_new_tracks_are_candidates_at_once_and_only_they_are_read(
    label: Label, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = predictions_of(open_run(label.run))
    assert len(before.track_ids) == 60
    read.clear()
    assert add(label, f"--run={label.run}") == 0
    out = capsys.readouterr().out
    assert "added 6 tracks" in out
    assert f"{label.run}: has the vectors of 66 tracks" in out
    command = out.splitlines()[-1].removeprefix("next: coldstart ")
    assert command == f"recommend --run {label.run} --like={NEW[0]}"
    assert set(read) == set(NEW)
    read.clear()
    after = predictions_of(open_run(label.run))
    assert not read, "all of them are stored"
    assert main(command.split()) == 0  # as it stands
    assert after.track_ids == [*before.track_ids, *NEW]
    full = predict_tracks(open_run(label.run))
    assert full.track_ids == after.track_ids
    assert torch.allclose(after.values, full.values, atol=1e-6)
    known = vectors(before)
    for track, copy in zip(label.copied, NEW, strict=True):
        assert torch.allclose(vectors(after)[copy], known[track], atol=1e-6)
    args = ["recommend", "--run", str(label.run), "--like", label.copied[0], "--json"]
    capsys.readouterr()
    assert main([*args, "--k=1"]) == 0
    (best,) = json.loads(capsys.readouterr().out)
    assert best["track_id"] == NEW[0]
    assert add(label, f"--run={label.run}") == 0
    assert "already there" in capsys.readouterr().out


def test_without_a_run_they_are_predicted_when_they_are_needed(
    label: Label, read: list[str]
) -> None:
    predictions_of(open_run(label.run))
    assert add(label) == 0
    read.clear()
    assert len(predictions_of(open_run(label.run)).track_ids) == 66
    assert set(read) == set(NEW)
    # The verb `predict` and the model's own method know them, too.
    assert main(["predict", "--run", str(label.run)]) == 0
    stored = cs.Predictions.load(label.run / "predictions")
    assert set(stored.track_ids) >= set(NEW)
    read.clear()
    predictions_of(open_run(label.run))
    assert not read, "what `predict` wrote has its record"
    model = cs.load(label.run)
    assert model.embed(label.shards).track_ids == stored.track_ids
    assert model.embed(label.shards, "n3").track_ids == ["n3"]


def test_removed_tracks_are_hidden_and_come_back_without_being_read(
    label: Label, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(label) == 0
    everything = predictions_of(open_run(label.run))
    read.clear()
    gone = ["n1", label.copied[0]]
    assert main(["remove", *gone, "--shards", str(label.shards)]) == 0
    hidden = predictions_of(open_run(label.run))
    assert hidden.track_ids == [t for t in everything.track_ids if t not in gone]
    assert len(predict_tracks(open_run(label.run)).track_ids) == 64
    read.clear()
    assert main(["remove", "--undo", "--shards", str(label.shards), *gone]) == 0
    back = predictions_of(open_run(label.run))
    assert (back.track_ids, read) == (everything.track_ids, [])
    assert torch.equal(back.values, everything.values)
    # Where they were hidden when all was predicted, they are predicted when they come back.
    assert main(["remove", *gone, "--shards", str(label.shards)]) == 0
    shutil.rmtree(label.run / "predictions")
    predictions_of(open_run(label.run))
    assert main(["remove", *gone, "--undo", "--shards", str(label.shards)]) == 0
    read.clear()
    back = predictions_of(open_run(label.run))
    assert (back.track_ids, set(read)) == (everything.track_ids, set(gone))
    assert torch.allclose(back.values, everything.values, atol=1e-6)
    capsys.readouterr()


def test_a_replaced_track_is_read_from_the_copy_that_counts(label: Label, read: list[str]) -> None:
    old = vectors(predictions_of(open_run(label.run)))
    first, second = label.copied[:2]  # the second's content under the first's id
    for name in ("tracks", "mgp"):
        table = pl.read_parquet(label.tables / f"{name}.parquet")
        table = table.filter(pl.col("track_id") == NEW[1]).with_columns(track_id=pl.lit(first))
        table.write_parquet(label.tables / f"{name}.parquet")
    assert add(label) == 2
    assert add(label, "--replace") == 0
    read.clear()
    predictions = predictions_of(open_run(label.run))
    assert set(read) == {first}
    assert predictions.track_ids.count(first) == 1
    assert torch.allclose(vectors(predictions)[first], old[second], atol=1e-6)
    full = predict_tracks(open_run(label.run))
    assert full.track_ids == predictions.track_ids
    assert torch.allclose(full.values, predictions.values, atol=1e-6)
    data = open_run(label.run).data
    ids = [t for batch in data.batches(SPLITS) for t in batch.track_ids]
    assert (len(ids), ids.count(first)) == (60, 1), "training and tests read the old copy"
    assert sum(t == first for batch in data.batches(IN_USE) for t in batch.track_ids) == 1
    assert main(["remove", first, "--shards", str(label.shards)]) == 0
    assert first not in predictions_of(open_run(label.run)).track_ids


def test_training_and_tests_never_see_new_tracks(label: Label) -> None:
    before = _seen(label)
    assert add(label) == 0
    assert _seen(label) == before


def _seen(label: Label) -> dict[str, list[str]]:
    run = open_run(label.run)
    data = cs.ColdStartData(str(label.shards), run.places["factors"])
    data.lend(run.model.lend())
    loaders = {"val": data.val_dataloader(), "test": data.test_dataloader()}
    seen = {name: [t for b in loader for t in b.track_ids] for name, loader in loaders.items()}
    seen["train"] = sorted(track for batch in data.train_dataloader() for track in batch.track_ids)
    return seen


def test_predictions_of_before_are_opened_and_brought_up_to_date(
    label: Label, read: list[str]
) -> None:
    first = predictions_of(open_run(label.run))
    record = label.run / "predictions" / MADE_FROM
    record.unlink()
    read.clear()
    assert predictions_of(open_run(label.run)).track_ids == first.track_ids
    assert not read
    assert json.loads(record.read_bytes())["without"] == []
    assert add(label) == 0
    predictions_of(open_run(label.run))
    assert set(read) == set(NEW)
    record.write_text("[1", encoding="utf-8")  # damaged: time stamps count
    assert len(predictions_of(open_run(label.run)).track_ids) == 66


def test_what_predictions_depend_on_makes_them_new(label: Label, read: list[str]) -> None:
    predictions_of(open_run(label.run))
    about = json.loads((label.shards / "dataset.json").read_bytes())
    about["modalities"]["mood"] = about["modalities"]["mgp"]  # of no interest to this model
    (label.shards / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    read.clear()
    predictions_of(open_run(label.run))
    assert not read
    about["modalities"]["genres"]["source"] = "another"
    (label.shards / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    predictions_of(open_run(label.run))
    assert len(set(read)) == 60


def test_new_tracks_without_any_of_the_inputs_have_no_vector(label: Label) -> None:
    predictions_of(open_run(label.run))
    table = pl.DataFrame({"track_id": ["p"], "title": ["P"], "artist": ["P"]})
    table.write_csv(label.tables / "tracks.csv")
    summary = cs.add(label.tables / "tracks.csv", shards=label.shards, run=label.run)
    assert summary.lacks == {"audio": 1, "genres": 1, "mgp": 1}
    for _ in range(2):
        predictions = predictions_of(open_run(label.run))
        assert len(predictions.track_ids) == 60


def test_a_run_of_other_shards_is_refused_before_anything_is_written(
    label: Label, mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(label, f"--run={mgp_genres.run}") == 2
    assert "add the tracks to the run's own shards" in capsys.readouterr().err
    assert not cs.Shards(label.shards).shard_sizes("new")


@pytest.mark.parametrize("ids", [["007", "null"], ["a b", "-5"], ["[1]", "#1"]])
def test_ids_arrive_as_they_are_typed(
    label: Label, ids: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["remove", *ids, "--shards", str(label.shards)]) == 2
    assert f"has none of these tracks: {', '.join(map(repr, ids))}" in capsys.readouterr().err
