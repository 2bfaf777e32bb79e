"""A fit that was cut off goes on as if nothing had been: the very same weights."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers import SMALL_AUDIO, World, assert_same_fit, begin, checkpoint, midway, wait_for

from coldstart.cli import main
from coldstart.model.predictions import Predictions

QUICK = ["--trainer.enable_progress_bar=false", "--checkpoint.minutes=0", "--data.batch_size=5"]
MANY = [
    "--model.fusion=SharedBranch",
    "--model.modality_dropout=0.3",
    "--stages=1",
    "--optimizer=Adam",
    "--lr_scheduler=ReduceLROnPlateau",
    "--lr_scheduler.monitor=val_loss",
    "--lr_scheduler.patience=0",
]
IN_MEMORY = ["--config=mgp_genres.yaml", *MANY]
STREAMED = [
    "--config=audio.yaml",
    *(f"--{key}={value}" for key, value in SMALL_AUDIO.items()),
    "--model.encoders.mgp=MGP",
    *MANY,
    "--data.workers=2",
    "--data.shuffle_buffer=6",
]


def flags(world: World, run: Path) -> list[str]:
    return [f"--data.shards={world.shards}", f"--data.factors={world.factors}", f"--run={run}"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are begun here: these nets are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Uninterrupted fits."""
    root = tmp_path_factory.mktemp("whole")

    def fitted(kind: str) -> Path:
        if not (root / kind).exists():
            assert main([*FITS[kind], *flags(tiny_world, root / kind)]) == 0
        return root / kind

    return fitted


FITS = {
    "in memory": ["fit", *IN_MEMORY, *QUICK, "--trainer.max_epochs=12"],
    "streamed": ["fit", *STREAMED, *QUICK, "--trainer.max_epochs=5"],
}


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("in memory", signal.SIGKILL),
        ("streamed", signal.SIGKILL),
        ("streamed", signal.SIGTERM),
    ],
)
def test_a_fit_that_was_cut_off_makes_the_very_weights_it_would_have_made(
    tiny_world: World,
    tmp_path: Path,
    whole: Callable[[str], Path],
    kind: str,
    sent: signal.Signals,
) -> None:
    run = tmp_path / "run"
    fit = [*FITS[kind], *flags(tiny_world, run)]
    process = begin(*fit)
    wait_for(midway(run, 3), process)
    if sent == signal.SIGTERM:
        os.killpg(process.pid, sent)  # as schedulers do: to the loaders' workers too
    else:
        process.send_signal(sent)
    said = process.communicate(timeout=300)[0]
    if sent == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        last = said.strip().splitlines()[-1]
        assert last.startswith("coldstart fit: stopped by SIGTERM;")
        assert "last.ckpt is saved" in last
        assert "Traceback" not in said
    else:
        assert process.returncode == -sent
    assert main([*fit, "--ckpt_path=last"]) == 0
    assert_same_fit(whole(kind), run)


def test_a_predict_that_was_killed_goes_on(
    tiny_world: World, tiny_audio_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_audio_run, run, ignore=shutil.ignore_patterns("predictions"))
    small = ["--data.batch_size=2", "--data.workers=1"]
    predict = ["predict", "--run", str(run), "--trainer.enable_progress_bar=false", *small]
    process = begin(*predict, "--checkpoint.minutes=0")
    wait_for(lambda: len(list(run.glob(".parts/*/[0-9]*"))) > 5, process)
    process.kill()
    process.communicate()
    assert not (run / "predictions").exists()
    assert main(predict) == 0
    (finished,) = re.findall(r"(\d+) tracks are finished already", capsys.readouterr().err)
    assert 5 <= int(finished) < 60
    made = dict(zip(*Predictions.load(run / "predictions"), strict=True))
    assert not (run / ".parts").exists()
    shutil.rmtree(run / "predictions")
    assert main(predict) == 0
    anew = dict(zip(*Predictions.load(run / "predictions"), strict=True))
    assert made.keys() == anew.keys()
    assert all(torch.allclose(made[track], anew[track], atol=1e-6) for track in anew)


def test_a_two_stage_fit_that_was_killed_takes_the_nets_that_are_there_and_goes_on_with_the_next(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_world.shards, tmp_path / "shards")
    fit = ["fit", "--config=mgp_genres.yaml", "--stage-folds=2", "--ckpt_path=last", *QUICK]
    fit += ["--trainer.max_epochs=6", f"--data.shards={tmp_path / 'shards'}"]
    fit += [f"--data.factors={tiny_world.factors}", f"--run={run}"]
    process = begin(*fit)
    second = run / "stage1" / "mgp" / "fold1"
    wait_for(midway(second, 2), process)
    process.kill()
    process.communicate()
    first = (second.parent / "fold0" / "checkpoints" / "last.ckpt").read_bytes()
    capsys.readouterr()
    assert main(fit) == 0
    messages = capsys.readouterr().err
    assert "mgp_" in messages
    assert "net 2 of 2" in messages
    assert messages.count("net 1 of 2") == 1  # of genres alone
    assert (second.parent / "fold0" / "checkpoints" / "last.ckpt").read_bytes() == first
    assert (second / "logs" / "fit-2").is_dir()
    # Also in its second stage, with the command that began it.
    steps = checkpoint(run)["global_step"]
    longer = [arg.replace("max_epochs=6", "max_epochs=8") for arg in fit]
    assert main(longer) == 0
    assert checkpoint(run)["global_step"] > steps


def test_a_fit_goes_on_exactly_from_the_end_of_an_epoch(tiny_world: World, tmp_path: Path) -> None:
    """Also the scheduler that looks at the validation loss, after the checkpoint is written."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    fit = ["fit", *IN_MEMORY, *QUICK]
    assert main([*fit, *flags(tiny_world, halves), "--trainer.max_epochs=4"]) == 0
    moved = halves.rename(tmp_path / "moved")
    for run, args in ((moved, ["--ckpt_path=last"]), (whole, [])):
        assert main([*fit, *flags(tiny_world, run), *args, "--trainer.max_epochs=8"]) == 0
    assert_same_fit(whole, moved)


def test_a_fit_that_early_stopping_has_ended_is_over(tiny_world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stop = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val_loss"]
    stop += ["--trainer.callbacks.patience=1", "--trainer.max_epochs=50", "--optimizer.lr=0"]
    fit = ["fit", *IN_MEMORY, *QUICK, *stop, *flags(tiny_world, run)]
    assert main(fit) == 0
    steps = checkpoint(run)["global_step"]
    assert main([*fit, "--ckpt_path=last"]) == 0
    assert checkpoint(run)["global_step"] == steps
