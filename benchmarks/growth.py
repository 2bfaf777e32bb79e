"""Growth: seconds and peak memory of shard, an epoch, test and recommend at 1, 10 and 100 times the
tracks, each in a process of its own.

The floor is our own time at a tenth of the tracks: from 10 to 100 times the tracks, time should
grow 10 times at most (the column `floor`), and what is streamed should take no more memory.

    python -m benchmarks.growth
    TRACKS=660 python -m benchmarks.growth     # of the smallest size

Writes runs/bench/growth.csv and growth.png.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from lightning.pytorch import Trainer

from benchmarks.memory import Run, apart
from benchmarks.table import Row, main, seconds
from benchmarks.worlds import attribute_tables, random_factors, trainer_options
from coldstart import MGP, ColdStart, ColdStartData
from coldstart.commands.shard import shard
from coldstart.training.lightning_module import load
from coldstart.training.reports import TestReport
from coldstart.training.run_checkpoint import RunCheckpoint

TRACKS = int(os.environ.get("TRACKS", 660))
TIMES = (1, 10, 100)
ATTRIBUTES, USERS = 400, 1000
OUT = Path("runs/bench")


def tables(folder: Path, tracks: int) -> None:
    """Random tables; 80 % train, 10 % val, 10 % test."""
    attribute_tables(folder, tracks, ATTRIBUTES)
    sides = np.random.default_rng(0).choice(["train", "val", "test"], tracks, p=[0.8, 0.1, 0.1])
    ids = pl.read_parquet(folder / "tracks.parquet")["track_id"]
    pl.DataFrame({"track_id": ids, "split": sides}).write_parquet(folder / "splits.parquet")
    random_factors(folder / "factors", sides.tolist(), USERS)


def sharding(folder: Path) -> None:
    shard(
        folder / "tracks.parquet",
        out=folder / "shards",
        splits=folder / "splits.parquet",
        attributes={"mgp": str(folder / "mgp.parquet")},
    )


def _fit(folder: Path, memory_mb: int, epochs: int = 1) -> None:
    data = ColdStartData(
        str(folder / "shards"), str(folder / "factors"), 256, workers=0, memory_mb=memory_mb
    )
    options = {**trainer_options(), "enable_checkpointing": True, "limit_val_batches": 1}
    run = folder / "run"
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=run, callbacks=[RunCheckpoint()], **options
    )
    trainer.fit(ColdStart({"mgp": MGP()}), datamodule=data)


def epoch_in_memory(folder: Path) -> None:
    _fit(folder, memory_mb=4000)


def epoch_streamed(folder: Path) -> None:
    _fit(folder, memory_mb=0)


def _model_and_data(folder: Path) -> tuple[ColdStart, ColdStartData]:
    data = ColdStartData(str(folder / "shards"), str(folder / "factors"), 256, workers=0)
    return load(folder / "run"), data


def testing(folder: Path) -> None:
    model, data = _model_and_data(folder)
    report = TestReport(rivals=False)
    trainer = Trainer(callbacks=[report], default_root_dir=folder / "run", **trainer_options())
    trainer.test(model, datamodule=data, verbose=False)


def testing_with_rivals(folder: Path) -> None:
    model, data = _model_and_data(folder)
    trainer = Trainer(
        callbacks=[TestReport()], default_root_dir=folder / "run", **trainer_options()
    )
    trainer.test(model, datamodule=data, verbose=False)


def recommending(folder: Path) -> None:
    """From Python, as from a notebook: predict all tracks, then rank them for a user."""
    load(folder / "run").recommend(
        folder / "shards", folder / "factors", user="u1", candidates="all"
    )


WORK: dict[str, tuple[Callable[[Path], None], bool]] = {
    "shard": (sharding, False),
    "epoch, in memory": (epoch_in_memory, False),
    "epoch, streamed": (epoch_streamed, True),
    "test, without rivals": (testing, False),
    "test, with rivals": (testing_with_rivals, False),
    "recommend": (recommending, False),
}
"""What is measured → its function, and whether its memory must stay flat."""


def quiet(work: Callable[[Path], None], folder: Path) -> None:
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    with contextlib.redirect_stdout(sys.stderr):
        work(folder)


def measurements() -> dict[str, list[Run]]:
    """What → its runs, from the smallest size to the largest."""
    runs: dict[str, list[Run]] = {name: [] for name in WORK}
    for times in TIMES:
        with tempfile.TemporaryDirectory() as folder:
            tables(Path(folder), TRACKS * times)
            for name, (work, _) in WORK.items():
                runs[name].append(apart(quiet, work, Path(folder)))
                print(name, times, runs[name][-1], file=sys.stderr, flush=True)
    return runs


def write(runs: dict[str, list[Run]]) -> None:
    """The figures, and a picture of them."""
    from matplotlib.figure import Figure

    OUT.mkdir(parents=True, exist_ok=True)
    sizes = [TRACKS * times for times in TIMES]
    rows = [
        {
            "what": name,
            "tracks": size,
            "seconds": round(run.seconds, 3),
            "own_mb": round(run.own_mb),
        }
        for name, measurements in runs.items()
        for size, run in zip(sizes, measurements, strict=True)
    ]
    pl.DataFrame(rows).write_csv(OUT / "growth.csv")
    figure = Figure(figsize=(9, 4), layout="constrained")
    time, memory = figure.subplots(1, 2)
    for name, measurements in runs.items():
        time.loglog(sizes, [run.seconds for run in measurements], marker="o", label=name)
        memory.semilogx(sizes, [run.own_mb for run in measurements], marker="o", label=name)
    time.set(xlabel="tracks", ylabel="seconds")
    memory.set(xlabel="tracks", ylabel="peak memory beyond the libraries', MB", ylim=(0, None))
    time.legend(fontsize=8)
    figure.savefig(OUT / "growth.png", dpi=120)


def measure(rounds: int = 1) -> list[Row]:
    """One round; a growth of ten times leaves room for noise."""
    runs = measurements()
    write(runs)
    rows = []
    step = TIMES[-1] // TIMES[-2]
    for name, (_, flat) in WORK.items():
        small, large = runs[name][-2:]
        item = f"{name}: {TRACKS * TIMES[-1]:,} tracks (floor: {step} × {TRACKS * TIMES[-2]:,})"
        floor = small.seconds * step
        rows.append(
            Row(item, seconds(large.seconds), seconds(floor), large.seconds / floor, "≤ 1.2")
        )
        if flat:
            rows.append(
                Row(
                    f"{name}: memory beyond the libraries' (floor: {TRACKS * TIMES[-2]:,} tracks)",
                    f"{large.own_mb:,.0f} MB",
                    f"{small.own_mb:,.0f} MB",
                    large.own_mb / small.own_mb,
                    "≤ 1.2",
                )
            )
    return rows


if __name__ == "__main__":
    main(measure)
