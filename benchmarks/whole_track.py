"""A three-minute mp3 to its factor vector, and a folder of mp3s, compared with their parts.

    python -m benchmarks.whole_track [--rounds 3] [--files 12] [--workers 2]

The floor of one file is decode + transform + net, each measured alone: the mp3 to mono samples at
the model's rate, the spectrograms of the windows that the model hears, and the net on those. The
floor of a folder is decoding its files in as many processes as there are workers, and the other
two for each file. Ours is `hear` (`recommend --audio`) on one core, and for a folder `shard` and
`embed` on all.
"""

import contextlib
import io
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import soundfile
import soxr
import torch

from benchmarks.sound import RATE, dataset, fill, music, print_rows
from benchmarks.table import Row
from coldstart.audio.codec import blocks, to_flac
from coldstart.commands.shard import shard
from coldstart.data.datamodule import ColdStartData
from coldstart.encoders.audio import Audio
from coldstart.retrieval.hearing import WINDOWS, hear
from coldstart.retrieval.model_methods import embed
from coldstart.runs.run import Run
from coldstart.training.lightning_module import ColdStart

SECONDS = 180
FEW = 8
"""Files that fill a batch: with more of them, memory must not grow."""


def seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def mp3(path: Path) -> None:
    """Stereo at 44.1 kHz, as files are."""
    wave = soxr.resample(music(SECONDS, 0), RATE, 44_100)
    soundfile.write(path, np.stack([wave, wave], axis=1), 44_100)


def fitted(folder: Path, content: bytes) -> Run:
    """A run with a small, untrained net: the smaller the net, the more our own overhead shows."""
    shards = dataset(folder, 4, shard_size=4)
    fill(shards, "audio.flac", [content], "flac", {"sample_rate": RATE})
    data = ColdStartData(str(folder / "shards"), str(folder / "factors"))
    model = ColdStart({"audio": Audio(net="small")})
    model.build(data.info)
    data.lend(model.lend())
    places: dict[str, str | None] = {"shards": str(folder / "shards"), "factors": None}
    return Run(folder, model.eval(), data, True, places)


class Parts:
    """The least work that one file needs, each part alone."""

    def __init__(self, run: Run, content: bytes) -> None:
        pipeline = run.data.pipeline()
        sample = {"track_id": "a", "shard": "no shard", "audio.flac": content}
        values = pipeline.collate(list(pipeline.pieces([sample]))).inputs["audio"].values
        encoder = run.model.encoders["audio"]
        assert isinstance(encoder, Audio)
        self.encoder = encoder
        self.windows = values.split(WINDOWS)
        with torch.inference_mode():
            self.levels = [self.encoder.spectrogram(some) for some in self.windows]

    def seconds(self) -> float:
        """Of transform and net."""
        encoder = self.encoder
        with torch.inference_mode():
            transform = seconds(lambda: [encoder.spectrogram(some) for some in self.windows])
            net = seconds(lambda: [encoder.out(encoder.net(some)) for some in self.levels])
        return transform + net


def decode(path: str) -> int:
    return sum(map(len, blocks(path)))


def embedded(run: Run, table: Path, out: Path, workers: int) -> int:
    """Vectors of all files of a table."""
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        shards = shard(table, out=out, workers=workers)
        predictions = embed(run.model, shards)
    shutil.rmtree(out)
    return len(predictions.track_ids)


def peak() -> float:
    """MB of the largest process so far."""
    processes = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(process).ru_maxrss for process in processes) / 1e3


def folder_of(folder: Path, source: Path, files: int) -> Path:
    """A table of links to one file."""
    folder.mkdir()
    names = [f"{i}.mp3" for i in range(files)]
    for name in names:
        (folder / name).symlink_to(source)
    columns = {"track_id": names, "title": names, "artist": names, "audio": names}
    pl.DataFrame(columns).write_csv(folder / "tracks.csv")
    return folder / "tracks.csv"


def measure(rounds: int = 3, files: int = 12, workers: int = 2) -> list[Row]:
    """One file, and a folder of `files`; the folder is measured once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source.mp3"
        mp3(source)
        content = to_flac(source)
        run = fitted(folder, content)
        parts = Parts(run, content)
        cores = torch.get_num_threads()
        torch.set_num_threads(1)
        hear(run, source)
        parts.seconds()
        ours, floor = [], []
        for _ in range(rounds):
            ours.append(seconds(lambda: hear(run, source)))
            floor.append(seconds(lambda: decode(str(source))) + parts.seconds())
        torch.set_num_threads(cores)
        few = folder_of(folder / "few", source, FEW)
        many = folder_of(folder / "many", source, files)
        embedded(run, few, folder / "out", workers)
        before = peak()
        folder_seconds = seconds(lambda: embedded(run, many, folder / "out", workers))
        after = peak()
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            list(pool.map(decode, [str(source)] * workers))
            least = seconds(lambda: list(pool.map(decode, [str(source)] * files)))
        least += seconds(lambda: [parts.seconds() for _ in range(files)])
    file_seconds, parts_seconds = statistics.median(ours), statistics.median(floor)
    return [
        Row(
            "3-minute mp3 → vector",
            f"{file_seconds:.2f} s",
            f"decode + transform + net: {parts_seconds:.2f} s",
            file_seconds / parts_seconds,
            "≤ 1.5",
        ),
        Row(
            f"folder of {files} such files → vectors, {workers} processes",
            f"{folder_seconds / files:.2f} s/file",
            f"the same parts: {least / files:.2f} s/file",
            folder_seconds / least,
            "≤ 1.5",
        ),
        Row(
            f"largest process, {files} files (floor: {FEW} files)",
            f"{after:.0f} MB",
            f"{before:.0f} MB",
            after / before,
            "≤ 1.1",
        ),
    ]


if __name__ == "__main__":
    print_rows(measure, __doc__, files=12, workers=2)
