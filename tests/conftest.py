"""Shared fixtures: a tiny invented world, made once, and the real data where it is there."""

import gc
import os
import shutil
import sys
import venv
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread for each of pytest-xdist's workers, or they would fight for the cores; the numeric
    # libraries read it when they are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import polars as pl
import pytest
import torch
from filelock import FileLock
from helpers import (
    PLUGINS,
    ROOT,
    SMALL_AUDIO,
    Fitted,
    Listened,
    Log,
    PythonRun,
    Table,
    World,
    data_flags,
    listen_flags,
    new_model,
    new_trainer,
    run,
)

import coldstart as cs
from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.datasets.synthetic import make_catalogue
from coldstart.tables.splits import read_splits

# pytest parses every test file (and hypothesis) while it collects. CPython 3.11's parser fails now
# and then when a garbage collection inside it runs code that parses (gh-106905): collect first.
gc.disable()

# Bytecode is kept, whatever the environment says: else each of the many processes that the tests
# start would compile our package again, and each session all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

collect_ignore = ["fuzz.py", "helpers.py", "originals.py", "variants.py", "working_tree.py"]
"""They hold no doctests, and would be imported a second time."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.import_plugin("working_tree")
    config.pluginmanager.import_plugin("fuzz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: at the end, one of two workers would wait for the other."""
    long = ["spark", "end_to_end", "studies"]
    items.sort(key=lambda item: [folder not in item.path.parts for folder in long])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, one worker takes all that needs Spark, which is slow to begin."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "tests/spark" if file.startswith("tests/spark/") else file

    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    gc.enable()


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
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data is not here")
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That with MusiCNN's weights, fetched by pip."""
    from coldstart.extractors.musicnn_weights import fetch_wheel

    try:
        return fetch_wheel(tmp_path_factory.mktemp("wheel"))
    except cs.InputError as error:
        pytest.skip(f"MusiCNN is NOT tested: {error}")


@pytest.fixture(scope="session")
def weights_cache(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for COLDSTART_CACHE that has MusiCNN's weights."""
    from coldstart.extractors.musicnn_weights import load_weights

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLDSTART_CACHE", str(cache))
        load_weights("MTT", wheel)
    return cache


@pytest.fixture(scope="session")
def tiny_audio_run(tiny_world: World) -> Path:
    """An audio model, barely trained, on the tiny world."""
    from coldstart.commands.fit import fit

    overrides = {
        "data.shards": tiny_world.shards,
        "data.factors": tiny_world.factors,
        "trainer.max_epochs": 2,
        "data.workers": 0,
        **SMALL_AUDIO,
    }
    return fit("audio.yaml", run=str(tiny_world.root / "runs" / "tiny_audio"), overrides=overrides)


@pytest.fixture(scope="session")
def listened(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Listened:
    """Shards of the tiny world with estimates of two listeners, and their runs."""
    root = tmp_path_factory.mktemp("listened")
    shutil.copytree(tiny_world.shards, root / "shards")
    assert main(["listen", *listen_flags(root / "shards", root / "listener")]) == 0
    return Listened(root, root / "shards", root / "listener", tiny_world)


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment into which only our wheels were installed.

    Everybody else's packages come from the environment that the tests run in; no network is used.
    pytest-xdist's workers share it.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / "outside"
    with FileLock(shared / "outside.lock"):
        if not (folder / "ready").exists():
            _install_outside(folder)
            (folder / "ready").touch()
    return folder / "venv" / "bin"


def _install_outside(folder: Path) -> None:
    folder.mkdir()
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


@pytest.fixture
def tiny_log(tiny_world: World) -> Log:
    """The tiny world's log, its splits, and the ids of its held-out tracks."""
    sides = read_splits(tiny_world.splits)
    held = sides.filter(pl.col("split") != "train")["track_id"].to_list()
    return pl.read_parquet(tiny_world.catalogue / "listens.parquet"), tiny_world.splits, held


@pytest.fixture(scope="session")
def mgp_genres(tiny_world: World) -> Fitted:
    """A model of attributes and genres, barely trained, on the tiny world."""
    run = tiny_world.root / "runs" / "mgp_genres"
    args = ["fit", "--config", "mgp_genres.yaml", "--run", str(run), *data_flags(tiny_world)]
    quick = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.workers=0"]
    assert main([*args, *quick, "--stages=1"]) == 0
    return Fitted(run, tiny_world)


@pytest.fixture
def audio(tiny_audio_run: Path, tiny_world: World) -> Fitted:
    return Fitted(tiny_audio_run, tiny_world)


@pytest.fixture(scope="session")
def python_run(tiny_world: World) -> PythonRun:
    """The same by a plain trainer in Python, fitted and tested."""
    torch.manual_seed(0)
    run = tiny_world.root / "runs" / "in_python"
    model, data = new_model(), cs.ColdStartData(str(tiny_world.shards), str(tiny_world.factors))
    trainer = new_trainer(run, callbacks=[cs.RunCheckpoint(), cs.TestReport()])
    trainer.fit(model, data)
    trainer.test(model, data, ckpt_path="best")
    return PythonRun(run, tiny_world, cs.load(run))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Write lines as a CSV and give its path."""

    def write(*lines: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
