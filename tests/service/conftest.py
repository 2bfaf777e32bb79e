"""A run of sound, attributes and genres on a world of its own, which the service may change."""

from pathlib import Path

import pytest
from helpers import SMALL_AUDIO, Fitted, World, copy_of, data_flags

from coldstart.cli import main


@pytest.fixture(scope="session")
def heard(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A run that reads sound, attributes and genres; nobody changes its world."""
    root = tmp_path_factory.mktemp("heard")
    config = root / "three.yaml"
    config.write_text(
        "model:\n  encoders: {audio: {class_path: Audio}, mgp: {class_path: MGP}, "
        "genres: {class_path: Genres}}\n",
        encoding="utf-8",
    )
    quick = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]
    small = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
    run = root / "run"
    args = ["fit", f"--config={config}", f"--run={run}", "--stages=1"]
    assert main([*args, *small, *quick, *data_flags(tiny_world)]) == 0
    return Fitted(run, tiny_world)


@pytest.fixture
def changeable(heard: Fitted, tmp_path: Path) -> Fitted:
    """A run and a world for one test, which may change them."""
    return copy_of(heard, tmp_path)
