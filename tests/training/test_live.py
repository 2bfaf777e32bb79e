"""From the measured model to the live one: fits on all tracks, as long as a validated run says."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import yaml
from helpers import World, checkpoint, data_flags

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.model.checkpoint import best_checkpoint
from coldstart.runs.first_stage import first_stage_of
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run
from coldstart.training.live import validated_run

QUICK = ["--trainer.enable_progress_bar=false", "--data.workers=0"]


class Live(NamedTuple):
    """A dataset of the tiny world's tracks of which all are for training, without their sound."""

    folder: Path
    flags: list[str]
    world: World


@pytest.fixture(scope="module")
def live(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Live:
    root, catalogue = tmp_path_factory.mktemp("live"), tiny_world.catalogue
    tracks = root / "tracks.parquet"
    pl.read_parquet(catalogue / "tracks.parquet").drop("audio").write_parquet(tracks)
    split(tracks, out=root / "splits.parquet", fractions=(1, 0, 0))
    splits, factors = root / "splits.parquet", root / "factors"
    factorize(catalogue / "listens.parquet", out=factors, splits=splits, factors=8)
    attributes = {"mgp": str(catalogue / "mgp.parquet")}
    shard(tracks, out=root / "shards", splits=splits, attributes=attributes, shard_size=8)
    flags = [f"--data.shards={root / 'shards'}", f"--data.factors={factors}"]
    return Live(root, flags, tiny_world)


def config_of(run: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return config


def fit(config: str, run: Path, *flags: str) -> int:
    return main(["fit", f"--config={config}", f"--run={run}", *flags, *QUICK])


def epochs_of(run: Path) -> int:
    epochs: int = json.loads((run / "fit.json").read_text())["epochs"]
    return epochs


def test_a_net_on_all_tracks_trains_as_long_as_the_validated_one(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, run = tmp_path / "measured", tmp_path / "live"
    assert fit("mgp.yaml", measured, *data_flags(live.world), "--trainer.max_epochs=4") == 0
    best = validated_run(measured).epochs
    assert best == checkpoint(measured, "best")["epoch"] + 1
    capsys.readouterr()
    assert fit("mgp.yaml", run, *live.flags, f"--like-run={measured}") == 0
    shown = capsys.readouterr()
    assert f"the fit ends after epoch {best}, as many as" in shown.err
    assert f"next: coldstart predict --run {run}" in shown.out
    assert epochs_of(run) == best
    config = config_of(run)
    assert config["like_run"] == str(measured)
    assert (config["trainer"]["max_epochs"], config["trainer"]["limit_val_batches"]) == (best, 0)
    assert config["trainer"]["callbacks"] is None  # it had early stopping
    assert checkpoint(run, "best")["epoch"] == best - 1
    assert best_checkpoint(run).is_file()
    for verb, kind in (("test", "test"), ("validate", "validation")):
        assert main([verb, f"--run={run}"]) == 2
        assert f"holds no {kind} tracks, so there is nothing to measure" in capsys.readouterr().err
    assert main(["predict", f"--run={run}"]) == 0
    assert len(predictions_of(open_run(run)).track_ids) == 60
    track = live.world.catalogue / "tracks.parquet"
    like = pl.read_parquet(track)["track_id"][0]
    assert main(["recommend", f"--run={run}", f"--like={like}", "--candidates=all"]) == 0


def test_a_live_fit_is_resumed(live: Live, tmp_path: Path) -> None:
    run = tmp_path / "live"
    assert fit("mgp.yaml", run, *live.flags, "--trainer.max_epochs=2") == 0
    before = checkpoint(run)["state_dict"]["encoders.mgp.net.0.weight"]
    resumed = ["fit", f"--run={run}", "--ckpt_path=last", *QUICK]
    assert main([*resumed, "--trainer.max_epochs=3"]) == 0
    best, last = checkpoint(run, "best"), checkpoint(run)
    assert best["epoch"] == 2
    weight = best["state_dict"]["encoders.mgp.net.0.weight"]
    assert weight.equal(last["state_dict"]["encoders.mgp.net.0.weight"])
    assert not weight.equal(before)
    assert main([*resumed, f"--like-run={run}"]) == 2


def test_a_net_without_validation_tracks_is_told_how_long(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("mgp.yaml", tmp_path / "run", *live.flags) == 2
    error = capsys.readouterr().err
    assert "--like-run RUN" in error
    assert "--trainer.max_epochs N" in error
    assert not (tmp_path / "run").exists()
    listen = ["listen", f"--shards={live.folder / 'shards'}", f"--out={tmp_path / 'listener'}"]
    assert main(listen) == 2
    assert "--like-run RUN" in capsys.readouterr().err


def test_a_head_that_is_solved_needs_no_validation(live: Live, tmp_path: Path) -> None:
    run = tmp_path / "kernel"
    assert fit("kernel.yaml", run, *live.flags, "--trainer.max_epochs=7") == 0
    assert epochs_of(run) == 1
    measured = tmp_path / "measured"
    assert fit("kernel.yaml", measured, *data_flags(live.world)) == 0
    assert fit("kernel.yaml", tmp_path / "like", *live.flags, f"--like_run={measured}") == 0
    one, other = checkpoint(run, "best"), checkpoint(tmp_path / "like", "best")
    assert all(value.equal(other["state_dict"][key]) for key, value in one["state_dict"].items())
    predictions = predictions_of(open_run(run))
    assert len(predictions.track_ids) == 60


def test_two_stages_take_each_encoder_s_number_of_epochs(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, run = tmp_path / "measured", tmp_path / "live"
    short = ["--trainer.max_epochs=3", "--stage-folds=2"]
    assert fit("mgp_genres.yaml", measured, *data_flags(live.world), *short) == 0
    validated = validated_run(measured)
    assert validated.folds == 2
    assert set(validated.config["model"]["encoders"]) == {"mgp", "genres"}
    class_path = validated.config["model"]["encoders"]["mgp"]["class_path"]
    assert class_path.endswith("MGP")
    for name, stage in first_stage_of(measured).items():
        nets = [checkpoint(Path(net), "best")["epoch"] + 1 for net in stage.runs]
        assert validated.stage_epochs[name] == round(sum(nets) / 2)
    capsys.readouterr()
    assert fit("mgp_genres.yaml", run, *live.flags, f"--like-run={measured}") == 0
    assert "was" not in capsys.readouterr().err.partition("--like-run")[2]  # the same recipe
    for name, stage in first_stage_of(run).items():
        assert len(stage.runs) == 2
        assert {epochs_of(Path(net)) for net in stage.runs} == {validated.stage_epochs[name]}
    assert epochs_of(run) == validated.epochs
    like = pl.read_parquet(live.world.catalogue / "tracks.parquet")["track_id"][0]
    assert main(["recommend", f"--run={run}", f"--like={like}", "--candidates=all"]) == 0
    args = [*live.flags, f"--like-run={measured}", "--stages=1"]
    assert fit("mgp_genres.yaml", tmp_path / "joint", *args) == 2
    assert "was fitted in 2" in capsys.readouterr().err


def test_another_recipe_is_named(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured, run = tmp_path / "measured", tmp_path / "live"
    assert fit("mgp.yaml", measured, *data_flags(live.world), "--trainer.max_epochs=1") == 0
    capsys.readouterr()
    like = [*live.flags, f"--like-run={measured}"]
    assert fit("mgp.yaml", run, *like, "--model.encoders.mgp.hidden=[8]") == 0
    error = capsys.readouterr().err
    assert "model.encoders.mgp.init_args.hidden was [512, 512] there, and is [8] here" in error
    assert fit("genres.yaml", tmp_path / "genres", *like) == 2
    assert "it was fitted with mgp, this config has genres" in capsys.readouterr().err
    assert fit("mgp.yaml", tmp_path / "both", *like, "--trainer.max_epochs=2") == 2
    assert "both say how long to train" in capsys.readouterr().err
    assert fit("mgp.yaml", tmp_path / "none", *live.flags, f"--like-run={tmp_path}") == 2
    assert "no fitted model here" in capsys.readouterr().err


def test_what_goes_by_the_validation_is_left_out(live: Live, tmp_path: Path) -> None:
    """`RankingOnValidation` may stay; a scheduler goes by the training loss then."""
    config = {
        "model": {"encoders": {"mgp": {"class_path": "MGP", "init_args": {"hidden": [8]}}}},
        "trainer": {
            "check_val_every_n_epoch": 5,
            "callbacks": [
                {"class_path": "RankingOnValidation"},
                {"class_path": "EarlyStopping", "init_args": {"monitor": "val_ndcg"}},
            ],
        },
        "optimizer": {"class_path": "Adam", "init_args": {"lr": 0.001}},
        "lr_scheduler": {"class_path": "ReduceLROnPlateau", "init_args": {"monitor": "val_loss"}},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run = tmp_path / "run"
    assert fit(str(tmp_path / "own.yaml"), run, *live.flags, "--trainer.max_epochs=2") == 0
    stored = config_of(run)
    (callback,) = stored["trainer"]["callbacks"]
    assert callback["class_path"].endswith("RankingOnValidation")
    assert stored["lr_scheduler"]["init_args"]["monitor"] == "train_loss"
    assert epochs_of(run) == 2
