"""A folder of three-minute mp3s to their factor vectors, compared with decoder and net alone.

    python -m benchmarks.whole_track [--rounds 3] [--files 24] [--workers 2]

Ours is `hear_files` (`recommend --audio FOLDER --out FILE`), through a run's own nets and through
an extractor. The floor decodes whole files with libsndfile, mixes and resamples them with soxr, and
runs the bare net on the same windows, in as many processes as there are workers: without checks of
the sound, without what comes after the net. The runs are fitted for two epochs on little sound: the
smaller a net, the more our own overhead shows. With BENCH_CLOCK=cpu the processor time of all
processes is compared.

Memory is that of a process of its own: a folder beside a few files, and an hour beside 3 minutes.
"""

import contextlib
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from benchmarks.sound import RATE, music, print_rows
from benchmarks.table import Row, Times, in_turn, now
from coldstart.cli import main
from coldstart.encoders.patches import PatchEncoder, PatchReader
from coldstart.extractors.base import BATCH, Extractor, windows_of
from coldstart.extractors.sound_files import SoundFile
from coldstart.processes import one_thread
from coldstart.retrieval.hearing import WINDOWS, hear
from coldstart.retrieval.sound_queries import hear_files
from coldstart.runs.extracted import opened
from coldstart.runs.run import Run, open_run

SECONDS = 180
RATE_OF_FILES = 44_100
FEW = 8
"""Files after which memory must not grow."""

FLAGS = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.workers=0"]
MFCC = "model: {encoders: {mfcc: {class_path: Embedding, init_args: {modality: mfcc}}}}"
RUNS = {
    "audio_small.yaml": ["--config=audio_small.yaml"],
    "the same, windows that overlap by half": [
        "--config=audio_small.yaml",
        "--model.encoders.audio.hop=0.5",
    ],
    "waveform_small.yaml": ["--config=waveform_small.yaml"],
    "MFCC's vectors": ["--config=mfcc.yaml"],
}


def mp3(path: Path) -> None:
    """Stereo at 44.1 kHz, as files are."""
    wave = soxr.resample(music(SECONDS, 0), RATE, RATE_OF_FILES)
    soundfile.write(path, np.stack([wave, wave], axis=1), RATE_OF_FILES)


def flac(path: Path, times: int) -> None:
    """Three minutes, so many times: an hour is written in seconds."""
    wave = music(SECONDS, 0)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(times):
            file.write(wave)


def fitted(folder: Path) -> dict[str, Path]:
    """Runs, fitted on 40 short tracks."""
    ids = [f"t{number:02}" for number in range(40)]
    (folder / "audio").mkdir()
    for number, track in enumerate(ids):
        soundfile.write(folder / "audio" / f"{track}.flac", music(11 + number % 5, number), RATE)
    audio = [f"audio/{track}.flac" for track in ids]
    tracks = {"track_id": ids, "title": ids, "artist": ids, "audio": audio}
    pl.DataFrame(tracks).write_csv(folder / "tracks.csv")
    generator = np.random.default_rng(0)
    listens = np.argwhere(generator.random((60, len(ids))) < 0.4).tolist()
    log = {"user_id": [f"u{u}" for u, _ in listens], "track_id": [ids[t] for _, t in listens]}
    pl.DataFrame(log).write_csv(folder / "listens.csv")
    (folder / "mfcc.yaml").write_text(MFCC)
    shards = ["shard", "tracks.csv", "--splits=splits.csv", "--out=shards"]
    data = ["--data.shards=shards", "--data.factors=factors", *FLAGS]
    with contextlib.chdir(folder):
        verb("split", "tracks.csv", "--out=splits.csv")
        verb("factorize", "listens.csv", "--splits=splits.csv", "--out=factors", "--factors=16")
        verb(*shards)
        verb(*shards, "--extract=MFCC")
        for number, flags in enumerate(RUNS.values()):
            verb("fit", *flags, f"--run=run{number}", *data)
    return {name: folder / f"run{number}" for number, name in enumerate(RUNS)}


