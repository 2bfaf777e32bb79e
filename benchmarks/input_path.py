"""From FLAC shards to batches of 35 s patches, compared with the bare decoder.

    python -m benchmarks.input_path [--rounds 3] [--tracks 256] [--workers 2]

The floor is soundfile on the same bytes and windows of the same length, in as many processes: it
decodes and throws away. Ours reads the tars, shuffles, draws and decodes windows, and hands
batches to the process that would train.
"""

import io
import multiprocessing
import random
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import soundfile

from benchmarks.sound import PATCH_SECONDS, RATE, Loader, dataset, fill, music, print_rows
from benchmarks.table import Row
from coldstart.encoders.audio import Audio

SECONDS = 120
BATCH = 16


def flac(seed: int) -> bytes:
    """A track of the catalogue."""
    buffer = io.BytesIO()
    soundfile.write(buffer, music(SECONDS, seed), RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


@cache
def contents_of(seeds: tuple[int, ...]) -> list[bytes]:
    """The bytes that a process of the floor decodes, encoded before it is timed."""
    return [flac(seed) for seed in seeds]


def decode(seeds: tuple[int, ...], patches: int) -> int:
    """The bare decoder: windows at random places, and nothing else."""
    frames, contents = 0, contents_of(seeds)
    for i in range(patches):
        with soundfile.SoundFile(io.BytesIO(contents[i % len(contents)])) as file:
            file.seek(random.randint(0, file.frames - PATCH_SECONDS * RATE))
            frames += len(file.read(PATCH_SECONDS * RATE, dtype="float32"))
    return frames


class Floor:
    """Processes that decode; started and warmed up beforehand."""

    def __init__(self, seeds: tuple[int, ...], workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pools = [ProcessPoolExecutor(1, mp_context=context) for _ in range(workers)]
        self.seeds = seeds
        self.rate(len(seeds))

    def rate(self, patches: int) -> float:
        """Patches a second."""
        share = patches // len(self.pools)
        began = time.perf_counter()
        for future in [pool.submit(decode, self.seeds, share) for pool in self.pools]:
            future.result()
        return share * len(self.pools) / (time.perf_counter() - began)

    def close(self) -> None:
        for pool in self.pools:
            pool.shutdown()


def measure(rounds: int = 3, tracks: int = 256, workers: int = 2) -> list[Row]:
    """Patches/s of the loader and of the bare decoder, in turn."""
    seeds = tuple(range(4))
    with tempfile.TemporaryDirectory() as name:
        shards = dataset(Path(name), tracks, shard_size=32)
        fill(shards, "audio.flac", contents_of(seeds), "flac", {"sample_rate": RATE})
        floor = Floor(seeds, workers)
        loader = Loader(Path(name), Audio(net="small", patch_seconds=PATCH_SECONDS), BATCH, workers)
        loader.rate()
        ours, bare = [], []
        for _ in range(rounds):
            ours.append(loader.rate())
            bare.append(floor.rate(tracks))
        floor.close()
    rate, floor_rate = statistics.median(ours), statistics.median(bare)
    return [
        Row(
            f"FLAC shards → 35 s patches, {workers} processes",
            f"{rate:.0f} patches/s",
            f"bare decoder: {floor_rate:.0f} patches/s",
            rate / floor_rate,
            "≥ 0.8",
        )
    ]


if __name__ == "__main__":
    print_rows(measure, __doc__, tracks=256, workers=2)
