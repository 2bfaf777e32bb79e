"""Many tars, in parallel and resumable: each with a note that says that it is written."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch

from coldstart.audio import report
from coldstart.errors import Broken, Fault, ItemError
from coldstart.files import remove_half, write_json
from coldstart.processes import OwnContext
from coldstart.reporting.progress import Progress
from coldstart.shards.format import Place
from coldstart.shards.sources import Source
from coldstart.shards.writing import write_tar

log = logging.getLogger(__name__)


class TarTask(NamedTuple):
    """One tar to be written, and the note that says what is in it."""

    tar: Path
    note: Path
    field: str
    encode: Callable[[Any], bytes | tuple[bytes, Any]]
    items: list[tuple[str, Any]]
    skip: bool
    reported: bool


Note = dict[str, Any]
"""Of a tar: how many `tracks` it has, the `broken` ones with reasons, and a `report`'s rows."""

TarRunner = Callable[[str, Source, Mapping[Place, TarTask]], Iterable[tuple[Place, Note]]]
"""What writes tars of a modality of this name, elsewhere than in processes of this machine."""


def task_of(source: Source, tar: Path, note: Path, tracks: Sequence[str], skip: bool) -> TarTask:
    """The task of a shard.

    Args:
        source: what the modality is made from.
        tar: to be written.
        note: to be written after it.
        tracks: ids of the shard's tracks, in order.
        skip: whether broken items are left out.
    """
    items = [(track, source.items[track]) for track in tracks if track in source.items]
    return TarTask(tar, note, source.field, source.encode, items, skip, source.reported)


def notes_of(
    name: str, source: Source, tasks: Mapping[Place, TarTask], broken: Broken
) -> dict[Place, Note]:
    """The notes of those tars that an earlier job, which was interrupted, has written."""
    notes = {
        place: json.loads(task.note.read_text(encoding="utf-8"))
        for place, task in tasks.items()
        if _is_written(task)
    }
    for note in notes.values():
        broken.add(faults_of(source.file, name, note))
    if notes:
        log.info(f"{name}: {len(notes)} shards exist already; the others follow")
    return notes


def write_tars(
    name: str,
    source: Source,
    tasks: Mapping[Place, TarTask],
    notes: Mapping[Place, Note],
    workers: int | None,
    broken: Broken,
    runner: TarRunner | None = None,
) -> dict[Place, Note]:
    """Write the tars that have no note yet.

    Args:
        name: of the modality.
        source: what it is made from.
        tasks: of all shards.
        notes: of those that are written already.
        workers: processes; None: one a core.
        broken: collects broken items; without skipping, the first one raises.
        runner: writes them elsewhere; None: processes of this machine do.

    Returns:
        The notes of all tasks.
    """
    all_notes = dict(notes)
    rest = {place: task for place, task in tasks.items() if place not in notes}
    if runner is not None:
        for place, note in runner(name, source, rest):
            broken.add(faults_of(source.file, name, note))
            all_notes[place] = note
        return all_notes
    total = sum(len(task.items) for task in rest.values())
    with Progress(f"sharding {name}", total, "tracks") as display:
        for place, note in _run(rest, workers if source.costly else 1, display):
            broken.add(faults_of(source.file, name, note))
            all_notes[place] = note
    return all_notes


def _is_written(task: TarTask) -> bool:
    """Whether tar and note exist; a note of an earlier version has no rows of a report."""
    if not (task.note.is_file() and task.tar.is_file()):
        return False
    return not task.reported or "report" in json.loads(task.note.read_text(encoding="utf-8"))


def faults_of(file: str, name: str, note: Mapping[str, Any]) -> list[Fault]:
    """The broken items of a tar, as people are told of them.

    Args:
        file: name of the table that names them.
        name: of the modality.
        note: of the tar.
    """
    return [Fault(file, None, f"track {track!r}", name, reason) for track, reason in note["broken"]]


def write_shard(task: TarTask, display: Progress | None = None) -> Note:
    """Write one tar and its note; in a worker process, nobody counts its tracks."""
    broken: list[tuple[str, str]] = []
    rows: list[dict[str, Any]] = []

    def members() -> Iterator[tuple[str, dict[str, bytes]]]:
        for track, item in task.items:
            if display is not None:
                display.add()
            try:
                content = task.encode(item)
            except ItemError as error:
                broken.append((track, f"{Path(item).name}: {error}"))
                if not task.skip:
                    raise
                if task.reported:
                    rows.append(report.row_of(track, Path(item).name, None, str(error)))
                continue
            if isinstance(content, tuple):
                content, finding = content
                rows.append(report.row_of(track, Path(item).name, finding))
            yield track, {task.field: content}

    try:
        count = write_tar(task.tar, members())
    except ItemError:
        return {"broken": broken}
    note: Note = {"tracks": count, "broken": broken}
    if task.reported:
        note["report"] = rows
    write_json(task.note, note)
    return note


def _run(
    tasks: Mapping[Place, TarTask], workers: int | None, display: Progress
) -> Iterator[tuple[Place, Note]]:
    """Run the tasks, in processes if that is worth it, and yield notes as they come."""
    for task in tasks.values():
        for temporary in task.tar.parent.glob(f".{task.tar.stem}.*"):
            remove_half(temporary)
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from ((place, write_shard(task, display)) for place, task in tasks.items())
        return
    with ProcessPoolExecutor(workers, OwnContext(), _begin_worker) as pool:
        futures = {pool.submit(write_shard, task): place for place, task in tasks.items()}
        try:
            for future in as_completed(futures):
                display.add(len(tasks[futures[future]].items))
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """One thread, as there is a process for each core."""
    torch.set_num_threads(1)
