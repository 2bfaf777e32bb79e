"""A folder of sound files heard by MusiCNN on all cores, beside decode and net alone.

    python -m benchmarks.extraction [--rounds 3] [--files 12] [--seconds 60] [--workers 2]

The floor decodes whole files with libsndfile, resamples them with soxr, and runs the net on their
windows, in as many processes as there are workers, without checks, reports and files. Its weights
must be in the cache (`coldstart extract MusiCNN`).
"""

import contextlib
import io
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import soundfile
import soxr
import torch

from benchmarks.sound import RATE, music, print_rows
from benchmarks.table import Row, in_turn
from coldstart.commands.extract import extract
from coldstart.extractors.base import BATCH, Extractor, open_extractor

_kept: list[Extractor] = []


def begin() -> None:
    """Of a process of the floor: the net, ready."""
    torch.set_num_threads(1)
    _kept.append(open_extractor("MusiCNN", {}))


def bare(path: Path) -> int:
    """Decode, resample, net; gives the number of windows."""
    (extractor,) = _kept
    wave, rate = soundfile.read(path, dtype="float32")
    wave = soxr.resample(wave, rate, extractor.rate)
    count = len(wave) // extractor.window
    windows = torch.from_numpy(wave[: count * extractor.window].reshape(count, -1))
    with torch.inference_mode():
        for batch in windows.split(BATCH):
            extractor.hear(batch)
    return count


def floor(paths: list[Path], workers: int) -> float:
    """Seconds for all files, once the processes are ready."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, begin) as pool:
        list(pool.map(bare, paths[:workers]))
        began = time.perf_counter()
        list(pool.map(bare, paths))
        return time.perf_counter() - began


def ours(folder: Path, root: Path, workers: int) -> float:
    """Seconds of the verb's function, once the net is loaded."""
    out = Path(tempfile.mkdtemp(dir=root)) / "heard"
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        extract("MusiCNN", audio=[str(folder)], out=out, workers=workers)
    return time.perf_counter() - began


def measure(rounds: int = 3, files: int = 12, seconds: int = 60, workers: int = 2) -> list[Row]:
    """Rows for one worker and for several."""
    with tempfile.TemporaryDirectory(prefix="coldstart-") as root:
        folder = Path(root) / "music"
        folder.mkdir()
        paths = [folder / f"{i}.mp3" for i in range(files)]
        for i, path in enumerate(paths):
            soundfile.write(path, music(seconds, i), RATE)
        rows = []
        for count in sorted({1, workers}):
            times = in_turn(
                partial(ours, folder, Path(root), count), partial(floor, paths, count), rounds
            )
            rows.append(times.row(f"{files} mp3s of {seconds} s, {count} at a time", "≤ 1.3"))
        return rows


if __name__ == "__main__":
    print_rows(measure, __doc__, files=12, seconds=60, workers=2)
