"""Two-stage training: what a head learns from, and that it serves new music as one model."""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from helpers import SMALL_AUDIO, World
from numpy.typing import NDArray

from coldstart.cli import main
from coldstart.commands.shard import shard
from coldstart.data.folds import fold_of
from coldstart.encoders.base import Modality
from coldstart.encoders.embedding import Embedding
from coldstart.errors import InputError
from coldstart.model.checkpoint import best_checkpoint, read_checkpoint
from coldstart.model.predictions import Predictions
from coldstart.runs.first_stage import first_stage_of
from coldstart.shards.reading import Shards
from coldstart.training.lightning_module import load
from coldstart.training.stages import cross_fitted

QUICK = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.workers=0"]


class Fused(NamedTuple):
    """A two-stage run on shards of its own."""

    run: Path
    shards: Path
    flags: list[str]
    world: World


@pytest.fixture(scope="module")
def fused(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Fused:
    root = tmp_path_factory.mktemp("stages")
    shutil.copytree(tiny_world.shards, root / "shards")
    flags = [f"--data.shards={root / 'shards'}", f"--data.factors={tiny_world.factors}"]
    run = root / "fused"
    args = ["fit", "--config=mgp_genres.yaml", f"--run={run}", "--stage-folds=2", *flags, *QUICK]
    assert main(args) == 0
    return Fused(run, root / "shards", flags, tiny_world)


def vectors_of(shards: Path, modality: str) -> Mapping[str, NDArray[np.float32]]:
    dataset, field = Shards(shards), f"{modality}.npy"
    return {
        sample["track_id"]: np.load(io.BytesIO(sample[field]), allow_pickle=False)
        for split in ("train", "val", "test")
        for number in range(len(dataset.shard_sizes(split)))
        for sample in dataset.samples(split, number, [field])
        if field in sample
    }


def test_several_modalities_are_trained_in_two_stages_unless_told_otherwise(fused: Fused) -> None:
    encoders = yaml.safe_load((fused.run / "config.yaml").read_text())["model"]["encoders"]
    stages = first_stage_of(fused.run)
    assert set(encoders) == set(stages) == {"mgp", "genres"}
    for name, encoder in encoders.items():
        assert encoder["class_path"].endswith("Embedding")
        assert encoder["init_args"]["modality"] == stages[name].modality
        assert encoder["init_args"]["hidden"] == []  # not the single net's


def test_no_training_track_s_vector_comes_from_a_net_that_was_fitted_on_it(fused: Fused) -> None:
    stage = first_stage_of(fused.run)["mgp"]
    stored = vectors_of(fused.shards, stage.modality)
    nets = [
        dict(zip(*Predictions.load(Path(run) / "predictions"), strict=True)) for run in stage.runs
    ]
    for fold, run in enumerate(stage.runs):
        assert load(best_checkpoint(run)).fitted_on == {"folds": 2, "fold": fold}
    sides = {track["track_id"]: track["split"] for track in Shards(fused.shards).all_tracks()}
    assert {sides[track] for track in stored} == {"train", "val", "test"}
    for track, vector in stored.items():
        unheard = [fold_of(track, 2)] if sides[track] == "train" else [0, 1]
        expected = torch.stack([nets[fold][track] for fold in unheard]).mean(0)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-6)


