"""A run of sound, attributes and genres on a world of its own, which the service may change."""

import shutil
from pathlib import Path

import pytest
from helpers import SMALL_AUDIO, Fitted, World, data_flags

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
    """A copy of the run and of its world."""
    world = heard.world
    copy = World(tmp_path, world.catalogue, world.splits, tmp_path / "factors", tmp_path / "shards")
    shutil.copytree(world.factors, copy.factors)
    shutil.copytree(world.shards, copy.shards)
    shutil.copytree(heard.run, tmp_path / "run")
    config = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    for old, new in ((world.factors, copy.factors), (world.shards, copy.shards)):
        config = config.replace(str(old), str(new))
    (tmp_path / "run" / "config.yaml").write_text(config, encoding="utf-8")
    return Fitted(tmp_path / "run", copy)
