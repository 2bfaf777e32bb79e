"""`shard` on audio, beside the bare decoder on the same files with as many processes.

    python benchmarks/shard.py [FOLDER ...] [--tracks 200] [--workers 2] [--rounds 3]

FOLDERs hold a track table and its audio (for mp3 and ogg of your own); without one, an invented
catalogue of FLACs is made.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile

from coldstart.catalog import read_tracks
from coldstart.sharding import shard
from coldstart.synth import make_catalogue


def decode(path: str) -> int:
    """The bare decoder: read everything, keep nothing."""
    with soundfile.SoundFile(path) as file:
        return sum(len(block) for block in file.blocks(file.samplerate * 20, dtype="float32"))


def bare(paths: list[str], workers: int) -> float:
    """Seconds; the processes are started beforehand, as they are no decoding."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        list(pool.map(decode, paths[:workers]))
        began = time.perf_counter()
        list(pool.map(decode, paths, chunksize=8))
        return time.perf_counter() - began


def measure(table: Path, workers: int, rounds: int) -> None:
    tracks = read_tracks(table).drop_nulls("audio")
    paths = [str(table.parent / audio) for audio in tracks["audio"]]
    ours, floor, rates = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            began = time.perf_counter()
            shard(table, out=out, modalities=["audio"], workers=workers, shard_size=16)
            ours.append(time.perf_counter() - began)
        floor.append(bare(paths, workers))
        rates.append(floor[-1] / ours[-1])
    n = len(paths)
    print(
        f"| {table.parent.name}: {n} files | {n / statistics.median(ours):.1f} | "
        f"{n / statistics.median(floor):.1f} | {statistics.median(rates):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="*", help="track tables")
    parser.add_argument("--tracks", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tables = given.tables
        if not tables:
            made = make_catalogue(Path(folder) / "invented", tracks=given.tracks, users=20)
            tables = [made / "tracks.parquet"]
        print("\n| audio | shard, tracks/s | bare decoder, tracks/s | shard ÷ decoder |")
        print("|---|---|---|---|")
        for table in tables:
            measure(table, given.workers, given.rounds)


if __name__ == "__main__":
    main()
