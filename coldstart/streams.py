"""Tars → pieces → batches: the ways that samples flow, for one process or many.

Streaming under DDP: every (rank, worker) pair goes through an endless, seeded sequence of shards,
its own part of each epoch's permutation; an epoch is the same number of batches on every rank. At
evaluation each pair reads its shards once, and nothing is said twice.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from coldstart.encoders.base import Modality, Reader
from coldstart.sample import Sample
from coldstart.shards import Shards, folder_of
from coldstart.targets import FACTORS

Place = tuple[str, int]
"""A shard: its split and number."""


class Batch(NamedTuple):
    """What the model sees.

    Attributes:
        inputs: modality → values and mask.
        target: values [B, K] and mask.
        track_ids: B ids; a track that is seen in pieces comes once for each piece.
    """

    inputs: dict[str, Modality]
    target: Modality
    track_ids: list[str]

    def to(self, device: torch.device | str) -> Batch:
        """On another device. Lightning calls this, instead of looking into the list of ids."""
        moved = {name: _moved(modality, device) for name, modality in self.inputs.items()}
        return Batch(moved, _moved(self.target, device), self.track_ids)


def _moved(modality: Modality, device: torch.device | str) -> Modality:
    return Modality(*(part.to(device, non_blocking=True) for part in modality))


class Lent(NamedTuple):
    """What the model lends to the data side.

    Attributes:
        readers: encoder name → the fields it reads, and its reader.
        target: the target's field and reader.
        streamed: whether any of the modalities must be streamed.
    """

    readers: Mapping[str, tuple[tuple[str, ...], Reader]]
    target: tuple[str, Reader]
    streamed: bool


def fold_of(track_id: str, folds: int) -> int:
    """The fold that a track belongs to, by a hash of its id: the same everywhere and always.

    >>> [fold_of(track, 3) for track in ("a", "b", "c", "d")]
    [1, 1, 2, 2]
    """
    return _hash(track_id) % folds


def _hash(text: str) -> int:
    """0 … 2^64 - 1, the same everywhere and always."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Pipeline:
    """Tars → pieces → batches, for some shards. Picklable, so that workers can run it.

    `joined` holds what lies in no tar: field → (track id → value, or None if it has none).
    """

    def __init__(
        self,
        shards: Shards,
        lent: Lent,
        joined: Mapping[str, Callable[[str], np.ndarray[Any, Any] | None]],
        keep: Callable[[str], bool],
        needs_target: bool,
        training: bool,
        lacks: Callable[[str, str], bool],
    ) -> None:
        self.shards, self.lent, self.joined, self.lacks = shards, lent, joined, lacks
        self.keep, self.needs_target, self.training = keep, needs_target, training
        fields = [field for names, _ in lent.readers.values() for field in names]
        self.fields = {*fields, lent.target[0]} - {FACTORS, *joined}
        if folder_of(lent.target[0]) not in shards.modalities:
            self.fields -= {lent.target[0]}  # a dataset to predict on need not have the truth

    def samples(self, place: Place) -> Iterator[Sample]:
        """One shard's tracks, each with what is joined, without those that can't be used."""
        for sample in self.shards.samples(*place, self.fields):
            track = sample["track_id"]
            for field, join in self.joined.items():
                if (value := join(track)) is not None:
                    sample[field] = value
            if self.keep(track) and (not self.needs_target or self.lent.target[0] in sample):
                yield sample

    def pieces(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Tracks → the pieces that the model sees one by one."""
        for sample in samples:
            pieces: list[Iterator[Sample]] = [iter([sample])]
            for _, reader in self.lent.readers.values():
                pieces.append(_expanded(pieces[-1], reader, self.training))
            yield from pieces[-1]

    def collate(self, samples: list[Sample]) -> Batch:
        """Pieces → a batch."""
        inputs = {
            name: reader([self._without(sample, name, fields) for sample in samples])
            for name, (fields, reader) in self.lent.readers.items()
        }
        return Batch(inputs, self.lent.target[1](samples), [s["track_id"] for s in samples])

    def _without(self, sample: Sample, encoder: str, fields: tuple[str, ...]) -> Sample:
        """The sample, or as if its track lacked what this encoder reads."""
        if not self.lacks(sample["track_id"], encoder):
            return sample
        return {key: value for key, value in sample.items() if key not in fields}


def _expanded(samples: Iterator[Sample], reader: Reader, training: bool) -> Iterator[Sample]:
    for sample in samples:
        yield from reader.expand(sample, training)


def _batched(items: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _shuffled(items: Iterator[Sample], size: int, generator: random.Random) -> Iterator[Sample]:
    """Hand out items from a buffer of `size`, each time a random one."""
    buffer: list[Sample] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        i = generator.randrange(size)
        buffer[i], out = item, buffer[i]
        yield out
    generator.shuffle(buffer)
    yield from buffer


class TrainStream(IterableDataset[Batch]):
    """Endless, in epochs of `batches` batches a rank; workers keep their place between epochs."""

    def __init__(
        self,
        pipeline: Pipeline,
        places: list[Place],
        batch_size: int,
        batches: int,
        buffer: int,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        self.pipeline, self.places, self.batch_size = pipeline, places, batch_size
        self.batches, self.buffer, self.seed = batches, buffer, seed
        self.rank, self.world = rank, world
        self._endless: Iterator[list[Sample]] | None = None

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        if self._endless is None:
            self._endless = self._stream(self.rank * workers + worker, self.world * workers)
        # The workers' shares add up to the epoch, so nothing that is prefetched is thrown away.
        share = self.batches // workers + (worker < self.batches % workers)
        for _ in range(share):
            yield self.pipeline.collate(next(self._endless))

    def _stream(self, consumer: int, consumers: int) -> Iterator[list[Sample]]:
        generator = random.Random(f"{self.seed}/{consumer}")  # noqa: S311
        # Shuffled epoch by epoch: a buffer that reaches across would repeat some tracks early.
        samples = (
            sample
            for epoch in count()
            for sample in _shuffled(self._epoch(epoch, consumer, consumers), self.buffer, generator)
        )
        return _batched(self.pipeline.pieces(samples), self.batch_size)

    def _epoch(self, epoch: int, consumer: int, consumers: int) -> Iterator[Sample]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.places))
        for i in order[consumer::consumers]:
            yield from self.pipeline.samples(self.places[i])


class OnceStream(IterableDataset[Batch]):
    """Each shard once, each by one (rank, worker) pair."""

    def __init__(
        self, pipeline: Pipeline, places: list[Place], batch_size: int, rank: int, world: int
    ) -> None:
        self.pipeline, self.places, self.batch_size = pipeline, places, batch_size
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        mine = self.places[self.rank * workers + worker :: self.world * workers]
        samples = (sample for place in mine for sample in self.pipeline.samples(place))
        for batch in _batched(self.pipeline.pieces(samples), self.batch_size):
            yield self.pipeline.collate(batch)


class InMemory:
    """A split that is read once and batched by index; shuffled anew each epoch while training."""

    def __init__(
        self,
        everything: Batch,
        batch_size: int,
        training: bool,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        self.everything, self.batch_size, self.training = everything, batch_size, training
        self.seed, self.rank, self.world, self.epoch = seed, rank, world, 0

    def _mine(self) -> Tensor:
        n = len(self.everything.track_ids)
        if not self.training:
            return torch.arange(self.rank, n, self.world)
        order = np.random.default_rng([self.seed, self.epoch]).permutation(n)
        equal = np.resize(order, -(-n // self.world) * self.world)  # every rank the same number
        return torch.from_numpy(equal[self.rank :: self.world])

    def __len__(self) -> int:
        return -(-len(self._mine()) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        inputs, target, ids = self.everything
        for rows in self._mine().split(self.batch_size):
            yield Batch(
                {name: Modality(m.values[rows], m.present[rows]) for name, m in inputs.items()},
                Modality(target.values[rows], target.present[rows]),
                [ids[row] for row in rows.tolist()],
            )
        if self.training:
            self.epoch += 1


class Keep:
    """Picklable: is a track outside the held-out fold, and among those that were named?"""

    def __init__(
        self, folds: int | None, fold: int | None, only: frozenset[str] | None = None
    ) -> None:
        self.folds, self.fold, self.only = folds, fold, only

    def __call__(self, track: str) -> bool:
        """Whether the track may be used."""
        if self.only is not None and track not in self.only:
            return False
        return self.folds is None or fold_of(track, self.folds) != self.fold


class Lacks:
    """Picklable: whether a track is treated as if it lacked what an encoder reads.

    Which tracks do is a hash of their ids: the same in every epoch, process and run.

    >>> lacks = Lacks(frozenset({"genres"}), 0.5)
    >>> [lacks(track, "mgp") for track in ("a", "b", "c", "d")], lacks("a", "genres")
    ([False, True, False, True], True)
    """

    def __init__(self, encoders: frozenset[str], share: float) -> None:
        self.encoders, self.share = encoders, share

    def __call__(self, track: str, encoder: str) -> bool:
        """Whether this track lacks it."""
        return encoder in self.encoders or _hash(f"{encoder}/{track}") < self.share * 2**64
