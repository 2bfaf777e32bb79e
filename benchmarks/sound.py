"""What the benchmarks of sound share: invented music, shards of it, and the rate of a loader."""

import argparse
import contextlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from benchmarks.table import Row, markdown
from coldstart.commands.shard import shard
from coldstart.data.datamodule import ColdStartData
from coldstart.encoders.base import Encoder
from coldstart.factors.factors import VERSION, Factors
from coldstart.sample import folder_of
from coldstart.shards.reading import Shards
from coldstart.shards.writing import list_modality, write_tar
from coldstart.training.lightning_module import ColdStart

RATE = 22_050
PATCH_SECONDS = 35


def music(seconds: float, seed: int) -> NDArray[np.float32]:
    """Notes that fade, and noise: FLAC needs about as many bits for it as for records."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * RATE)) / RATE
    wave = 0.01 * generator.standard_normal(len(time_s))
    for pitch in 110 * 2 ** (generator.integers(0, 48, 6) / 12):
        beat = generator.uniform(0.3, 1.2)
        wave += 0.12 * np.sin(2 * np.pi * pitch * time_s) * np.exp(-3 * (time_s % beat))
    return wave.astype(np.float32)


def dataset(folder: Path, tracks: int, shard_size: int) -> Shards:
    """Training tracks without content, and random factors for them."""
    ids = [f"t{i:05d}" for i in range(tracks)]
    pl.DataFrame({"track_id": ids, "title": ids, "artist": ids}).write_csv(folder / "tracks.csv")
    pl.DataFrame({"track_id": ids, "split": "train"}).write_csv(folder / "splits.csv")
    Factors(
        track_ids=ids,
        user_ids=["u"],
        tracks=np.random.default_rng(0).normal(size=(tracks, 32)).astype(np.float32),
        users=np.ones((1, 32), dtype=np.float32),
        folded=np.zeros(tracks, dtype=bool),
        split=np.full(tracks, "train"),
        listens=csr_matrix(np.zeros((1, tracks), dtype=np.float32)),
        about={
            "version": VERSION,
            "protocol": "benchmark",
            "algorithm": "implicit",
            "factors": 32,
            "regularization": 0.01,
        },
    ).save(folder / "factors")
    with contextlib.redirect_stdout(io.StringIO()):  # a benchmark prints its rows alone
        return shard(
            folder / "tracks.csv",
            out=folder / "shards",
            splits=folder / "splits.csv",
            modalities=[],
            shard_size=shard_size,
        )


def fill(
    shards: Shards, field: str, contents: Sequence[bytes], codec: str, facts: Mapping[str, Any]
) -> None:
    """Add a modality in which the tracks have these contents in turn: encoding one for each track
    would take long.
    """
    name = folder_of(field)
    counts: list[int] = []
    for number in range(len(shards.shard_sizes("train"))):
        tracks = shards.tracks("train", number)
        members = [
            (track["track_id"], {field: contents[i % len(contents)]})
            for i, track in enumerate(tracks)
        ]
        counts.append(write_tar(shards.tar(name, "train", number), members))
    sizes = {"train": counts, "val": [], "test": []}
    list_modality(shards, name, {"fields": {field: codec}, "shards": sizes, "source": "", **facts})


class Loader:
    """A training loader whose worker processes stay alive between epochs, as in a fit."""

    def __init__(self, folder: Path, encoder: Encoder, batch_size: int, workers: int) -> None:
        data = ColdStartData(
            str(folder / "shards"), str(folder / "factors"), batch_size, workers=workers
        )
        model = ColdStart({"sound": encoder})
        model.build(data.info)
        data.lend(model.lend())
        self.batches = data.batches(["train"], training=True)

    def rate(self, epochs: int = 1) -> float:
        """Patches a second."""
        began, patches = time.perf_counter(), 0
        for _ in range(epochs):
            patches += sum(len(batch.track_ids) for batch in self.batches)
        return patches / (time.perf_counter() - began)


def print_rows(measure: Callable[..., list[Row]], about: str | None, **options: int) -> None:
    """A benchmark's command line: `--rounds`, and its own integers with their defaults."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    for name, default in {"rounds": 3, **options}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    print(markdown(measure(**vars(parser.parse_args()))))
