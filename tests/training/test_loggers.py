"""Loggers by one flag each: what a fit and a test leave there."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import wandb
import yaml
from helpers import World, data_flags

from coldstart.cli import main
from coldstart.evaluation.results import read_results
from coldstart.training.loggers import NEED_A_PACKAGE, NOTE, flat

QUICK = ["--trainer.max_epochs=2", "--data.workers=0", "--stages=1"]


def fitted_and_tested(world: World, run: Path, *flags: str) -> float:
    """The NDCG of a run with a logger."""
    fit = ["fit", "--config", "mgp_genres.yaml", "--run", str(run), *data_flags(world), *QUICK]
    assert main([*fit, *flags]) == 0
    assert main(["test", "--run", str(run), "--no-rivals"]) == 0
    ndcg = read_results(run / "results.json").rows[0].ndcg
    assert ndcg is not None
    return ndcg


@pytest.mark.parametrize("flags", [[], ["--trainer.logger=CSVLogger"]])
def test_csv_files_have_the_settings_the_losses_and_the_test(
    flags: list[str], tiny_world: World, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ndcg = fitted_and_tested(tiny_world, run, *flags)
    assert sorted(path.name for path in (run / "logs").iterdir()) == ["fit", "test"]
    losses = pl.read_csv(run / "logs" / "fit" / "metrics.csv")
    # Of fewer steps an epoch than Lightning logs at.
    assert losses["train_loss"].drop_nulls().len() == 2
    assert losses["val_loss"].drop_nulls().len() == 2
    assert pl.read_csv(run / "logs" / "test" / "metrics.csv")["test_ndcg"].item() == ndcg
    settings = yaml.safe_load((run / "logs" / "fit" / "hparams.yaml").read_text())
    assert settings["trainer.max_epochs"] == 2
    assert settings["model.encoders.mgp.class_path"] == "coldstart.MGP"
    assert not (run / NOTE).exists()


def test_a_config_s_logger_needs_no_place_either(tiny_world: World, tmp_path: Path) -> None:
    (tmp_path / "csv.yaml").write_text("trainer: {logger: {class_path: CSVLogger}}")
    fitted_and_tested(tiny_world, tmp_path / "run", "--config", str(tmp_path / "csv.yaml"))
    assert (tmp_path / "run" / "logs" / "test" / "metrics.csv").is_file()


def test_tensorboard(tiny_world: World, tmp_path: Path) -> None:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is NOT tested: pip install tensorboard",
    )

    def content(folder: str) -> Any:
        return reader.EventAccumulator(str(tmp_path / "run" / "logs" / folder)).Reload()

    ndcg = fitted_and_tested(tiny_world, tmp_path / "run", "--trainer.logger=TensorBoardLogger")
    assert len(content("fit").Scalars("train_loss")) == 2
    settings = yaml.safe_load((tmp_path / "run" / "logs" / "fit" / "hparams.yaml").read_text())
    assert settings["trainer.max_epochs"] == 2
    assert content("test").Scalars("test_ndcg")[0].value == pytest.approx(ndcg)
    (text,) = content("test").Tags()["tensors"]
    assert text.startswith("test_results")


def test_mlflow_keeps_fit_and_test_as_one_run_also_where_the_folder_is_moved(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is NOT tested: pip install mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    ndcg = fitted_and_tested(tiny_world, tmp_path / "run", "--trainer.logger=MLFlowLogger")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert main(["test", "--run", "moved", "--candidates=mixed", "--no-rivals"]) == 0
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'coldstart'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "run"
    assert found.data.params["trainer.max_epochs"] == "2"
    assert found.data.metrics["test_ndcg"] == pytest.approx(ndcg)
    assert {"train_loss", "val_loss", "test_mixed_ndcg"} <= found.data.metrics.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved"]  # no ./mlruns


def test_wandb_keeps_fit_and_test_as_one_run(tiny_world: World, tmp_path: Path) -> None:
    flags = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true"]
    wandb.finish()  # Lightning leaves another test's run open
    fitted_and_tested(tiny_world, tmp_path / "run", *flags)
    wandb.finish()
    key = json.loads((tmp_path / "run" / NOTE).read_text())["WandbLogger"]
    folders = list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert folders
    assert all(folder.name.endswith(key) for folder in folders)
    assert list((tmp_path / "run" / "wandb").rglob("test_results*.table.json"))


@pytest.mark.parametrize("logger", sorted(NEED_A_PACKAGE))
def test_a_package_that_is_missing_is_named(
    logger: str, tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec(NEED_A_PACKAGE[logger]):
        pytest.skip(f"the message that {logger}'s package is missing is NOT tested: it is here")
    fit = ["fit", "--config", "mgp.yaml", "--run", str(tmp_path / "run"), *data_flags(tiny_world)]
    assert main([*fit, *QUICK, "--trainer.logger", logger]) == 2
    assert f"`pip install {NEED_A_PACKAGE[logger]}`" in capsys.readouterr().err


def test_settings_are_flat() -> None:
    assert dict(flat({"a": {"b": {"c": None}, "d": {}}, "e": [1, {"f": 2}]})) == {
        "a.b.c": "null",
        "a.d": "{}",
        "e": '[1, {"f": 2}]',
    }


def test_wandb_is_imported_only_where_it_logs() -> None:
    code = "import sys, coldstart.training.lightning_cli; print('wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
