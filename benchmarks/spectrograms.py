"""Patches a second from spectrogram shards, compared with FLAC shards of the same music.

    python -m benchmarks.spectrograms [--rounds 3] [--tracks 192] [--workers 2]

Both go through the same loader, with as many processes; a patch is 35 s. The floor is the path from
FLAC (benchmarks/input_path.py), after which the transform is still to be computed.
"""

import statistics
import tempfile
from pathlib import Path

import soundfile

from benchmarks.input_path import BATCH, SECONDS, flac
from benchmarks.sound import PATCH_SECONDS, RATE, Loader, dataset, fill, music, print_rows
from benchmarks.table import Row
from coldstart.audio.storage import content_of, store_facts
from coldstart.encoders.audio import Audio
from coldstart.encoders.spectrogram import Spectrogram

EPOCHS = 10
"""Epochs of spectrograms in a round: a single one is too short to time."""


def measure(rounds: int = 3, tracks: int = 192, workers: int = 2) -> list[Row]:
    """Patches/s of both loaders, in turn, and bytes of a track."""
    facts = store_facts("cqt", RATE, 1024, 96, 32.7, 8)
    sounds = [flac(seed) for seed in range(4)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spectrograms = []
        for seed in range(4):
            soundfile.write(folder / "a.flac", music(SECONDS, seed), RATE)
            spectrograms.append(content_of(folder / "a.flac", facts))
        shards = dataset(folder, tracks, shard_size=32)
        fill(shards, "audio.flac", sounds, "flac", {"sample_rate": RATE})
        fill(shards, "cqt.npy", spectrograms, "frames", facts)
        stored = Spectrogram(net="small", patch_seconds=PATCH_SECONDS)
        computed = Audio(net="small", patch_seconds=PATCH_SECONDS)
        stored_loader = Loader(folder, stored, BATCH, workers)
        flac_loader = Loader(folder, computed, BATCH, workers)
        stored_loader.rate(2)
        flac_loader.rate()
        ours, floor = [], []
        for _ in range(rounds):
            ours.append(stored_loader.rate(EPOCHS))
            floor.append(flac_loader.rate())
    rate, floor_rate = statistics.median(ours), statistics.median(floor)
    size, flac_size = len(spectrograms[0]), len(sounds[0])
    return [
        Row(
            f"spectrogram shards → 35 s patches, {workers} processes",
            f"{rate:,.0f} patches/s",
            f"FLAC shards: {floor_rate:.0f} patches/s",
            rate / floor_rate,
            "≥ 20",
        ),
        Row(
            "bytes of an 8-bit spectrogram",
            f"{size * 60 / SECONDS / 1e3:.0f} KB/min",
            f"FLAC: {flac_size * 60 / SECONDS / 1e3:,.0f} KB/min",
            size / flac_size,
            "–",
        ),
    ]


if __name__ == "__main__":
    print_rows(measure, __doc__, tracks=192, workers=2)
