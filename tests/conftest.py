"""Shared fixtures: a tiny invented world, made once, and the real data where it is there."""

import gc
import os
import re
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.datasets.synthetic import make_catalogue

# pytest parses every test file (and hypothesis) while it collects. CPython 3.11's parser fails now
# and then when a garbage collection inside it runs code that parses (gh-106905): collect first.
gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()


ROOT = Path(__file__).parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))
"""The example packages."""


class World(NamedTuple):
    """Paths of a tiny world: 60 tracks, 40 listeners, audio at 8 kHz."""

    root: Path
    catalogue: Path
    splits: Path
    factors: Path
    shards: Path


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("tiny_world")
    world = World(
        root, root / "catalogue", root / "splits.parquet", root / "factors", root / "shards"
    )
    make_catalogue(world.catalogue, tracks=60, users=40, seed=0, workers=1)
    split(world.catalogue / "tracks.parquet", out=world.splits)
    factorize(
        world.catalogue / "listens.parquet", out=world.factors, splits=world.splits, factors=8
    )
    shard(
        world.catalogue / "tracks.parquet",
        out=world.shards,
        splits=world.splits,
        attributes={"mgp": str(world.catalogue / "mgp.parquet")},
        sample_rate=8000,
        shard_size=8,
        workers=1,
    )
    return world


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real listening data and real audio, in development only."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data is not here")
    return folder


SMALL_AUDIO = {
    f"model.encoders.audio.{key}": value
    for key, value in {
        "net": "small",
        "patch_seconds": 4,
        "bins": 36,
        "fmin": 110,
        "frame_hop": 256,
        "dim": 16,
        "hop": 1.0,
    }.items()
}


@pytest.fixture(scope="session")
def tiny_audio_run(tiny_world: World) -> Path:
    """An audio model, barely trained, on the tiny world."""
    from coldstart.commands.fit import fit

    overrides = {"data.shards": tiny_world.shards, "data.factors": tiny_world.factors}
    overrides |= {"trainer.max_epochs": 2, "data.workers": 0, **SMALL_AUDIO}
    return fit("audio.yaml", run=str(tiny_world.root / "runs" / "tiny_audio"), overrides=overrides)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, and show what it said if it fails. It sees no source of ours."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=keep, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands(readme: Path, more: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """A README's commands: of each the verb and its arguments, and `more` of them to be quick."""
    block = re.findall(r"```\n(coldstart .*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)[0]
    lines = [line.split()[1:] for line in block.splitlines()]
    return [[*words, *more.get(words[0], [])] for words in lines]


def run_in_one(python: Path, verbs: list[list[str]], cwd: Path) -> str:
    """Run coldstart's verbs in one process: each would need seconds to import torch."""
    code = f"from coldstart.cli import main\nfor words in {verbs}: assert main(words) == 0, words"
    return run(python, "-c", code, cwd=cwd)


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment into which only our wheels were installed.

    Everybody else's packages come from the environment that the tests run in; no network is used.
    """
    folder = tmp_path_factory.mktemp("outside")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    wheels = folder / "wheels"
    run(*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, ROOT, *PLUGINS, cwd=folder)
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", *offline, *sorted(wheels.iterdir()), cwd=folder)
    # Afterwards: else pip would see a coldstart here, and leave it at that. Of two with one name
    # Python takes the environment's own, and a .pth file inside the added folders isn't followed.
    (mine,) = (folder / "venv" / "lib").glob("python*/site-packages")
    theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (mine / "theirs.pth").write_text("\n".join(theirs), encoding="utf-8")
    return python.parent
