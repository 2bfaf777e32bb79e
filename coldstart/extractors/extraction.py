"""Many sound files → tables of vectors and tags; in parallel, resumable, in flat memory."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch

from coldstart.audio import report
from coldstart.audio.sound import AudioError
from coldstart.errors import Broken, Fault, InputError
from coldstart.extractors.base import Extractor, track_features
from coldstart.extractors.sound_files import SoundFile, fault_of, state_of
from coldstart.files import StrPath, atomic, fingerprint, reserved, writable, write_json
from coldstart.processes import one_thread
from coldstart.reporting.progress import Progress

log = logging.getLogger(__name__)

ABOUT, VECTORS, TAGS = "about.json", "vectors.parquet", "tags.parquet"
_PARTS = ".parts"

_SCHEMA: dict[str, Any] = {
    **report.SCHEMA,
    "windows": pl.Int64,
    "vector": pl.List(pl.Float32),
    "tags": pl.List(pl.Float32),
}
"""Columns of a part: a row a file, also of one that was left out."""

_TOLD = ["track_id", "file", "done", "doubts"]

_PARTS_AT_LEAST, _FILES_AT_MOST = 64, 16
"""A job that is killed loses the parts that it was at."""


class Extraction(NamedTuple):
    """What was extracted.

    Attributes:
        folder: to which it was written.
        extractor: its name.
        tracks: that have a vector.
        skipped: broken items that were left out.
        width: of a vector.
        tags: names of the tags.
        minutes: of sound.
        already: the same features of the same files were there: nothing was written.
    """

    folder: Path
    extractor: str
    tracks: int
    skipped: int
    width: int
    tags: tuple[str, ...]
    minutes: float
    already: bool


class _Chunk(NamedTuple):
    """Some files, and the part that is written of them."""

    files: list[SoundFile]
    part: Path


def extract_features(
    extractor: Extractor,
    files: Sequence[SoundFile],
    out: StrPath,
    broken: Broken,
    *,
    workers: int | None = None,
    overwrite: bool = False,
) -> Extraction:
    """Hear all files, and write `vectors.parquet`, `tags.parquet` and `audio_report.parquet`.

    The tables' rows are in the order of the files. `about.json` says what made them. Whatever was
    heard by an earlier call that was stopped isn't heard again, if neither the file nor the
    extractor has changed.

    Args:
        extractor: that hears.
        files: of the tracks.
        out: folder, new, or of an extraction that was stopped.
        broken: collects files that can't be used; without skipping, the first one raises.
        workers: files that are heard at a time; None: one a core.
        overwrite: replace features that were made of other files, or by another extractor.

    Raises:
        InputError: the folder has other features, a file can't be used, or none can.
    """
    folder = writable(out)
    about, source = extractor.about(), source_of(extractor, files)
    refusal = f"{folder}: another process is extracting into this folder; wait, or name another"
    with reserved(folder, refusal):
        if stored := _stored(folder, source, overwrite):
            shutil.rmtree(folder / _PARTS, ignore_errors=True)  # killed before it was removed
            return stored
        chunks = _chunks(files, about, folder / _PARTS)
        _hear_all(extractor, chunks, broken, workers)
        extraction = _joined(folder, chunks, extractor)._replace(skipped=len(broken.faults))
        facts = {key: value for key, value in extraction._asdict().items() if key != "folder"}
        write_json(folder / ABOUT, about | facts | {"source": source})
        shutil.rmtree(folder / _PARTS, ignore_errors=True)
    return extraction


def _chunks(files: Sequence[SoundFile], about: dict[str, Any], parts: Path) -> list[_Chunk]:
    """The files in order, some at a time."""
    size = min(_FILES_AT_MOST, max(1, len(files) // _PARTS_AT_LEAST))
    chunks = []
    for start in range(0, len(files), size):
        some = list(files[start : start + size])
        name = fingerprint(about, [state_of(file) for file in some])
        chunks.append(_Chunk(some, parts / f"{name}.parquet"))
    return chunks


def source_of(extractor: Extractor, files: Sequence[SoundFile]) -> str:
    """A hash of all that the features of these files depend on."""
    return fingerprint(extractor.about(), [state_of(file) for file in files])


def _stored(folder: Path, source: str, overwrite: bool) -> Extraction | None:
    """What is there already of the same files by the same extractor.

    Raises:
        InputError: there is something else, that isn't to be replaced.
    """
    path = folder / ABOUT
    if path.is_file():
        try:
            facts = json.loads(path.read_bytes())
            if facts["source"] == source and not overwrite:
                values = {name: facts[name] for name in Extraction._fields if name != "folder"}
                values |= {"already": True, "tags": tuple(values["tags"])}
                return Extraction(folder=folder, **values)
        except (ValueError, KeyError, TypeError) as error:
            log.info(f"{path}: not readable ({error})")
    present = [name for name in (ABOUT, VECTORS, TAGS) if (folder / name).exists()]
    if present and not overwrite:
        raise InputError(
            f"{folder}: {present[0]} is there already, made by another extractor or of other "
            "files; pass --overwrite to replace it, or name another folder"
        )
    return None


def _hear_all(
    extractor: Extractor, chunks: Sequence[_Chunk], broken: Broken, workers: int | None
) -> None:
    """Write the parts that aren't there yet."""
    rest = [chunk for chunk in chunks if not chunk.part.is_file()]
    for chunk in chunks:
        if chunk.part.is_file():
            broken.add(_faults(chunk, pl.read_parquet(chunk.part, columns=_TOLD).to_dicts()))
    if done := sum(len(chunk.files) for chunk in chunks) - sum(len(chunk.files) for chunk in rest):
        log.info(f"{done:,} files are heard already; the others follow")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    extractor.to(device)
    stop = threading.Event()

    def work(chunk: _Chunk) -> list[dict[str, Any]]:
        rows = list(_rows(extractor, chunk, broken.skip, stop))
        if not stop.is_set() and (broken.skip or not _faults(chunk, rows)):
            with atomic(chunk.part) as temporary:
                pl.DataFrame(rows, _SCHEMA, orient="row").write_parquet(temporary)
        return [{name: row[name] for name in _TOLD} for row in rows]

    total = sum(len(chunk.files) for chunk in rest)
    with Progress("extracting", total, "tracks") as display:
        for chunk, rows in _run(work, rest, workers, stop):
            for remark in report.remarks(rows):
                log.warning(remark)
            broken.add(_faults(chunk, rows))
            display.add(len(rows))


