"""Making a dataset of shards, in parallel and resumable."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from coldstart.audio import report
from coldstart.errors import Broken, Fault, InputError, ItemError
from coldstart.files import StrPath, fingerprint, write_json
from coldstart.processes import OwnContext
from coldstart.shards.format import VERSION
from coldstart.shards.reading import Shards
from coldstart.shards.sources import Source
from coldstart.shards.units import dominant_columns, small_columns
from coldstart.shards.writing import (
    changing,
    list_modality,
    vector_statistics,
    write_dataset,
    write_tar,
)
from coldstart.tables.splits import SPLITS, read_splits

log = logging.getLogger(__name__)

REMARKS = 10
"""Files that are named on the terminal; the report has all of them."""


def place_tracks(
    table: pl.DataFrame,
    splits: StrPath | None,
    out: Path,
    shard_size: int,
    seed: int,
) -> Shards:
    """Decide which track lies in which shard; an existing dataset has decided it already.

    Args:
        table: of the tracks.
        splits: table of track_id and split; None: all tracks of a new dataset are `test`.
        out: folder of the dataset; written to if there is no dataset yet.
        shard_size: tracks in a shard.
        seed: of the tracks' order within a split.

    Returns:
        The dataset, without modalities if it is new.

    Raises:
        InputError: a track has no split, or isn't in the existing dataset, or on another side.
    """
    ids = table["track_id"].to_list()
    sides: dict[str, str] | None = dict(read_splits(splits).iter_rows()) if splits else None
    if (out / "dataset.json").is_file():
        dataset = Shards(out)
        _check_places(dataset, ids, sides, splits)
        return dataset
    if sides is None:
        side_of = dict.fromkeys(ids, "test")
    elif missing := [track for track in ids if track not in sides]:
        raise InputError(
            f"{splits}: {len(missing):,} tracks have no split (the first is {missing[0]!r}); make "
            "it from the same track table with `coldstart split`"
        )
    else:
        side_of = sides
    rows = _track_rows(table)
    generator = np.random.default_rng(seed)
    sizes: dict[str, list[int]] = {}
    for name in SPLITS:
        members = [i for i, track in enumerate(ids) if side_of[track] == name]
        order = generator.permutation(len(members))
        sizes[name] = []
        for number, start in enumerate(range(0, len(members), shard_size)):
            chunk = [rows[members[i]] for i in order[start : start + shard_size]]
            write_json(out / name / "tracks" / f"{number:06d}.json", chunk)
            sizes[name].append(len(chunk))
    plan = fingerprint(ids, sides, shard_size, seed)
    write_dataset(out, {"version": VERSION, "plan": plan, "splits": sizes, "modalities": {}})
    return Shards(out)


def _check_places(
    dataset: Shards, ids: list[str], sides: dict[str, str] | None, splits: StrPath | None
) -> None:
    """Raise InputError for a track that the dataset lacks, or has on another side."""
    side_of = {track["track_id"]: track["split"] for track in dataset.all_tracks()}
    for track in ids:
        if track not in side_of:
            raise InputError(
                f"{dataset.folder}: track {track!r} is not in this dataset; a dataset's tracks are "
                "fixed when it is made. Choose another --out"
            )
        if sides is not None and sides.get(track) != side_of[track]:
            raise InputError(
                f"{dataset.folder}: track {track!r} is in '{side_of[track]}' here, but in "
                f"{sides.get(track)!r} of {splits}. Choose another --out"
            )


def _track_rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """What the shards say of each track."""
    columns = ("track_id", "title", "artist", "artist_id", "release_date")
    rows = table.select([column for column in columns if column in table.columns])
    if "release_date" in rows.columns:
        rows = rows.with_columns(pl.col("release_date").cast(pl.String))
    return rows.to_dicts()


class _Task(NamedTuple):
    """One tar to be written, and the note that says what is in it."""

    tar: Path
    note: Path
    field: str
    encode: Callable[[Any], bytes | tuple[bytes, Any]]
    items: list[tuple[str, Any]]
    skip: bool
    reported: bool


_Place = tuple[str, int]
"""Split and number of a shard."""

_Note = dict[str, Any]
"""Of a tar: how many `tracks` it has, the `broken` ones with reasons, and a `report`'s rows."""


def _write_shard(task: _Task) -> _Note:
    """Write one tar and its note (runs in a worker process)."""
    broken: list[tuple[str, str]] = []
    rows: list[dict[str, Any]] = []

    def members() -> Iterator[tuple[str, dict[str, bytes]]]:
        for track, item in task.items:
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
    note: _Note = {"tracks": count, "broken": broken}
    if task.reported:
        note["report"] = rows
    write_json(task.note, note)
    return note


