"""What `validate` and `test` report."""

import json
import re

import pytest
import torch
from helpers import Fitted

from coldstart.cli import main
from coldstart.evaluation.evaluate import OURS, PATCHES


def test_a_test_writes_figures_with_floors_and_rivals(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", "--run", str(mgp_genres.run)]) == 0
    printed = capsys.readouterr().out
    results = json.loads((mgp_genres.run / "results.json").read_text())
    methods = [row["method"].split(" (")[0] for row in results["rows"]]
    assert methods[0] == "coldstart"
    assert len(methods) == 8
    assert results["candidates"] == 6
    assert results["protocol"] == "strict cold start"
    assert {"users", "users_without_relevant", "k", "map_k", "seed"} <= results.keys()
    for wanted in ("ridge", "random", "6 cold candidates", "next: coldstart recommend"):
        assert wanted in printed
    assert (mgp_genres.run / "results.csv").is_file()


def test_rivals_can_be_left_out(mgp_genres: Fitted) -> None:
    assert main(["test", "--run", str(mgp_genres.run), "--no-rivals"]) == 0
    rows = json.loads((mgp_genres.run / "results.json").read_text())["rows"]
    assert not any(row["method"].startswith("ridge") for row in rows)


def test_audio_is_measured_by_patch_and_by_track(audio: Fitted) -> None:
    assert main(["test", "--run", str(audio.run)]) == 0
    track, patch, *_ = json.loads((audio.run / "results.json").read_text())["rows"]
    assert (track["method"], patch["method"]) == (OURS, PATCHES)
    assert 0 < track["cosine"] < 2
    assert patch["cosine"] != track["cosine"]


def test_windows_may_be_cut_otherwise_than_in_training(audio: Fitted) -> None:
    assert main(["test", "--run", str(audio.run), "--no-rivals"]) == 0
    denser = [f"--model.encoders.audio.{key}" for key in ("hop=0.5", "trim=0.2")]
    args = ["test", "--run", str(audio.run), "--no-rivals", "--results=results_dense", *denser]
    assert main(args) == 0
    one, other = (
        json.loads((audio.run / f"{name}.json").read_text())["rows"][0]["cosine"]
        for name in ("results", "results_dense")
    )
    assert one != other
    wider = ["test", "--run", str(audio.run), "--model.encoders.audio.dim=32"]
    assert main(wider) == 2


def test_validate_says_what_the_checkpoint_was_chosen_by(
    mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", "--run", str(mgp_genres.run)]) == 0
    best = torch.load(mgp_genres.run / "checkpoints" / "best.ckpt", weights_only=True)
    (state,) = [s for key, s in best["callbacks"].items() if "RunCheckpoint" in key]
    shown = capsys.readouterr().out
    (printed,) = re.findall(r"val_loss\D+(\d\.\d+)", shown)
    assert float(printed) == pytest.approx(float(state["best_model_score"]), abs=1e-5)
