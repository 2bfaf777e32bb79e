"""Making a dataset of shards, in parallel and resumable."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from coldstart.errors import Broken, Fault, InputError, ItemError
from coldstart.files import StrPath, fingerprint, write_json
from coldstart.shards.format import VERSION
from coldstart.shards.reading import Shards
from coldstart.shards.sources import Source
from coldstart.shards.writing import list_modality, vector_statistics, write_dataset, write_tar
from coldstart.tables import SPLITS, read_splits


def _plan(
    table: pl.DataFrame,
    splits: StrPath | None,
    out: Path,
    shard_size: int,
    seed: int,
    overwrite: bool,
) -> Shards:
    """Decide which track lies where, or take the existing dataset's word for it."""
    ids = table["track_id"].to_list()
    side: dict[str, str] | None = dict(read_splits(splits).iter_rows()) if splits else None
    if (out / "dataset.json").is_file():
        dataset = Shards(out)
        placed = {track["track_id"]: track["split"] for track in dataset.all_tracks()}
        for track in ids:
            if track not in placed:
                raise InputError(
                    f"{out}: track {track!r} is not in this dataset; a dataset's tracks are fixed "
                    "when it is made. Choose another --out"
                )
            if side is not None and side.get(track) != placed[track]:
                raise InputError(
                    f"{out}: track {track!r} is in '{placed[track]}' here, but in "
                    f"{side.get(track)!r} of {splits}. Choose another --out"
                )
        return dataset
    if side is not None and (lost := [track for track in ids if track not in side]):
        raise InputError(
            f"{splits}: {len(lost):,} tracks have no split (the first is {lost[0]!r}); make it "
            "from the same track table with `coldstart split`"
        )
    columns = ("track_id", "title", "artist", "artist_id", "release_date")
    meta = table.select([c for c in columns if c in table.columns])
    if "release_date" in meta.columns:
        meta = meta.with_columns(pl.col("release_date").cast(pl.String))
    rows = meta.to_dicts()
    generator = np.random.default_rng(seed)
    sizes: dict[str, list[int]] = {}
    for name in SPLITS:
        mine = [i for i, track in enumerate(ids) if (side[track] if side else "test") == name]
        order = generator.permutation(len(mine))
        sizes[name] = []
        for number, start in enumerate(range(0, len(mine), shard_size)):
            chunk = [rows[mine[i]] for i in order[start : start + shard_size]]
            write_json(out / name / "tracks" / f"{number:06d}.json", chunk)
            sizes[name].append(len(chunk))
    plan = fingerprint(ids, side, shard_size, seed)
    write_dataset(out, {"version": VERSION, "plan": plan, "splits": sizes, "modalities": {}})
    return Shards(out)


class _Task(NamedTuple):
    tar: Path
    note: Path
    field: str
    encode: Callable[[Any], bytes]
    items: list[tuple[str, Any]]
    skip: bool


def _write_shard(task: _Task) -> dict[str, Any]:
    """Write one tar and its note (runs in a worker process)."""
    broken: list[tuple[str, str]] = []

    def members() -> Iterator[tuple[str, dict[str, bytes]]]:
        for track, item in task.items:
            try:
                encoded = task.encode(item)
            except ItemError as error:
                broken.append((track, f"{Path(item).name}: {error}"))
                if not task.skip:
                    raise
                continue
            yield track, {task.field: encoded}

    try:
        count = write_tar(task.tar, members())
    except ItemError:
        return {"broken": broken}
    note = {"tracks": count, "broken": broken}
    write_json(task.note, note)
    return note


def _write_modality(
    dataset: Shards,
    name: str,
    source: Source,
    facts: Mapping[str, Any],
    workers: int | None,
    broken: Broken,
) -> None:
    progress = dataset.folder / ".progress" / f"{name}-{source.fingerprint}"
    for other in progress.parent.glob(f"{name}-*"):
        if other != progress:  # its tars are about to be overwritten
            shutil.rmtree(other)
    notes: dict[tuple[str, int], dict[str, Any]] = {}
    tasks: dict[tuple[str, int], _Task] = {}
    for split in SPLITS:
        for number in range(len(dataset.shard_sizes(split))):
            tar, note = dataset.tar(name, split, number), progress / f"{split}-{number:06d}.json"
            if note.is_file() and tar.is_file():
                notes[split, number] = json.loads(note.read_text(encoding="utf-8"))
                broken.add(_faults(source, name, notes[split, number]))
                continue
            for half in tar.parent.glob(f".{tar.stem}.*"):
                half.unlink()  # left by a job that was killed
            ids = [track["track_id"] for track in dataset.tracks(split, number)]
            items = [(track, source.items[track]) for track in ids if track in source.items]
            tasks[split, number] = _Task(tar, note, source.field, source.encode, items, broken.skip)
    # Whoever reads the dataset meanwhile must not see tars and counts that don't match.
    list_modality(dataset, name, None)
    total = sum(len(task.items) for task in tasks.values())
    with tqdm(total=total, desc=f"sharding {name}", unit="track", file=sys.stderr) as bar:
        if notes:
            bar.write(f"{name}: {len(notes)} shards are there already, going on", file=sys.stderr)
        for place, written in _run(tasks, workers if source.costly else 1):
            broken.add(_faults(source, name, written))
            notes[place] = written
            bar.update(len(tasks[place].items))
    made = {
        "fields": {source.field: source.codec},
        "shards": {
            split: [notes[split, i]["tracks"] for i in range(len(dataset.shard_sizes(split)))]
            for split in SPLITS
        },
        "source": source.fingerprint,
        **facts,
    }
    list_modality(dataset, name, made)
    shutil.rmtree(progress, ignore_errors=True)


def _faults(source: Source, name: str, note: Mapping[str, Any]) -> list[Fault]:
    return [
        Fault(source.file, None, f"track {track!r}", name, reason)
        for track, reason in note["broken"]
    ]


def _run(
    tasks: Mapping[tuple[str, int], _Task], workers: int | None
) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """Run the tasks, in processes if that is worth it, and yield notes as they come."""
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from ((place, _write_shard(task)) for place, task in tasks.items())
        return
    # Spawned, not forked: the table library's threads don't survive a fork.
    context = multiprocessing.get_context("spawn")
    # One thread each, as there is a process for each core.
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
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
        return vector_statistics(items or list(source.items.values()))
    if source.codec == "json":
        names, counts = np.unique([name for item in items for name in item], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {"vocabulary": [str(names[i]) for i in order]}
    return {}
