"""The verb `shard`: tables and audio files → shards, in parallel, resumable.

Every finished tar leaves a note in `.progress/`; a modality enters `dataset.json` when all of its
tars are there. So an interrupted job goes on where it stopped, and a half-written modality is
never read.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from coldstart.audio.codec import SAMPLE_RATE
from coldstart.audio.storage import Store, store_facts
from coldstart.errors import Broken, Fault, InputError, ItemError
from coldstart.files import StrPath, fingerprint, is_remote, write_json
from coldstart.shards import VERSION, Shards, changing, list_modality, write_dataset, write_tar
from coldstart.sources import Source, npy_bytes, sources_of, statistics, vector_statistics
from coldstart.tables import SPLITS, read_splits, read_tracks

CONFIGS = {
    ("mgp", "genres"): "mgp_genres",
    ("mgp",): "mgp",
    ("cqt",): "audio_cqt",
    ("audio",): "audio",
    ("genres",): "genres",
}
"""Modalities → the shipped config to begin with, the quickest first."""


def shard(
    tracks: StrPath,
    *,
    out: StrPath,
    splits: StrPath | None = None,
    attributes: dict[str, str] | None = None,
    embeddings: dict[str, str] | None = None,
    texts: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    modalities: list[str] | None = None,
    sample_rate: int | None = None,
    store: Store = "flac",
    bits: Literal[8, 16] = 8,
    bins: int = 96,
    fmin: float = 32.7,
    frame_hop: int = 1024,
    shard_size: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    skip_broken: bool = False,
) -> Shards:
    """Write a dataset of shards, or add modalities to one; an interrupted job goes on.

    Reads the track table, the audio files it names, and the attribute tables. Writes one folder a
    modality into `out`; folders that are already there from the same source stay untouched.

    Args:
        tracks: Parquet or CSV: track_id, title, artist[, artist_id, audio, genres, release_date].
        out: folder of the dataset, new or to be extended.
        splits: table of track_id and split. Without it, a new dataset's tracks are all `test`:
            music to be recommended, not to be learnt from.
        attributes: tables of attributes by modality: `--attributes.mgp mgp.parquet`.
        embeddings: vectors that something else has computed: `--embeddings.mert mert.parquet` with
            track_id and a list (or columns) of numbers, or an .npy [tracks, width] whose rows are
            the track table's.
        texts: tables of track_id and text: `--texts.lyrics lyrics.parquet`.
        files: tables of track_id and path, relative to the table's folder, whose files are stored
            as they are: `--files.cover covers.csv`.
        modalities: which of the table's columns to shard; by default `audio` and `genres` where
            it has them.
        sample_rate: Hz of the stored audio; by default what the dataset has, else 22,050.
        store: how audio is kept: `flac`, in the folder `audio`; or `cqt` or `mel`, spectrograms in
            a folder of that name, with which training needs no decoding and no transform.
        bits: of a spectrogram's values: 8, in steps of half a decibel, or 16.
        bins: a spectrogram's frequency bins; constant-Q has 12 an octave.
        fmin: Hz of its lowest bin.
        frame_hop: samples between its frames.
        shard_size: tracks in a shard; by default 16 to 256, so that there are about 64 shards for
            all cores to work at. Training needs at least as many as GPUs × loader workers.
        workers: processes; by default one a core.
        seed: of the tracks' order within a split. Streams shuffle only what lies near together,
            so tracks are shuffled once, here.
        overwrite: write the named modalities anew where they come from another source.
        skip_broken: leave broken items out and list them in `out`/broken.csv.

    Returns:
        The dataset.
    """
    out = Path(out)
    if is_remote(out):
        raise InputError(f"{out}: shards are written to a folder; copy them to an address then")
    sample_rate = sample_rate or _sample_rate_of(out)
    if (shard_size is not None and shard_size < 1) or not 1000 <= sample_rate <= 192_000:
        raise InputError("shard_size is at least 1, sample_rate 1,000 to 192,000 Hz")
    audio = store_facts(store, sample_rate, frame_hop, bins, fmin, bits)
    broken = Broken(skip_broken)
    table = read_tracks(tracks, broken)
    named = {
        "attributes": attributes or {},
        "embeddings": embeddings or {},
        "texts": texts or {},
        "files": files or {},
    }
    sources = sources_of(table, Path(tracks), modalities, named, audio, broken)
    shard_size = shard_size or min(256, max(16, len(table) // 64))
    dataset = _plan(table, splits, out, shard_size, seed, overwrite)
    training = {track["track_id"] for track in dataset.all_tracks(["train"])}
    for name, source in sources.items():
        there = dataset.modalities.get(name)
        if there and there["source"] == source.fingerprint:
            print(f"{name}: already there, from the same source")
            continue
        if there and not overwrite:
            raise InputError(
                f"{out}: modality '{name}' is already there, made from something else; pass "
                "--overwrite to write it anew"
            )
        facts = {**source.facts, **statistics(source, training)}
        _write_modality(dataset, name, source, facts, workers, broken)
        dataset = Shards(out)
        counts = dataset.modalities[name]["shards"]
        print(f"{name}: {sum(map(sum, counts.values())):,} of {len(table):,} tracks have it")
    if skipped := broken.write(out / "broken.csv"):
        print(skipped)
    print(f"wrote {out}")
    have = dataset.modalities.keys()
    config = next((config for names, config in CONFIGS.items() if set(names) <= have), "YOURS")
    print(f"next: coldstart fit --config {config}.yaml --data.shards {out} --data.factors factors")
    return dataset


def _sample_rate_of(out: Path) -> int:
    """Of the audio that is there already, so that one more modality needs no flag of the first."""
    there = Shards(out).modalities if (out / "dataset.json").is_file() else {}
    rate: int = there.get("audio", {}).get("sample_rate", SAMPLE_RATE)
    return rate


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


def add_vectors(
    dataset: Shards,
    name: str,
    vectors: Mapping[str, np.ndarray[Any, Any]],
    facts: Mapping[str, Any],
    part: int | None,
) -> list[int]:
    """Write vectors as a modality, or add one more part of the tracks to it.

    Args:
        dataset: to be extended.
        name: of the modality.
        vectors: track id → float32 vector.
        facts: for dataset.json: names, and `source`, which parts of one whole have in common.
        part: number of this part (a fold); None if it is the whole.

    Returns:
        The parts that are there now.
    """
    with changing(dataset):
        return _add_vectors(Shards(dataset.folder), name, vectors, facts, part)


def _add_vectors(
    dataset: Shards,
    name: str,
    vectors: Mapping[str, np.ndarray[Any, Any]],
    facts: Mapping[str, Any],
    part: int | None,
) -> list[int]:
    old = dataset.modalities.get(name)
    if part is None or (old and old["source"] != facts["source"]):
        old = None  # a whole, or another listener's part: it starts anew
    parts = sorted({*(old["parts"] if old else []), *([] if part is None else [part])})
    field = f"{name}.npy"
    counts: dict[str, list[int]] = {}
    all_training: list[np.ndarray[Any, Any]] = []
    # Written beside the old folder, then put in its place: earlier parts are never at risk.
    beside = f".{name}.new"
    for split in SPLITS:
        counts[split] = []
        for number in range(len(dataset.shard_sizes(split))):
            there = {}
            if old:
                there = {
                    sample["track_id"]: np.load(io.BytesIO(sample[field]), allow_pickle=False)
                    for sample in dataset.samples(split, number, [field])
                    if field in sample
                }
            ids = [track["track_id"] for track in dataset.tracks(split, number)]
            rows = [
                (t, vectors[t] if t in vectors else there[t])
                for t in ids
                if t in vectors or t in there
            ]
            members = [(track, {field: npy_bytes(vector)}) for track, vector in rows]
            counts[split].append(write_tar(dataset.tar(beside, split, number), members))
            if split == "train":
                all_training += [vector for _, vector in rows]
    for split in SPLITS:
        if (new := dataset.folder / split / beside).is_dir():
            shutil.rmtree(dataset.folder / split / name, ignore_errors=True)
            new.replace(dataset.folder / split / name)
    made = {
        "fields": {field: "npy"},
        "shards": counts,
        "parts": parts,
        **facts,
        **vector_statistics(all_training or list(vectors.values())),
    }
    list_modality(dataset, name, made)
    return parts