def write_modality(
    dataset: Shards,
    name: str,
    source: Source,
    facts: Mapping[str, Any],
    workers: int | None,
    broken: Broken,
) -> None:
    """Write a modality's tars and list it in dataset.json; an interrupted job is continued.

    Args:
        dataset: to be extended.
        name: of the modality.
        source: what it is made from.
        facts: what dataset.json says of it beside fields and counts.
        workers: processes; None: one a core.
        broken: collects broken items; without skipping, the first one raises.
    """
    progress = dataset.folder / ".progress" / f"{name}-{source.fingerprint}"
    for other in progress.parent.glob(f"{name}-*"):
        if other != progress:  # its tars are about to be overwritten
            shutil.rmtree(other)
    tasks = _tasks(dataset, name, source, progress, broken.skip)
    places = list(tasks)
    notes = _notes({place: task for place, task in tasks.items() if _is_written(task)})
    for note in notes.values():
        broken.add(_faults(source, name, note))
    tasks = {place: task for place, task in tasks.items() if place not in notes}
    # Whoever reads the dataset meanwhile must not see tars and counts that don't match.
    list_modality(dataset, name, None)
    if notes:
        log.info(f"{name}: {len(notes)} shards exist already; the others follow")
    total = sum(len(task.items) for task in tasks.values())
    with tqdm(total=total, desc=f"sharding {name}", unit="track", file=sys.stderr) as bar:
        for place, note in _run(tasks, workers if source.costly else 1):
            broken.add(_faults(source, name, note))
            notes[place] = note
            bar.update(len(tasks[place].items))
    counts = {
        split: [notes[split, number]["tracks"] for number in range(len(dataset.shard_sizes(split)))]
        for split in SPLITS
    }
    if source.reported:
        _write_report(dataset, name, [row for place in places for row in notes[place]["report"]])
    fields = {source.field: source.codec}
    about = {"fields": fields, "shards": counts, "source": source.fingerprint, **facts}
    list_modality(dataset, name, about)
    shutil.rmtree(progress, ignore_errors=True)


def _tasks(
    dataset: Shards, name: str, source: Source, progress: Path, skip: bool
) -> dict[_Place, _Task]:
    """A task for each shard."""
    tasks: dict[_Place, _Task] = {}
    for split in SPLITS:
        for number in range(len(dataset.shard_sizes(split))):
            note = progress / f"{split}-{number:06d}.json"
            ids = [track["track_id"] for track in dataset.tracks(split, number)]
            items = [(track, source.items[track]) for track in ids if track in source.items]
            tar = dataset.tar(name, split, number)
            tasks[split, number] = _Task(
                tar, note, source.field, source.encode, items, skip, source.reported
            )
    return tasks


def _is_written(task: _Task) -> bool:
    """Whether tar and note exist; a note of an earlier version has no rows of a report."""
    if not (task.note.is_file() and task.tar.is_file()):
        return False
    return not task.reported or "report" in json.loads(task.note.read_text(encoding="utf-8"))


def _write_report(dataset: Shards, name: str, rows: list[dict[str, Any]]) -> None:
    """Write what was found in files of sound, and warn of what isn't ordinary."""
    remarks = report.remarks(rows)
    for remark in remarks[:REMARKS]:
        log.warning(f"{name}: {remark}")
    if len(remarks) > REMARKS:
        log.warning(f"{name}: and {len(remarks) - REMARKS:,} more files like these")
    with changing(dataset):  # another process may be adding a modality
        report.write_report(dataset.folder, name, rows)
    log.info(report.summary(name, rows))


def _notes(tasks: Mapping[_Place, _Task]) -> dict[_Place, _Note]:
    return {
        place: json.loads(task.note.read_text(encoding="utf-8")) for place, task in tasks.items()
    }


def _faults(source: Source, name: str, note: Mapping[str, Any]) -> list[Fault]:
    return [
        Fault(source.file, None, f"track {track!r}", name, reason)
        for track, reason in note["broken"]
    ]


def _run(tasks: Mapping[_Place, _Task], workers: int | None) -> Iterator[tuple[_Place, _Note]]:
    """Run the tasks, in processes if that is worth it, and yield notes as they come."""
    for task in tasks.values():
        for temporary in task.tar.parent.glob(f".{task.tar.stem}.*"):
            temporary.unlink()  # from a job that was killed
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from ((place, _write_shard(task)) for place, task in tasks.items())
        return
    # One thread each, as there is a process for each core.
    with ProcessPoolExecutor(workers, OwnContext(), torch.set_num_threads, (1,)) as pool:
        futures = {pool.submit(_write_shard, task): place for place, task in tasks.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def statistics(source: Source, training: set[str]) -> dict[str, Any]:
    """What the encoders need to know, from training tracks only."""
    items = [item for track, item in source.items.items() if track in training]
    if source.codec == "npy":
        vectors, names = items or list(source.items.values()), source.facts.get("names")
        facts = vector_statistics(vectors, names)
        if names:
            _warn_of_units(source.file, names, vectors, facts.get("units", {}))
        elif large := dominant_columns(vectors):
            log.warning(
                f"{source.file}: {len(large)} of {len(vectors[0])} columns have a spread of more "
                f"than 100 times the typical one (the first is number {large[0] + 1}), so the "
                "others hardly count. Are these columns in different units? Then give them as "
                "--attributes.NAME, which scales such columns by themselves"
            )
        return facts
    if source.codec == "json":
        names, counts = np.unique([name for item in items for name in item], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {"vocabulary": [str(names[i]) for i in order]}
    return {}


def _warn_of_units(
    file: str,
    names: Sequence[str],
    vectors: Sequence[np.ndarray[Any, Any]],
    units: Mapping[str, Mapping[str, Any]],
) -> None:
    """Say which columns are in another unit, what is done, and which may be in a smaller one."""
    if units:
        scaled = ", ".join(
            f"{name} (counts with a heavy tail: log(1 + count))" if unit["log"] else name
            for name, unit in units.items()
        )
        log.warning(
            f"{file}: in another unit than the other columns, and so each scaled by itself, by its "
            f"spread over the training tracks: {scaled}. (`scale: common` of MGP and "
            "MachineListened doesn't do so; `scale: each` does so with all columns)"
        )
    if small := small_columns(names, np.stack(vectors), list(units)):
        log.warning(
            f"{file}: the spread of {', '.join(small[:10])} is less than a tenth of the other "
            "columns'. Rare attributes are meant to be small; if it is the unit that differs, "
            "multiply these columns, or use scale: each"
        )
