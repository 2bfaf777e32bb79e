"""New tracks join a dataset as shards of the split `new`; so do, later, their other modalities."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from coldstart.errors import Broken, InputError, TakenIdError
from coldstart.files import fingerprint, write_json
from coldstart.shards.build import write_sound_report
from coldstart.shards.format import Place, place_of
from coldstart.shards.jobs import Note, TarTask, notes_of, task_of, write_tars
from coldstart.shards.matching import is_computed
from coldstart.shards.reading import Shards
from coldstart.shards.sources import Source
from coldstart.shards.track_rows import like_those, track_rows
from coldstart.shards.writing import (
    changing,
    must_be_writable,
    npy_bytes,
    turn,
    with_parts,
    write_dataset,
    write_tar,
)
from coldstart.tables.splits import IN_USE, NEW

log = logging.getLogger(__name__)

LARGEST = 256
"""Tracks in a shard, at most."""


class Extension(NamedTuple):
    """What `extend` did.

    Attributes:
        already: the same tracks with the same content are in the dataset: nothing was written.
        shards: numbers of the shards of `new` that the tracks are in.
        tracks: how many there are.
        replaced: how many of them were in the dataset already.
        lacks: modality of the dataset → how many of the tracks lack it, if any do.
        computed: modalities that nets compute, which the tracks don't have yet.
    """

    already: bool
    shards: list[int]
    tracks: int
    replaced: int
    lacks: dict[str, int]
    computed: list[str]


def extend(
    dataset: Shards,
    table: pl.DataFrame,
    sources: Mapping[str, Source],
    *,
    file: str,
    replace: bool = False,
    workers: int | None = None,
    broken: Broken | None = None,
) -> Extension:
    """Write new tracks as shards of `new`; an interrupted job is continued.

    The dataset is as before until everything is written, then `dataset.json` lists all of it.

    Args:
        dataset: to be extended, on this machine.
        table: of the new tracks, as `read_tracks` gives it.
        sources: of their modalities, as `sources_like` gives them.
        file: name of the table, for messages.
        replace: a track that is in the dataset already is used as it is here; else it is refused.
        workers: processes; None: one a core.
        broken: collects broken items; without skipping, the first one raises.

    Raises:
        InputError: the dataset is at an address or can't be written to, a track is in it already,
            or it was changed meanwhile.
    """
    must_be_writable(dataset, "take new tracks")
    rows = track_rows(table)
    job = fingerprint(rows, {name: _content(source) for name, source in sources.items()})
    busy = "another process is adding tracks"
    with turn(dataset, dataset.folder / ".adding.lock", busy):
        dataset = Shards(dataset.folder)
        progress = dataset.folder / ".progress" / "additions" / job
        if earlier := _earlier(dataset, job):
            _clear_notes(progress)  # if the job was killed just before it did so
            return _about(dataset, earlier, [len(dataset.tracks(NEW, i)) for i in earlier], 0, True)
        existing = dataset.all_tracks(IN_USE)
        ids = [row["track_id"] for row in rows]
        known = _must_be_new(dataset, ids, existing, replace)
        like_those(rows, existing, file)
        first = len(dataset.shard_sizes(NEW))
        _clear(dataset, progress, first)
        chunks = _chunks(rows)
        for number, chunk in enumerate(chunks, first):
            write_json(dataset.folder / NEW / "tracks" / f"{number:06d}.json", chunk)
        counts = _write(dataset, chunks, first, sources, progress, workers, broken or Broken())
        new = list(range(first, first + len(chunks)))
        _list(dataset, job, chunks, new, counts, known)
        _clear_notes(progress.parent)
        return _about(Shards(dataset.folder), new, list(map(len, chunks)), len(known), False)


def extend_modality(dataset: Shards, name: str, vectors: Mapping[str, np.ndarray[Any, Any]]) -> int:
    """Write a modality's vectors of tracks that were added before it was there for them.

    Only shards of `new` that lack the modality are written. Afterwards it counts as complete: the
    tracks of these shards that aren't named lack it.

    Args:
        dataset: to be extended, on this machine.
        name: of the modality, which the dataset has.
        vectors: track id → float32 vector.

    Returns:
        How many vectors were written.

    Raises:
        InputError: the dataset lacks the modality, or can't be written to, or a vector is of
            another width than the others'.
    """
    must_be_writable(dataset, f"be given '{name}'")
    with changing(dataset):
        current = Shards(dataset.folder)
        info = current.info(name)
        (field,) = info["fields"]
        for track, vector in vectors.items():
            if vector.shape != (len(info["mean"]),):
                raise InputError(
                    f"{name}: the vector of track {track!r} has the shape {vector.shape}; "
                    f"({len(info['mean'])},) is needed"
                )
        counts: list[int] = []
        written = 0
        for number, _ in enumerate(current.shard_sizes(NEW)):
            count = current.count(name, NEW, number)
            if not count:
                members = [
                    (track["track_id"], {field: npy_bytes(vectors[track["track_id"]])})
                    for track in current.tracks(NEW, number)
                    if track["track_id"] in vectors
                    and current.current.get(track["track_id"], place_of(NEW, number))
                    == place_of(NEW, number)
                ]
                if members:
                    count = write_tar(current.tar(name, NEW, number), members)
                written += count
            counts.append(count)
        changed = {**info, "shards": {**info["shards"], NEW: counts}}
        modalities = {**current.modalities, name: changed}
        write_dataset(current.folder, {**current.about, "modalities": modalities})
    return written


def _content(source: Source) -> str:
    """Fingerprint of what would be written: of files by size and time, else of the content."""
    if source.costly or source.codec == "bin":
        return source.fingerprint
    digest = hashlib.sha256()
    for track, item in sorted(source.items.items()):
        content = source.encode(item)
        assert isinstance(content, bytes)
        digest.update(fingerprint(track, len(content)).encode() + content)
    return fingerprint(source.field, digest.hexdigest())


def _earlier(dataset: Shards, job: str) -> list[int]:
    """The shards that the same job has written, if all of their tracks are in use as they are."""
    for addition in dataset.about.get("additions", ()):
        numbers: list[int] = addition["shards"]
        if addition["job"] == job and all(
            dataset.is_in_use(track["track_id"], NEW, number)
            for number in numbers
            for track in dataset.tracks(NEW, number)
        ):
            return numbers
    return []


def _must_be_new(
    dataset: Shards, ids: list[str], existing: Sequence[Mapping[str, Any]], replace: bool
) -> set[str]:
    """The ids that the dataset has already; raise InputError if there are any, unless `replace`."""
    known = {track["track_id"] for track in existing}.intersection(ids)
    if known and not replace:
        first = next(track for track in ids if track in known)
        hidden = len(known & dataset.removed)
        note = f" ({hidden:,} of them withdrawn: `remove --undo` brings back)" if hidden else ""
        raise TakenIdError(
            f"{dataset.folder}: {len(known):,} of the {len(ids):,} tracks are in this dataset "
            f"already, such as {first!r}{note}. Leave them out; or, if what is recommended is to "
            "be as here from now on, pass --replace"
        )
    return known


def _clear(dataset: Shards, progress: Path, first: int) -> None:
    """Remove what another job, which was killed and not continued, has left."""
    if progress.is_dir():
        return
    if progress.parent.is_dir():
        shutil.rmtree(progress.parent)
    for path in (dataset.folder / NEW).glob("*/*"):
        if path.stem.isdecimal() and int(path.stem) >= first:
            path.unlink()


def _clear_notes(folder: Path) -> None:
    """Remove notes of what is written, and the folders that they were in."""
    shutil.rmtree(folder, ignore_errors=True)
    while folder.name != ".progress":
        folder = folder.parent
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _chunks(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The tracks of each shard: some shards, so that several processes have work.

    >>> [len(chunk) for chunk in _chunks([{}] * 10)]
    [5, 5]
    """
    shards = max(-(-len(rows) // LARGEST), min(8, -(-len(rows) // 5)))
    size = -(-len(rows) // shards)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _write(
    dataset: Shards,
    chunks: Sequence[Sequence[Mapping[str, Any]]],
    first: int,
    sources: Mapping[str, Source],
    progress: Path,
    workers: int | None,
    broken: Broken,
) -> dict[str, list[int]]:
    """Write the tars; give for each modality how many tracks of each shard have it."""
    progress.mkdir(parents=True, exist_ok=True)
    counts: dict[str, list[int]] = {}
    for name, source in sources.items():
        tasks: dict[Place, TarTask] = {}
        for number, chunk in enumerate(chunks, first):
            tar, note = dataset.tar(name, NEW, number), progress / f"{name}-{number:06d}.json"
            ids = [row["track_id"] for row in chunk]
            tasks[NEW, number] = task_of(source, tar, note, ids, broken.skip)
        notes: dict[Place, Note] = notes_of(name, source, tasks, broken)
        notes = write_tars(name, source, tasks, notes, workers, broken)
        counts[name] = [notes[place]["tracks"] for place in tasks]
        if source.reported:
            report = [row for place in tasks for row in notes[place]["report"]]
            write_sound_report(dataset, name, report, anew=False)
    return counts


def _list(
    dataset: Shards,
    job: str,
    chunks: Sequence[Sequence[Mapping[str, Any]]],
    new: list[int],
    counts: Mapping[str, list[int]],
    known: Collection[str],
) -> None:
    """Enter all that was written into dataset.json, at once."""
    place = {
        row["track_id"]: place_of(NEW, number)
        for number, chunk in zip(new, chunks, strict=True)
        for row in chunk
    }
    with changing(dataset):
        now = Shards(dataset.folder)
        for name in counts:
            source = now.modalities.get(name, {}).get("source")
            if source != dataset.modalities[name]["source"]:
                raise InputError(
                    f"{dataset.folder}: modality '{name}' was changed while tracks were added; "
                    "give the same command again"
                )
        modalities = dict(now.modalities)
        for name, its_counts in counts.items():
            listed: list[int] = now.info(name)["shards"].get(NEW, [])
            padded = [*listed, *[0] * (new[0] - len(listed)), *its_counts]
            shards = {**now.info(name)["shards"], NEW: padded}
            modalities[name] = {**now.info(name), "shards": shards}
        sizes = [*now.shard_sizes(NEW), *map(len, chunks)]
        about = {
            **now.about,
            "splits": {**now.about["splits"], NEW: sizes},
            "modalities": modalities,
        }
        about = with_parts(
            about,
            current=now.current | {track: place[track] for track in sorted(known)},
            removed=sorted(now.removed - place.keys()),
            additions=[*now.about.get("additions", ()), {"job": job, "shards": new}],
        )
        write_dataset(dataset.folder, about)


def _about(
    dataset: Shards, shards: list[int], sizes: Sequence[int], replaced: int, already: bool
) -> Extension:
    tracks = sum(sizes)
    counts = {
        name: sum(dataset.count(name, NEW, number) for number in shards)
        for name in dataset.modalities
    }
    computed = [name for name, info in dataset.modalities.items() if is_computed(info)]
    waiting = [name for name in computed if not counts[name]]
    lacks = {
        name: tracks - count
        for name, count in counts.items()
        if count < tracks and name not in waiting
    }
    return Extension(already, shards, tracks, replaced, lacks, waiting)
