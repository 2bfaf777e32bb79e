"""Making a dataset of shards, in parallel and resumable."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from coldstart.audio import report
from coldstart.errors import Broken, InputError
from coldstart.files import StrPath, fingerprint, write_json
from coldstart.processes import JobPart, PartDone
from coldstart.shards.format import VERSION, Place, place_of
from coldstart.shards.jobs import TarRunner, TarTask, notes_of, task_of, write_tars
from coldstart.shards.reading import Shards
from coldstart.shards.sources import Source
from coldstart.shards.track_rows import track_rows
from coldstart.shards.units import dominant_columns, small_columns
from coldstart.shards.writing import (
    changing,
    list_modality,
    turn,
    vector_statistics,
    write_dataset,
)
from coldstart.tables.splits import NEW, SPLITS, read_splits

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
        _clear_notes(dataset)
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
    rows = track_rows(table)
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
    added = dict.fromkeys((track["track_id"] for track in dataset.all_tracks([NEW])), NEW)
    side_of = added | {track["track_id"]: track["split"] for track in dataset.all_tracks()}
    for track in ids:
        if track not in side_of:
            raise InputError(
                f"{dataset.folder}: track {track!r} is not in this dataset; new tracks join it by "
                f"`coldstart add TRACKS --shards {dataset.folder}`. Or choose another --out"
            )
        if sides is not None and side_of[track] != NEW and sides.get(track) != side_of[track]:
            raise InputError(
                f"{dataset.folder}: track {track!r} is in '{side_of[track]}' here, but in "
                f"{sides.get(track)!r} of {splits}. Choose another --out"
            )


def _clear_notes(dataset: Shards) -> None:
    """Remove the notes of modalities that are listed: a job was killed just before it did so."""
    for name, info in dataset.modalities.items():
        progress = dataset.folder / ".progress" / f"{name}-{info.get('source')}"
        shutil.rmtree(progress, ignore_errors=True)


def write_modality(
    dataset: Shards,
    name: str,
    source: Source,
    facts: Mapping[str, Any],
    workers: int | None,
    broken: Broken,
    merge: bool = False,
    runner: TarRunner | None = None,
) -> None:
    """Write a modality's tars and list it in dataset.json; an interrupted job is continued.

    Args:
        dataset: to be extended.
        name: of the modality.
        source: what it is made from.
        facts: what dataset.json says of it beside fields and counts.
        workers: processes; None: one a core.
        broken: collects broken items; without skipping, the first one raises.
        merge: all tars are there, by `write_modality_part`: else it is an error.
        runner: writes tars elsewhere than in processes of this machine.

    Raises:
        InputError: an item is broken, or with `merge` a tar is missing.
    """
    lock = dataset.folder / f".{name}.lock"
    with turn(dataset, lock, f"another process is writing '{name}'"):
        before, now = dataset.modalities.get(name), Shards(dataset.folder).modalities.get(name)
        if now is not None and now != before and now.get("source") == source.fingerprint:
            log.info(f"{name}: another process has written it meanwhile")
            return
        progress = _progress(dataset, name, source)
        tasks = _tasks(dataset, source, name, progress, broken.skip)
        notes = notes_of(name, source, tasks, broken)
        if merge and (missing := tasks.keys() - notes.keys()):
            raise InputError(
                f"{dataset.folder}: {len(missing):,} of {len(tasks):,} tars of '{name}' are "
                f"missing (the first: {place_of(*min(missing))}), so nothing is merged; see which "
                "part has failed and run it again, or leave --merge out: then this machine makes "
                "the rest"
            )
        # Whoever reads the dataset meanwhile must not see tars and counts that don't match.
        list_modality(dataset, name, None)
        notes = write_tars(name, source, tasks, notes, workers, broken, runner)
        counts = {
            split: [
                notes[split, number]["tracks"] for number in range(len(dataset.shard_sizes(split)))
            ]
            for split in dataset.split_names
        }
        if source.reported:
            write_sound_report(
                dataset, name, [row for place in tasks for row in notes[place]["report"]]
            )
        fields = {source.field: source.codec}
        about = {"fields": fields, "shards": counts, "source": source.fingerprint, **facts}
        old = dataset.modalities.get(name, {"shards": {}})["shards"].get(NEW, [])
        if (lost := sum(old) - sum(counts.get(NEW, []))) > 0:
            log.warning(
                f"{name}: {lost:,} tracks that were added to the dataset have it no more, for this "
                "table lacks them; name a table with all tracks, or add these again with --replace"
            )
        list_modality(dataset, name, about)
        shutil.rmtree(progress, ignore_errors=True)


def write_modality_part(
    dataset: Shards, name: str, source: Source, part: JobPart, workers: int | None, broken: Broken
) -> PartDone:
    """Write this part's tars of a modality, which `write_modality` lists when all are there.

    Args:
        dataset: to be extended, on storage that all machines share.
        name: of the modality.
        source: what it is made from.
        part: which shards.
        workers: processes; None: one a core.
        broken: collects broken items; without skipping, the first one raises.
    """
    if dataset.modalities.get(name) is not None:  # of another source, and to be written anew
        list_modality(dataset, name, None)
    everything = _tasks(dataset, source, name, _progress(dataset, name, source), broken.skip)
    tasks = {place: everything[place] for place in part.share(list(everything))}
    notes = notes_of(name, source, tasks, broken)
    write_tars(name, source, tasks, notes, workers, broken)
    return PartDone(part, dataset.folder, len(tasks), len(tasks) - len(notes), len(everything))


def _progress(dataset: Shards, name: str, source: Source) -> Path:
    """The folder of the notes; those of other sources, whose tars are overwritten, are deleted."""
    progress = dataset.folder / ".progress" / f"{name}-{source.fingerprint}"
    for other in progress.parent.glob(f"{name}-*"):
        if other != progress:
            shutil.rmtree(other, ignore_errors=True)  # another part may be deleting it, too
    return progress


def _tasks(
    dataset: Shards, source: Source, name: str, progress: Path, skip: bool
) -> dict[Place, TarTask]:
    """A task for each shard."""
    tasks: dict[Place, TarTask] = {}
    for split in dataset.split_names:
        for number in range(len(dataset.shard_sizes(split))):
            ids = [track["track_id"] for track in dataset.tracks(split, number)]
            tar, note = dataset.tar(name, split, number), progress / f"{split}-{number:06d}.json"
            tasks[split, number] = task_of(source, tar, note, ids, skip)
    return tasks


def write_sound_report(
    dataset: Shards, name: str, rows: list[dict[str, Any]], anew: bool = True
) -> None:
    """Write what was found in files of sound, and warn of what isn't ordinary.

    Args:
        dataset: in whose folder the report lies.
        name: of the modality.
        rows: of the report.
        anew: whether the modality's earlier rows are left out; else only those of the same tracks.
    """
    remarks = report.remarks(rows)
    for remark in remarks[:REMARKS]:
        log.warning(f"{name}: {remark}")
    if len(remarks) > REMARKS:
        log.warning(f"{name}: and {len(remarks) - REMARKS:,} more files like these")
    with changing(dataset):  # another process may be adding a modality
        report.write_report(dataset.folder, name, rows, anew)
    log.info(report.summary(name, rows))


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
