"""What several test files share: paths, small settings, and runs in processes of their own."""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import soundfile
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray

import coldstart as cs
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.data.datamodule import ColdStartData
from coldstart.encoders.audio import Audio
from coldstart.encoders.base import Encoder, Modality
from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards
from coldstart.testing import modality
from coldstart.training.lightning_module import ColdStart

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


# Models and data made in Python.


def small_audio(**kwargs: object) -> Audio:
    return Audio(
        net="small",
        patch_seconds=4,
        bins=36,
        fmin=110,
        frame_hop=256,
        dim=8,
        **kwargs,  # type: ignore[arg-type]
    )


def data_for(world: World, encoders: dict[str, Encoder], **kwargs: object) -> ColdStartData:
    data = ColdStartData(str(world.shards), str(world.factors), **kwargs)  # type: ignore[arg-type]
    model = ColdStart(encoders)
    model.build(data.info)
    data.lend(model.lend())
    return data


def ids_of(world: World, *splits: str) -> list[str]:
    return sorted(t["track_id"] for t in Shards(world.shards).all_tracks(splits))


# Factors.

Matrix = NDArray[np.float32]
Log = tuple[pl.DataFrame, Path, list[str]]
"""A log, its splits, and the ids of its held-out tracks."""


def made_from(folder: Path, log: pl.DataFrame, splits: Path | None, **options: Any) -> Factors:
    """Factorise a log given as a table of user_id, track_id, plays."""
    folder.mkdir(parents=True, exist_ok=True)
    if options.get("algorithm") == "explicit":
        log = log.rename({"plays": "rating"})
    log.write_parquet(folder / "listens.parquet")
    options = {"factors": 6, "iterations": 5, **options}
    return factorize(folder / "listens.parquet", out=folder / "out", splits=splits, **options)


def random_log(
    seed: int = 0, users: int = 24, tracks: int = 18, share: float = 0.4, first: int = 0
) -> pl.DataFrame:
    """A log of chance: user_id, track_id, plays and timestamp, in minutes of January 2020."""
    generator = np.random.default_rng(seed)
    user, track = np.nonzero(generator.random((users, tracks)) < share)
    minutes = generator.permutation(30 * 1440)[: len(user)]
    return pl.DataFrame(
        {
            "user_id": [f"u{i + first:02}" for i in user],
            "track_id": [f"t{i + first:02}" for i in track],
            "plays": generator.integers(1, 9, len(user)),
            "timestamp": np.datetime64("2020-01-01T00:00:00", "us") + minutes * 60_000_000,
        }
    )


def vectors(made: Factors) -> dict[str, dict[str, bytes]]:
    """Bytes of each vector by id: factorised tracks, folded tracks, users heard in training."""
    tracks = [(t, v.tobytes()) for t, v in zip(made.track_ids, made.tracks, strict=True)]
    users = zip(made.user_ids, made.users, strict=True)
    return {
        "tracks": {t: v for (t, v), f in zip(tracks, made.folded, strict=True) if not f},
        "folded": {t: v for (t, v), f in zip(tracks, made.folded, strict=True) if f},
        "users": {u: v.tobytes() for u, v in users if v.any()},
    }


def cosines(a: Matrix, b: Matrix) -> Matrix:
    a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (a, b))
    return a @ b.T


# Commands in an environment of their own.


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


# Fits that are interrupted, and what they left.


def begin(*args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "coldstart", *args],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    made: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return made


def progress(run: Path) -> tuple[int, bool]:
    """Epochs begun, and whether one is in its middle."""
    if not (run / "checkpoints" / "last.ckpt").is_file():
        return 0, False
    loops = checkpoint(run)["loops"]["fit_loop"]
    within = not loops["epoch_loop.batch_progress"]["is_last_batch"]
    return loops["epoch_progress"]["current"]["started"], within


def midway(run: Path, epoch: int) -> Callable[[], bool]:
    """Whether a fit is within an epoch, this one or a later one."""

    def there() -> bool:
        began, within = progress(run)
        return began >= epoch and within

    return there


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    for _ in range(30_000):
        if condition():
            return
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.01)
    raise AssertionError("it never came")


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Bit for bit, through dicts and lists."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{i}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def assert_same_fit(one: Path, two: Path) -> None:
    for name in ("last", "best"):
        a, b = checkpoint(one, name), checkpoint(two, name)
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "generators", "metrics"):
            assert_same(a[part], b[part], f"{name}/{part}")
        (stop,) = [key for key in a["callbacks"] if key.startswith("EarlyStopping")]
        assert_same(a["callbacks"][stop], b["callbacks"][stop], stop)
        assert a["global_step"] == b["global_step"]


# Sound.

SAMPLE_RATE = 8000


