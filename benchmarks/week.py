"""A label's week (docs/live.md) at the size of a service, without sound: seconds and memory a step.

Made-up tables: attributes, and a log whose listeners like what has their taste. Each step is a
command in a process of its own; there is no floor, only how long it takes.

    python -m benchmarks.week [--tracks 100000] [--users 200000] [--folder runs/week]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from tabulate import tabulate

from coldstart.processes import OwnContext

LISTENS, ATTRIBUTES, NEW, DAY = 20, 30, 10, 100_000

STEPS = (
    ("split", "split tracks.parquet --out splits.parquet --fractions 1,0,0 --hash-audio false"),
    (
        "factorize (64 factors, 5 iterations)",
        "factorize listens.parquet --splits splits.parquet --out factors --iterations 5 "
        "--shrinkage 0.15 --axes scores",
    ),
    (
        "shard",
        "shard tracks.parquet --splits splits.parquet --attributes.mgp mgp.parquet --out shards",
    ),
    (
        "fit (kernel of 2,048 centres)",
        "fit --config kernel_mgp.yaml --run run --data.shards shards --data.factors factors",
    ),
    ("recommend for one, which predicts all", "recommend --run run --user u0000000"),
    (
        "add ten tracks",
        "add new.parquet --attributes.mgp new_mgp.parquet --shards shards --run run",
    ),
    ("update with a day", "update factors --listens day.parquet"),
    ("recommend for one", "recommend --run run --user u0000000 --candidates all"),
    (
        "recommend for everybody, ten each",
        "recommend --run run --users all --out recs.parquet --candidates all",
    ),
    (
        "the same, two an artist, 30 % new",
        "recommend --run run --users all --out mixed.parquet --candidates all --per-artist 2 "
        "--new-share 0.3",
    ),
    ("export", "export --run run --out vectors"),
)


CONFIG = """
model:
  encoders:
    mgp: {class_path: MGP, init_args: {hidden: []}}
  fusion: {class_path: Kernel, init_args: {landmarks: 2048}}
  target: {class_path: TrackFactors, init_args: {length: true}}
data: {batch_size: 256}
trainer: {max_epochs: 1}
"""


class Step(NamedTuple):
    """One command.

    Attributes:
        name: what it does.
        seconds: wall time of the process, start included.
        megabytes: its peak of memory.
    """

    name: str
    seconds: float
    megabytes: float


def make_tables(folder: Path, tracks: int, users: int) -> None:
    """Write the tables; a track's attributes and its listeners depend on the same hidden taste."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel_mgp.yaml").write_text(CONFIG, encoding="utf-8")
    total = tracks + NEW
    taste = generator.normal(size=(total, 8)).astype(np.float32)
    attributes = taste @ generator.normal(size=(8, ATTRIBUTES)).astype(np.float32)
    attributes += generator.normal(size=attributes.shape).astype(np.float32)
    ids = [f"t{i:07d}" for i in range(total)]
    table = pl.DataFrame(
        {
            "track_id": ids,
            "title": ids,
            "artist": [f"a{i % (tracks // 10 + 1)}" for i in range(total)],
        }
    )
    columns = {f"x{i}": attributes[:, i] for i in range(ATTRIBUTES)}
    mgp = pl.DataFrame({"track_id": ids, **columns})
    for name, rows in (("", slice(0, tracks)), ("new", slice(tracks, total))):
        table[rows].write_parquet(folder / (f"{name}.parquet" if name else "tracks.parquet"))
        mgp[rows].write_parquet(folder / (f"{name}_mgp.parquet" if name else "mgp.parquet"))
    likes = generator.normal(size=(users, 8)).astype(np.float32)
    pieces = []
    for start in range(0, users, 20_000):
        block = likes[start : start + 20_000]
        # Of two hundred tracks drawn at random, a listener plays the twenty that they like most.
        drawn = generator.integers(0, tracks, (len(block), LISTENS * 10))
        scores = np.einsum("uk,unk->un", block, taste[drawn])
        best = np.argpartition(-scores, LISTENS, axis=1)[:, :LISTENS]
        names = np.repeat(np.arange(start, start + len(block)), LISTENS)
        pieces.append(np.stack([names, np.take_along_axis(drawn, best, 1).ravel()]))
    pairs = np.concatenate(pieces, axis=1)
    _log(pairs).unique().with_columns(plays=1).write_parquet(folder / "listens.parquet")
    day = np.stack([generator.integers(0, users, DAY), generator.integers(0, tracks, DAY)])
    _log(day).with_columns(timestamp=pl.lit("2026-11-24 12:00:00")).write_parquet(
        folder / "day.parquet"
    )


def _log(pairs: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> pl.DataFrame:
    """Users and tracks by their numbers → by their ids."""
    numbers = pl.DataFrame({"user": pairs[0], "track": pairs[1]})
    return numbers.select(
        user_id="u" + pl.col("user").cast(pl.String).str.zfill(7),
        track_id="t" + pl.col("track").cast(pl.String).str.zfill(7),
    )


def run(name: str, command: str, folder: Path) -> Step:
    """Run a command in a process of its own."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "coldstart", *command.split()],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    text = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: {text[-2000:]}")
    return Step(name, time.perf_counter() - start, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/week"))
    arguments = parser.parse_args()
    # In another process: a command's peak would count what this one had when it was started.
    maker = OwnContext().Process(
        target=make_tables, args=(arguments.folder, arguments.tracks, arguments.users)
    )
    maker.start()
    maker.join()
    if maker.exitcode:
        raise SystemExit("the tables couldn't be made")
    steps = []
    for name, command in STEPS:
        steps.append(run(name, command, arguments.folder))
        print(f"{steps[-1].name}: {steps[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    rows = [(step.name, f"{step.seconds:.1f}", f"{step.megabytes:,.0f}") for step in steps]
    print(f"{arguments.tracks:,} tracks × {arguments.users:,} users")
    print(tabulate(rows, headers=["step", "seconds", "peak MB"], tablefmt="github"))


if __name__ == "__main__":
    main()
