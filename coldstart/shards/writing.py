"""Writing tars, `dataset.json`, and one more modality beside the existing ones."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from webdataset.writer import TarWriter

from coldstart.errors import InputError
from coldstart.files import StrPath, atomic, is_writable, remove_half, write_json
from coldstart.shards.format import key_of
from coldstart.shards.reading import Shards
from coldstart.shards.units import units_of

log = logging.getLogger(__name__)


def write_tar(path: Path, members: Iterable[tuple[str, Mapping[str, bytes]]]) -> int:
    """Write an ordinary WebDataset tar, atomically; the same content gives the same bytes.

    Args:
        path: the tar to write.
        members: track id and {field: bytes}, in the shard's order.

    Returns:
        How many tracks were written.
    """
    count = 0
    with (
        atomic(path) as temporary,
        TarWriter(str(temporary), encoder=False, mtime=0, user="", group="") as tar,
    ):
        for track_id, fields in members:
            tar.write({"__key__": key_of(track_id), **fields})
            count += 1
    return count


def write_dataset(folder: StrPath, about: Mapping[str, Any]) -> None:
    """Write dataset.json, atomically."""
    write_json(Path(folder) / "dataset.json", about)


@contextmanager
def turn(dataset: Shards, lock: Path, busy: str) -> Iterator[None]:
    """One process after the other; the second one says what it waits for.

    Args:
        dataset: that they write to.
        lock: a file that stays.
        busy: what is said.
    """
    lock.parent.mkdir(exist_ok=True)
    waiting = FileLock(lock)
    try:
        waiting.acquire(timeout=0)
    except Timeout:
        log.info(f"{dataset.folder}: {busy}; waiting until it has ended")
        waiting.acquire()
    try:
        yield
    finally:
        waiting.release()


def must_be_writable(dataset: Shards, purpose: str) -> None:
    """Raise InputError for a dataset at an address, or one that can't be written to."""
    if dataset.address:
        raise InputError(
            f"{dataset.address}: a dataset at an address can't {purpose}; change the folder that "
            "was uploaded, and upload what is new there (dataset.json last)"
        )
    if not is_writable(dataset.folder):
        raise InputError(
            f"{dataset.folder}: can't be written to, so this dataset can't {purpose}; copy it to a "
            "folder that can"
        )


def with_parts(about: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    """`dataset.json` with these parts; without those of them that are empty."""
    merged = {**about, **parts}
    return {key: value for key, value in merged.items() if key not in parts or value}


def changing(dataset: Shards) -> FileLock:
    """Lock a dataset while its list of modalities is read, changed and written back.

    Several processes may add modalities to one dataset; readers need no lock.
    """
    return FileLock(dataset.folder / ".lock", is_singleton=True)


def list_modality(dataset: Shards, name: str, facts: Mapping[str, Any] | None) -> None:
    """Enter a modality into dataset.json, or take it out (None); the others stay as they are."""
    with changing(dataset):
        current = Shards(dataset.folder)
        modalities = {key: value for key, value in current.modalities.items() if key != name}
        if facts is not None:
            modalities[name] = dict(facts)
        if modalities != current.modalities:
            write_dataset(dataset.folder, {**current.about, "modalities": modalities})


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
        The parts that the modality has now.
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
    parts = set(old["parts"] if old else [])
    if part is not None:
        parts.add(part)
    field = f"{name}.npy"
    counts: dict[str, list[int]] = {}
    training: list[np.ndarray[Any, Any]] = []
    # Written beside the old folder, then put in its place: earlier parts are never at risk.
    beside = f".{name}.new"
    for split in dataset.split_names:
        remove_half(dataset.folder / split / beside)
        counts[split] = []
        for number in range(len(dataset.shard_sizes(split))):
            rows = _vectors_of(dataset, split, number, field) if old else {}
            ids = [track["track_id"] for track in dataset.tracks(split, number)]
            rows |= {track: vectors[track] for track in ids if track in vectors}
            members = [(track, {field: npy_bytes(rows[track])}) for track in ids if track in rows]
            counts[split].append(write_tar(dataset.tar(beside, split, number), members))
            if split == "train":
                training += [rows[track] for track in ids if track in rows]
    for split in dataset.split_names:
        if (new := dataset.folder / split / beside).is_dir():
            shutil.rmtree(dataset.folder / split / name, ignore_errors=True)
            new.replace(dataset.folder / split / name)
    about = {
        "fields": {field: "npy"},
        "shards": counts,
        "parts": sorted(parts),
        **facts,
        **vector_statistics(training or list(vectors.values()), facts.get("names")),
    }
    list_modality(dataset, name, about)
    return sorted(parts)


def _vectors_of(
    dataset: Shards, split: str, number: int, field: str
) -> dict[str, np.ndarray[Any, Any]]:
    """Track id → vector, of a shard that is written already."""
    return {
        sample["track_id"]: np.load(io.BytesIO(sample[field]), allow_pickle=False)
        for sample in dataset.samples(split, number, [field])
        if field in sample
    }


def npy_bytes(vector: np.ndarray[Any, Any]) -> bytes:
    """Encode a float32 vector as .npy, which can't hold a pickle."""
    buffer = io.BytesIO()
    np.save(buffer, vector.astype(np.float32), allow_pickle=False)
    return buffer.getvalue()


def vector_statistics(
    vectors: Sequence[np.ndarray[Any, Any]], names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Mean and standard deviation of each attribute; 0 for a constant one.

    If the columns have names and some are in another unit than the others, `units` says how each
    of these is scaled by itself.
    """
    values = np.stack(vectors).astype(np.float64)
    std = np.where(np.ptp(values, axis=0) > 0, values.std(axis=0), 0.0)
    facts = {"mean": values.mean(axis=0).tolist(), "std": std.tolist()}
    units = units_of(names, values) if names else {}
    return {**facts, "units": units} if units else facts