def _run(
    work: Callable[[_Chunk], list[dict[str, Any]]],
    chunks: Sequence[_Chunk],
    workers: int | None,
    stop: threading.Event,
) -> Iterator[tuple[_Chunk, list[dict[str, Any]]]]:
    """Do the work in threads, for decoders and nets leave Python to the others meanwhile."""
    count = max(1, min(workers or os.cpu_count() or 1, len(chunks)))
    with one_thread(), ThreadPoolExecutor(count) as pool:
        futures = {pool.submit(work, chunk): chunk for chunk in chunks}
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()  # nobody keeps it
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _rows(
    extractor: Extractor, chunk: _Chunk, skip: bool, stop: threading.Event
) -> Iterator[dict[str, Any]]:
    """A row a file, up to the first broken one if such aren't skipped."""
    for file in chunk.files:
        if stop.is_set():
            return
        try:
            features, windows, finding = track_features(extractor, file.path)
            if not (features.vectors.isfinite().all() and features.tags.isfinite().all()):
                raise AudioError("the extractor gives what is no finite number")
        except AudioError as error:
            yield report.row_of(file.track_id, file.path.name, None, str(error))
            if not skip:
                return
            continue
        yield report.row_of(file.track_id, file.path.name, finding) | {
            "windows": windows,
            "vector": features.vectors[0].tolist(),
            "tags": features.tags[0].tolist(),
        }


def _faults(chunk: _Chunk, rows: Sequence[dict[str, Any]]) -> list[Fault]:
    files = {file.track_id: file for file in chunk.files}
    return [
        fault_of(files[row["track_id"]], row["done"].removeprefix(report.LEFT_OUT))
        for row in rows
        if row["done"].startswith(report.LEFT_OUT)
    ]


def _joined(folder: Path, chunks: Sequence[_Chunk], extractor: Extractor) -> Extraction:
    """Write the tables from the parts, block by block."""
    none = f"{folder}: no file can be used; without --skip-broken, the first reason is shown"
    if not chunks:
        raise InputError(none)
    name = type(extractor).__name__
    rows = pl.scan_parquet([chunk.part for chunk in chunks], glob=False).with_columns(
        modality=pl.lit(name.lower())
    )
    heard = rows.filter(pl.col("vector").is_not_null())
    facts = heard.select(
        tracks=pl.len(),
        minutes=pl.col("seconds").sum() / 60,
        width=pl.col("vector").list.len().max(),
    ).collect(engine="streaming")
    tracks, minutes, width = facts.row(0)
    if not tracks:
        raise InputError(none)
    tables = {report.NAME: rows.select(list(report.SCHEMA))}
    if extractor.tag_names:
        columns = [
            pl.col("tags").list.get(number).alias(tag)
            for number, tag in enumerate(extractor.tag_names)
        ]
        tables[TAGS] = heard.select("track_id", *columns)
    tables[VECTORS] = heard.select("track_id", "vector")
    for old in (ABOUT, *({TAGS} - tables.keys())):  # what was there stays up to this moment
        (folder / old).unlink(missing_ok=True)
    for file, table in tables.items():
        with atomic(folder / file) as temporary:
            table.sink_parquet(temporary)
    return Extraction(
        folder=folder,
        extractor=name,
        tracks=tracks,
        skipped=0,
        width=width,
        tags=extractor.tag_names,
        minutes=round(minutes, 2),
        already=False,
    )
