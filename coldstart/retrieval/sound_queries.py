"""Many sound files as queries: where a run places them, and a list for each in one file."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import polars as pl
from torch import Tensor

from coldstart.audio.codec import AudioError
from coldstart.errors import Broken, InputError
from coldstart.extractors.sound_files import SoundFile, fault_of, state_of
from coldstart.files import StrPath, atomic, fingerprint, reserved
from coldstart.model.checkpoint import weights_id
from coldstart.processes import one_thread
from coldstart.reporting.progress import Progress
from coldstart.retrieval.batch import content_of_lists, new_file, sink
from coldstart.retrieval.hearing import Hearing
from coldstart.retrieval.recommender import ListOptions, Recommender
from coldstart.retrieval.unseen import UnseenTrack
from coldstart.runs.pieces import begin_job, piece_path, pieces_folder
from coldstart.runs.run import Run

AHEAD = 1024
"""Files that are heard before the oldest one's turn: one that is long holds up nobody."""

PART = 64
"""Files in a part of the job: so much is lost at most when it is killed."""

_SCHEMA: dict[str, Any] = {
    "query": pl.String,
    "rank": pl.Int64,
    "track_id": pl.String,
    "score": pl.Float64,
    "by": pl.String,
    "reason": pl.String,
}
"""Columns of a part: a file that can't be used has one row, with the reason."""


class HeardFile(NamedTuple):
    """What came of a file.

    Attributes:
        file: id and path.
        vector: [K]; None if it can't be used.
        reason: why not; empty if it can.
    """

    file: SoundFile
    vector: Tensor | None
    reason: str


class FileLists(NamedTuple):
    """What was written.

    Attributes:
        path: the file.
        rows: number of recommendations.
        files: sound files with a list.
        skipped: those that were left out.
        candidates: number of tracks that could be recommended.
        seconds: wall time, of this call alone if the job was resumed.
    """

    path: Path
    rows: int
    files: int
    skipped: int
    candidates: int
    seconds: float


def hear_files(
    run: Run, files: Sequence[SoundFile], workers: int | None = None
) -> Iterator[HeardFile]:
    """Where a run places sound files, as `hear` does, several at a time.

    Each is decoded once; its samples are kept only as long as it is heard. Memory is flat, however
    many files there are and however long.

    Args:
        run: a fitted run.
        files: such as `sound_files` gives.
        workers: files that are heard at a time; None: one a core.

    Yields:
        Each file, in the order given.

    Raises:
        InputError: the model hears nothing, or what it needs can't be had.
    """
    hearing = Hearing(run)
    count = max(1, min(workers or os.cpu_count() or 1, len(files)))
    waiting: deque[Future[HeardFile]] = deque()
    # Threads: decoders and nets leave Python to the others meanwhile, and a net is loaded once.
    with one_thread() if count > 1 else nullcontext(), ThreadPoolExecutor(count) as pool:
        try:
            for file in files:
                waiting.append(pool.submit(_heard, hearing, file))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _heard(hearing: Hearing, file: SoundFile) -> HeardFile:
    try:
        vector = hearing.place(UnseenTrack(audio=file.path))
    except AudioError as error:
        return HeardFile(file, None, str(error))
    if not (vector.isfinite().all() and vector.any()):
        return HeardFile(file, None, "the model gives it no place: its vector is zero, or infinite")
    return HeardFile(file, vector, "")


def recommend_for_files(
    recommender: Recommender,
    files: Sequence[SoundFile],
    out: StrPath,
    broken: Broken,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    **options: Unpack[ListOptions],
) -> FileLists:
    """Write a list of tracks like each sound file; a job that was interrupted is continued.

    Parts are kept beside the file, in a folder `<out>.parts`, until all are there.

    Args:
        recommender: of a run that hears.
        files: such as `sound_files` gives.
        out: file to write: .parquet, .csv or .jsonl. Its columns are query (the file's id), rank
            (1 is best), track_id, score, and by (`plays`, `content` or `both`).
        broken: collects files that can't be used; without skipping, the first one raises.
        workers: files that are heard at a time; None: one a core.
        overwrite: replace the file if it exists.
        options: see `ListOptions`.

    Raises:
        InputError: the file exists or has another ending, a sound file is broken or none can be
            used, the model hears nothing, or choices leave nothing.
    """
    start, out = time.perf_counter(), new_file(out, overwrite)
    selection, k, mix = recommender.plan(**options)
    model = recommender.run.model
    states = [state_of(file) for file in files]
    content = content_of_lists(recommender, selection)
    job = fingerprint(states, weights_id(model), content, k, *mix)
    parts = pieces_folder(out)
    with reserved(parts, f"{out}: another job is writing this file; wait until it ends"):
        begin_job(parts, job)
        _write_parts(parts, recommender, files, broken, workers, options)
        result = pl.scan_parquet(parts / "*.parquet").filter(pl.col("rank").is_not_null())
        counts = result.select(rows=pl.len(), files=pl.col("query").n_unique()).collect()
        rows, heard = counts.row(0)
        if not heard:
            raise InputError(
                f"{out}: not written, for none of the {len(files):,} files can be used"
            )
        with atomic(out) as temporary:
            sink(result.drop("reason"), temporary, out.suffix.lower())
    shutil.rmtree(parts)
    seconds = time.perf_counter() - start
    return FileLists(out, rows, heard, len(files) - heard, len(selection), seconds)


def _write_parts(
    parts: Path,
    recommender: Recommender,
    files: Sequence[SoundFile],
    broken: Broken,
    workers: int | None,
    options: ListOptions,
) -> None:
    """Write the parts that aren't there yet."""
    chunks = {
        piece_path(parts, number): files[first : first + PART]
        for number, first in enumerate(range(0, len(files), PART))
    }
    for path, chunk in chunks.items():
        if path.is_file():
            told = pl.read_parquet(path, columns=["query", "reason"]).drop_nulls()
            reasons = dict(told.iter_rows())
            broken.add(fault_of(f, reasons[f.track_id]) for f in chunk if f.track_id in reasons)
    rest = {path: chunk for path, chunk in chunks.items() if not path.is_file()}
    files = [file for chunk in rest.values() for file in chunk]
    heard = hear_files(recommender.run, files, workers)
    with Progress("hearing", len(files), "files") as display:
        for path, chunk in rest.items():
            rows: list[tuple[Any, ...]] = []
            for _, (file, vector, reason) in zip(chunk, heard, strict=False):
                display.add()
                if vector is None:
                    broken.add([fault_of(file, reason)])
                    rows.append((file.track_id, None, None, None, None, reason))
                    continue
                rows += [
                    (file.track_id, each.rank, each.track_id, each.similarity, each.by, None)
                    for each in recommender.near(vector, **options)
                ]
            with atomic(path) as temporary:
                pl.DataFrame(rows, _SCHEMA, orient="row").write_parquet(temporary)
