"""`shard` on audio: any files → mono FLACs in tars.

Floor: the bare decoder on the same files with as many processes, which keeps nothing.

    python -m benchmarks.shard [--rounds 3]

The files are an invented catalogue's FLACs; name a track table of your own (for mp3 and ogg) in the
environment variable TRACKS.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile

from benchmarks.table import Row, clocked, in_turn, main
from coldstart.commands.shard import shard
from coldstart.datasets.synthetic import make_catalogue
from coldstart.tables.tracks import read_tracks

TRACKS, WORKERS = 200, 2


def decode(path: str) -> int:
    """The bare decoder."""
    with soundfile.SoundFile(path) as file:
        return sum(len(block) for block in file.blocks(file.samplerate * 20, dtype="float32"))


def ours(table: Path) -> float:
    """Seconds of the verb."""
    with tempfile.TemporaryDirectory() as out:
        return clocked(
            lambda: shard(table, out=out, modalities=["audio"], workers=WORKERS, shard_size=16),
            time.perf_counter,
        )


def bare(paths: list[str]) -> float:
    """Seconds; the processes are started beforehand: their start is not counted."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        list(pool.map(decode, paths[:WORKERS]))
        return clocked(lambda: list(pool.map(decode, paths, chunksize=8)), time.perf_counter)


def measure(rounds: int = 3) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.environ.get("TRACKS")
        table = Path(path) if path else _invented(Path(folder))
        audio = read_tracks(table).drop_nulls("audio")["audio"]
        paths = [str(table.parent / path) for path in audio]
        times = in_turn(lambda: ours(table), lambda: bare(paths), rounds)
    return [times.row(f"shard {len(paths)} sound files, {WORKERS} processes", "–")]


def _invented(folder: Path) -> Path:
    return make_catalogue(folder / "invented", tracks=TRACKS, users=20) / "tracks.parquet"


if __name__ == "__main__":
    main(measure)