def test_a_second_run_with_the_same_settings_takes_what_is_there(
    fused: Fused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(Shards(fused.shards).modalities)
    args = ["fit", "--config=mgp_genres.yaml", f"--run={tmp_path / 'again'}", "--stage-folds=2"]
    assert main([*args, *fused.flags, *QUICK, "--model.fusion=Concat"]) == 0
    assert capsys.readouterr().err.count("exists already, from the same settings") == 2
    assert set(Shards(fused.shards).modalities) == before
    assert first_stage_of(tmp_path / "again") == first_stage_of(fused.run)
    assert not (tmp_path / "again" / "stage1" / "mgp" / "fold0").exists()


def test_the_rivals_of_a_two_stage_run_get_the_content_itself(fused: Fused) -> None:
    assert main(["test", f"--run={fused.run}"]) == 0
    two = json.loads((fused.run / "results.json").read_text())["rows"]
    joint = fused.run.parent / "joint"
    args = ["fit", "--config=mgp_genres.yaml", f"--run={joint}", "--stages=1", *fused.flags]
    assert main([*args, *QUICK]) == 0
    assert main(["test", f"--run={joint}"]) == 0
    one = json.loads((joint / "results.json").read_text())["rows"]
    rivals = [[r for r in rows if r["method"].startswith(("ridge", "20"))] for rows in (one, two)]
    assert len(rivals[0]) == 2
    assert rivals[0] == rivals[1]


def test_new_tracks_are_given_their_vectors(
    fused: Fused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = fused.world.catalogue
    for name in ("tracks", "mgp"):
        table = pl.read_parquet(catalogue / f"{name}.parquet")
        table = table.with_columns(("new " + pl.col("track_id")).alias("track_id"))
        table.drop("audio", strict=False).write_parquet(tmp_path / f"{name}.parquet")
    mgp = {"mgp": str(tmp_path / "mgp.parquet")}
    shard(tmp_path / "tracks.parquet", out=tmp_path / "new", attributes=mgp)
    capsys.readouterr()
    args = ["recommend", f"--run={fused.run}", f"--shards={tmp_path / 'new'}", "--k=3", "--json"]
    assert main([*args, "--like=new t000001"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3  # and nothing beside it
    args = ["predict", f"--run={fused.run}", f"--data.shards={tmp_path / 'new'}"]
    assert main(args) == 0
    made = Predictions.load(fused.run / "predictions_new")
    assert len(made.track_ids) == 60
    args = ["recommend", f"--run={fused.run}", f"--shards={tmp_path / 'new'}", "--k=3"]
    assert main([*args, f"--like={made.track_ids[0]}", "--candidates=all"]) == 0


def new_songs(world: World, folder: Path) -> Path:
    """Shards of tracks that nobody has heard."""
    folder.mkdir()
    for name in ("tracks", "mgp"):
        table = pl.read_parquet(world.catalogue / f"{name}.parquet").head(12)
        table = table.with_columns(("new " + pl.col("track_id")).alias("track_id"))
        table.drop("audio", strict=False).write_parquet(folder / f"{name}.parquet")
    mgp = {"mgp": str(folder / "mgp.parquet")}
    shard(folder / "tracks.parquet", out=folder / "shards", attributes=mgp)
    return folder / "shards"


@pytest.mark.parametrize("noted", ["relative", "absolute"])
def test_a_run_that_was_moved_with_its_nets_serves_new_songs(
    fused: Fused,
    noted: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one that version 0.2 wrote, with absolute paths; and with nets on read-only storage."""
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(fused.run, old / "fused")
    shutil.copytree(fused.shards, old / "shards")
    shutil.copytree(fused.world.factors, old / "factors")
    swaps = {
        str(fused.run): str(old / "fused"),
        str(fused.shards): str(old / "shards"),
        str(fused.world.factors): str(old / "factors"),
    }
    for config in old.rglob("config.yaml"):
        text = config.read_text(encoding="utf-8")
        for before, after in swaps.items():
            text = text.replace(before, after)
        config.write_text(text, encoding="utf-8")
    note = old / "fused" / "stage1.json"
    stages = json.loads(note.read_bytes())
    assert all(run.startswith("stage1/") for about in stages.values() for run in about["runs"])
    if noted == "absolute":
        for about in stages.values():
            about["runs"] = [str(old / "fused" / run) for run in about["runs"]]
        note.write_text(json.dumps(stages), encoding="utf-8")
    else:
        refused = lambda place: not str(place).startswith(str(new / "fused"))  # noqa: E731
        monkeypatch.setattr("coldstart.training.stages.is_writable", refused)
    old.rename(new)
    run, songs = new / "fused", new_songs(fused.world, tmp_path / "songs")
    files = {path for path in (run / "stage1").rglob("*") if path.is_file()}
    capsys.readouterr()
    args = ["recommend", f"--run={run}", "--like=t000001", "--k=3", "--json"]
    assert main([*args, f"--shards={songs}"]) == 0, capsys.readouterr().err
    rows = json.loads(capsys.readouterr().out)
    assert all(row["track_id"].startswith("new ") for row in rows)
    assert main([*args, "--candidates=all", "--why"]) == 0
    assert not old.exists()
    if noted == "relative":
        # Nothing was written there.
        assert files == {path for path in (run / "stage1").rglob("*") if path.is_file()}


def test_shards_that_can_t_be_written_to_are_named(
    fused: Fused,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    songs = new_songs(fused.world, tmp_path / "songs")
    monkeypatch.setattr("coldstart.training.stages.is_writable", lambda place: False)
    assert main(["recommend", f"--run={fused.run}", "--like=t000001", f"--shards={songs}"]) == 2
    assert "copy the shards to a folder that can" in capsys.readouterr().err


def test_in_sample_embeddings_are_the_other_choice(fused: Fused, tmp_path: Path) -> None:
    args = ["fit", "--config=mgp_genres.yaml", "--stage-folds=1", "--stage-vectors=embedding"]
    args += ["--model.fusion=Concat", "--model.fusion.hidden=[16]"]
    assert main([*args, f"--run={tmp_path / 'talk'}", *fused.flags, *QUICK]) == 0
    stage = first_stage_of(tmp_path / "talk")["genres"]
    facts = Shards(fused.shards).modalities[stage.modality]
    assert (facts["what"], len(facts["mean"]), len(stage.runs)) == ("embedding", 256, 1)
    args = ["fit", "--config=mgp_genres.yaml", "--stage-folds=2", "--stage-vectors=embedding"]
    assert main([*args, f"--run={tmp_path / 'no'}", *fused.flags]) == 2


def test_a_fused_model_with_audio_hears_a_file(
    fused: Fused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "both.yaml"
    config.write_text(
        "model: {encoders: {audio: {class_path: Audio}, genres: {class_path: Genres}}}"
    )
    small = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
    args = ["fit", f"--config={config}", f"--run={tmp_path / 'heard'}", "--stage-folds=2"]
    assert main([*args, *fused.flags, *small, *QUICK, "--data.batch_size=16"]) == 0
    sound = next((fused.world.catalogue / "audio").iterdir())
    capsys.readouterr()
    args = ["recommend", f"--run={tmp_path / 'heard'}", f"--audio={sound}", "--k=3", "--json"]
    assert main(args) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 3
    assert "fitted with genres too" in captured.err


def test_before_a_head_that_is_solved_only_what_has_layers_is_trained(
    fused: Fused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The head reads the rest as it is; and is finished when it has been validated."""
    config = tmp_path / "solved.yaml"
    content = {
        "audio": {"class_path": "Audio"},
        "genres": {"class_path": "Genres", "init_args": {"hidden": []}},
    }
    target = {"class_path": "TrackFactors", "init_args": {"length": True}}
    model = {"encoders": content, "fusion": {"class_path": "Kernel"}, "target": target}
    config.write_text(yaml.safe_dump({"model": model}))
    run, small = tmp_path / "run", [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
    args = ["fit", f"--config={config}", f"--run={run}", "--stage-folds=2", *small]
    every_second = "--trainer.check_val_every_n_epoch=2"
    quick = [*QUICK[1:], "--trainer.max_epochs=6", "--data.batch_size=16", every_second]
    assert main([*args, *fused.flags, *quick]) == 0
    (stage,) = first_stage_of(run).values()
    encoders = yaml.safe_load((run / "config.yaml").read_text())["model"]["encoders"]
    assert encoders["audio"]["init_args"]["modality"] == stage.modality
    assert encoders["genres"]["class_path"].endswith("Genres")
    for name in ("best", "last"):  # the first epoch that ends with a validation
        assert read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["epoch"] == 1
    assert read_checkpoint(Path(stage.runs[0]) / "checkpoints" / "last.ckpt")["epoch"] == 5
    assert main(["test", f"--run={run}"]) == 0
    sound = next((fused.world.catalogue / "audio").iterdir())
    capsys.readouterr()
    assert main(["recommend", f"--run={run}", f"--audio={sound}", "--k=3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_predict_writes_one_net_s_embedding_into_the_shards(
    fused: Fused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "mgp"
    assert main(["fit", "--config=mgp.yaml", f"--run={run}", *fused.flags, *QUICK]) == 0
    args = ["predict", f"--run={run}", "--write=mgp_inside", "--what=embedding"]
    assert main(args) == 0
    assert "fitted on these tracks" in capsys.readouterr().err
    assert vectors_of(fused.shards, "mgp_inside")["t000000"].shape == (512,)
    assert main(["predict", f"--run={fused.run}", "--write=both", "--what=embedding"]) == 2
    assert "one encoder" in capsys.readouterr().err


def test_cross_fitting_takes_each_track_from_the_nets_that_left_it_out(
    fused: Fused, tmp_path: Path
) -> None:
    dataset = Shards(fused.shards)
    tracks = dataset.all_tracks()
    ids = [track["track_id"] for track in tracks]
    for fold in range(3):
        vectors = torch.full((len(ids), 2), float(fold))
        Predictions(ids, vectors).save(tmp_path / str(fold) / "predictions", tracks)
    made = cross_fitted([str(tmp_path / str(fold)) for fold in range(3)], dataset)
    for track in tracks:
        expected = fold_of(track["track_id"], 3) if track["split"] == "train" else 1.0
        assert made[track["track_id"]].tolist() == [expected, expected]


def test_an_embedding_is_passed_on_as_a_direction_or_as_it_is() -> None:
    values = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    modality = Modality(values, torch.tensor([True, False]))
    for normalize, first in ((True, [0.6, 0.8]), (False, [3.0, 4.0])):
        encoder = Embedding("x", normalize=normalize)
        encoder.start({"mean": [0.0, 0.0]})
        assert encoder.fields == ("x.npy",)
        out = encoder(modality)
        torch.testing.assert_close(out[0], torch.tensor(first))
        assert out[1].tolist() == encoder.absent.tolist()


def test_vectors_from_elsewhere_are_refused() -> None:
    encoder = Embedding("x")
    encoder.start({"mean": [0.0, 0.0], "made_by": "a"})
    for other in ({"mean": [0.0], "made_by": "a"}, {"mean": [0.0, 0.0], "made_by": "b"}):
        with pytest.raises(InputError, match="not made by what made those"):
            encoder.check(other, {"mean": [0.0, 0.0], "made_by": "a"})