def verb(*args: str) -> None:
    """A command, of which nothing is seen unless it fails: a benchmark prints its rows alone."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(list(args))
    if status != 0:
        raise RuntimeError(f"coldstart {' '.join(args)}: {said.getvalue()}")


# The floor

kept: list[Callable[[NDArray[np.float32]], None]] = []


def begin(run: Path) -> None:
    """Of a process of the floor: the net, or the extractor, ready."""
    torch.set_num_threads(1)
    model = open_run(run).model
    ((name, (_, reader)),) = model.lend().readers.items()
    encoder = model.encoders[name]
    if isinstance(encoder, PatchEncoder) and isinstance(reader, PatchReader):
        kept.append(partial(encode_all, encoder, reader))
    else:
        kept.append(partial(hear_all, opened(model.facts[name])))


def bare(path: Path) -> float:
    """Decode, mix, resample, net; gives the processor time."""
    began = time.process_time()
    stereo, rate = soundfile.read(path, dtype="float32", always_2d=True)
    wave = soxr.resample((stereo[:, 0] + stereo[:, 1]) / 2, rate, RATE)  # MFCC's, too
    with torch.inference_mode():
        kept[0](wave)
    return time.process_time() - began


def encode_all(encoder: PatchEncoder, reader: PatchReader, wave: NDArray[np.float32]) -> None:
    """The windows that the model hears, as many at once as ours."""
    starts = reader._covering_starts(len(wave) - reader.size)
    for first in range(0, len(starts), WINDOWS):
        some = [wave[start : start + reader.size] for start in starts[first : first + WINDOWS]]
        encoder.encode(torch.from_numpy(np.stack(some)))


def hear_all(extractor: Extractor, wave: NDArray[np.float32]) -> None:
    windows = torch.from_numpy(np.stack(list(windows_of([wave], extractor.window))))
    for some in windows.split(BATCH):
        extractor.hear(some)


def floor(pool: ProcessPoolExecutor, paths: list[Path]) -> float:
    """Seconds of ready processes, by the clock that counts."""
    began = time.perf_counter()
    processor = sum(pool.map(bare, paths))
    return processor if clock_is_cpu() else time.perf_counter() - began


def clock_is_cpu() -> bool:
    return os.environ.get("BENCH_CLOCK", "wall") == "cpu"


# Ours


def ours(run: Run, paths: list[Path], workers: int) -> float:
    began = now()
    heard = hear_files(run, [SoundFile(path.stem, path, "music") for path in paths], workers)
    if any(each.vector is None for each in heard):
        raise RuntimeError("a file can't be used")
    return now() - began


def alone(run: Run, paths: list[Path]) -> float:
    """One after the other, as `recommend --audio FILE` hears one."""
    began = now()
    with one_thread():
        for path in paths:
            hear(run, path)
    return now() - began


def peak(run: Path, path: Path, files: int, workers: int) -> float:
    """MB of a process that hears a file so many times."""
    module = [sys.executable, "-m", "benchmarks.whole_track"]
    done = subprocess.run(
        [*module, "--peak", str(run), str(path), str(files), str(workers)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def print_peak(run: str, path: str, files: str, workers: str) -> None:
    ours(open_run(run), [Path(path)] * int(files), int(workers))
    # Not getrusage, whose peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1e3)


def beside(
    work: Callable[[], float], run: Path, paths: list[Path], workers: int, rounds: int
) -> Times:
    """Ours and the floor in turn, once both are warm."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, begin, (run,)) as pool:
        list(pool.map(bare, paths[: 2 * workers]))
        work()
        return in_turn(work, partial(floor, pool, paths), rounds)


def measure(rounds: int = 3, files: int = 24, workers: int = 2) -> list[Row]:
    """A folder for each run; one file alone; memory."""
    with tempfile.TemporaryDirectory(prefix="coldstart-") as name:
        folder = Path(name)
        source, minutes, hour = (folder / each for each in ("a.mp3", "b.flac", "c.flac"))
        mp3(source)
        flac(minutes, 1)
        flac(hour, 3600 // SECONDS)
        runs = fitted(folder)
        rows: list[Row] = []
        for what, place in runs.items():
            run, paths = open_run(place), [source] * files
            item = f"{files} mp3s of 3 minutes → vectors, {what}"
            if not rows:
                times = beside(partial(alone, run, paths), place, paths, 1, rounds)
                rows.append(times.row(f"{item}, by `hear`, one core", "≤ 1.5"))
            times = beside(partial(ours, run, paths, workers), place, paths, workers, rounds)
            rows.append(times.row(f"{item}, {workers} at a time", "≤ 1.3"))
        half = runs["the same, windows that overlap by half"]
        few, many = (peak(half, source, count, workers) for count in (FEW, files))
        short, long = (peak(half, path, 1, 1) for path in (minutes, hour))
    for item, more, less in ((f"{files} files", many, few), ("an hour-long file", long, short)):
        least = f"{FEW} files" if more is many else "one of 3 minutes"
        rows.append(
            Row(
                f"memory, {item} (floor: {least})",
                f"{more:.0f} MB",
                f"{less:.0f} MB",
                more / less,
                "≤ 1.1",
            )
        )
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        print_peak(*sys.argv[2:])
    else:
        print_rows(measure, __doc__, files=24, workers=2)
