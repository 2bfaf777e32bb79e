"""What version 0.1 wrote still opens: shards, factors, runs, results, exported models."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ROOT

import coldstart as cs
from coldstart.cli import main
from coldstart.evaluation.results import read_results
from coldstart.model.checkpoint import read_checkpoint
from coldstart.runs.config import read_config
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A copy, for a verb may write into a run."""
    return Path(shutil.copytree(ROOT / "tests" / "before", tmp_path / "before"))


def data_of(before: Path) -> list[str]:
    return [f"--shards={before / 'shards'}", f"--factors={before / 'factors'}"]


def test_shards_and_factors_open(before: Path) -> None:
    shards, factors = cs.Shards(before / "shards"), cs.Factors.load(before / "factors")
    assert set(shards.modalities) == {"mgp", "genres"}
    assert len(shards.all_tracks()) == len(factors.track_ids) == 24
    samples = list(shards.samples("train", 0, ["mgp.npy", "genres.json"]))
    assert len(samples) == shards.shard_sizes("train")[0]
    assert all("mgp.npy" in sample for sample in samples)


@pytest.mark.parametrize("run", ["mgp", "kernel"])
def test_a_run_answers_and_is_tested_with_the_figures_of_before(
    before: Path, run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = before / "runs" / run
    old = read_results(folder / "results.json")
    args = ["recommend", f"--run={folder}", "--user=u00", "--json", *data_of(before)]
    assert main(args) == 0
    assert json.loads(capsys.readouterr().out)
    data = [flag.replace("--", "--data.") for flag in data_of(before)]
    assert main(["test", f"--run={folder}", *data]) == 0
    new = read_results(folder / "results.json")
    assert [row.method for row in new.rows] == [row.method for row in old.rows]
    for after, then in zip(new.rows, old.rows, strict=True):
        assert after.ndcg == pytest.approx(then.ndcg, abs=1e-5)
        assert after.cosine == pytest.approx(then.cosine, abs=1e-5)


def test_stored_predictions_are_what_the_model_predicts(before: Path) -> None:
    folder = before / "runs" / "mgp"
    stored = cs.Predictions.load(folder / "predictions")
    run = open_run(folder, str(before / "shards"), str(before / "factors"))
    predicted = predictions_of(run)
    assert predicted.track_ids == stored.track_ids
    assert torch.allclose(predicted.values, stored.values, atol=1e-6)


def test_a_checkpoint_and_an_exported_model_are_the_same_model(before: Path) -> None:
    checkpoint = before / "runs" / "mgp" / "checkpoints" / "best.ckpt"
    assert read_checkpoint(checkpoint)["coldstart"]["version"] == 1
    model, exported = cs.load(checkpoint), cs.ColdStart.from_pretrained(before / "exported")
    pairs = zip(model.state_dict().values(), exported.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_config_that_names_a_callback_by_its_old_path_still_parses(
    before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = before / "runs" / "listener" / "config.yaml"
    assert "coldstart.callbacks.WriteModality" in config.read_text()
    for place in (read_config(config.parent), _printed(config, capsys)):
        callbacks = [part["class_path"] for part in place["trainer"]["callbacks"]]
        assert "coldstart.training.prediction_writers.WriteModality" in callbacks
        assert not any("coldstart.callbacks" in name for name in callbacks)


def _printed(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, dict[str, list[dict[str, str]]]]:
    with pytest.raises(SystemExit):
        main(["fit", f"--config={config}", "--print_config"])
    printed: dict[str, dict[str, list[dict[str, str]]]] = yaml.safe_load(capsys.readouterr().out)
    return printed