def noise_flac(samples: int, rate: int = SAMPLE_RATE, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, samples)
    soundfile.write(buffer, noise, rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def music(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    at = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 220 * (1 + seed) * at) * np.exp(-2 * (at % 0.7))
    return (0.3 * tone + 0.01 * generator.standard_normal(len(at))).astype(np.float32)


# Shards.


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.tar")}


def files_of(folder: Path) -> dict[str, bytes]:
    """A dataset's files, without locks."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def samples(shards: Shards, *fields: str) -> dict[str, dict[str, Any]]:
    """Track id → its fields, over the whole dataset."""
    found = [
        sample
        for split in ("train", "val", "test")
        for number in range(len(shards.shard_sizes(split)))
        for sample in shards.samples(split, number, fields)
    ]
    assert len({sample["track_id"] for sample in found}) == len(found)
    return {sample["track_id"]: sample for sample in found}


def sharded(source: Path, out: Path, *attributes: str, **options: Any) -> Shards:
    defaults: dict[str, Any] = {
        "sample_rate": 8000,
        "shard_size": 4,
        "workers": 1,
        "splits": source / "splits.csv",
    }
    tables = {name: str(source / f"{name}.csv") for name in attributes}
    return shard(source / "tracks.csv", out=out, attributes=tables, **(defaults | options))


# Encoders.


def batch_of(encoder: Encoder, content: bytes, present: list[bool]) -> Modality:
    (field,) = encoder.fields
    return modality(encoder, [{field: content} if there else None for there in present])


# Rivals.

TASTES, PER_TASTE, USERS = 4, 30, 80


def planted_taste(seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Tags of 120 tracks, of which each taste has its own; and who played what."""
    generator = np.random.default_rng(seed)
    taste = np.arange(TASTES * PER_TASTE) % TASTES
    tags = (generator.random((len(taste), 3 * TASTES)) < 0.1).astype(np.float32)
    for own in range(3):
        tags[np.arange(len(taste)), 3 * taste + own] = generator.random(len(taste)) < 0.8
    likes = np.arange(USERS)[:, None] % TASTES == taste
    plays = generator.random(likes.shape) < np.where(likes, 0.5, 0.02)
    return tags, plays.astype(np.float32) * generator.integers(1, 9, likes.shape)


# Runs.


class Fitted(NamedTuple):
    """A run and the world it was fitted in."""

    run: Path
    world: World


def copy_of(fitted: Fitted, root: Path) -> Fitted:
    """A copy of the run and of its world, which may be changed."""
    world = fitted.world
    copy = World(root, world.catalogue, world.splits, root / "factors", root / "shards")
    shutil.copytree(world.factors, copy.factors)
    shutil.copytree(world.shards, copy.shards)
    shutil.copytree(fitted.run, root / "run")
    config = (root / "run" / "config.yaml").read_text(encoding="utf-8")
    for old, new in ((world.factors, copy.factors), (world.shards, copy.shards)):
        config = config.replace(str(old), str(new))
    (root / "run" / "config.yaml").write_text(config, encoding="utf-8")
    return Fitted(root / "run", copy)


class Listened(NamedTuple):
    """Shards with machine-listened attributes, and the listeners."""

    root: Path
    shards: Path
    listener: Path
    world: World


def listen_flags(shards: Path, out: Path, folds: int = 2) -> list[str]:
    """Of a `listen` that takes seconds on the tiny world."""
    own = ["--config=listener.yaml", f"--shards={shards}", f"--out={out}", f"--folds={folds}"]
    small = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
    quick = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]
    return [*own, *small, *quick]


def data_flags(world: World) -> list[str]:
    return [f"--data.shards={world.shards}", f"--data.factors={world.factors}"]


class PythonRun(NamedTuple):
    """A trainer's folder, the world it was fitted in, and its best model."""

    run: Path
    world: World
    model: cs.ColdStart


def new_model() -> cs.ColdStart:
    encoders = {"mgp": cs.MGP(hidden=(8,)), "genres": cs.Genres(hidden=(4,))}
    return cs.ColdStart(encoders=encoders, fusion=cs.Gated(width=8))


def new_trainer(folder: Path, **options: Any) -> Trainer:
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(default_root_dir=folder, max_epochs=2, accelerator="cpu", **quiet, **options)


STRANGE_IDS = [
    *("007", "AC/DC", "a.b", "two words", " led", "a ", "中文", "é", "😀", "a,b", 'say "hi"', "-"),
    *("#1", "~", "null", "Null", "NA", "nan", "None", "1e5", "0x10", "yes", "true", "1_000"),
    *("1.0", "-1", "+1", "inf", "2020-01-01", "[1]", "{}", "'", '""', "=1+1", "a\tb", "a\nb"),
]
"""Ids that a parser may take for something else."""

Table = Callable[..., Path]
"""Writes lines as a CSV and gives its path: the fixture `table`."""


def parquet(folder: Path, **columns: object) -> Path:
    """Write a table of these columns."""
    path = folder / "table.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path
