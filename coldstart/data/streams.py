"""Tars → pieces → batches: the ways that samples flow, for one process or many.

Streaming under DDP: every (rank, worker) pair goes through its own part of each epoch's seeded
permutation of the shards; an epoch is the same number of batches on every rank. A training batch is
a function of seed, epoch and number, whatever was done before (see epochs.py). At evaluation each
pair reads its shards once, and no track comes twice.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count, islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from coldstart.data.batch import Batch, Kept
from coldstart.data.pipeline import Pipeline
from coldstart.data.random_state import drawn_from
from coldstart.sample import Sample
from coldstart.shards.format import Place

T = TypeVar("T")


def _batched(items: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _shuffled(items: Iterable[T], size: int, generator: random.Random) -> Iterator[T]:
    """Hand out items from a buffer of `size`, each time a random one."""
    buffer: list[T] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        i = generator.randrange(size)
        buffer[i], out = item, buffer[i]
        yield out
    generator.shuffle(buffer)
    yield from buffer


class TrainStream(Dataset[Batch]):
    """Training batches by their key: epoch and number.

    Number n of an epoch belongs to part n mod `parts`, which a worker process makes: it streams
    through the shards that this epoch deals to the part. Asked for the next number of a part, it
    continues the stream. Asked for any other, it passes over the batches before: they aren't
    decoded, and where a shard's tracks can be counted without its tars, these aren't read either.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        places: list[Place],
        batch_size: int,
        buffer: int,
        seed: int,
        rank: int,
        world: int,
        parts: int = 1,
    ) -> None:
        self.pipeline, self.places, self.batch_size = pipeline, places, batch_size
        self.buffer, self.seed = buffer, seed
        self.rank, self.world, self.parts = rank, world, parts
        self._next: tuple[int, int] | None = None
        self._stream: Iterator[list[Sample]] = iter(())

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, number = key
        if self._next != key:
            part, before = number % self.parts, number // self.parts
            counted = before if self._can_count() else 0
            self._stream = self._batches(epoch, part, counted)
            for earlier in range(counted, before):
                with self._drawing(epoch, earlier * self.parts + part):
                    next(self._stream)
        with self._drawing(epoch, number):
            batch = self.pipeline.collate(next(self._stream))
        self._next = epoch, number + self.parts
        return batch

    def _drawing(self, epoch: int, number: int) -> AbstractContextManager[None]:
        """What readers draw, such as a patch's place, depends on the batch alone."""
        return drawn_from(self.seed, epoch, self.rank, number)

    def _can_count(self) -> bool:
        """Whether tracks are pieces, and their number is known."""
        readers = self.pipeline.lent.readers.values()
        one = all(reader.pieces == 1 for _, reader in readers)
        return one and self.pipeline.count(self.places[0]) is not None

    def _batches(self, epoch: int, part: int, passed: int) -> Iterator[list[Sample]]:
        """The batches of a part, from number `passed` on.

        An epoch deals its shards to the parts; where a part's shards are too few, it deals again.
        Of the shards of the batches that are passed over, only those that still have tracks in the
        shuffle buffer are read.
        """
        consumer, consumers = self.rank * self.parts + part, self.world * self.parts
        for deal in count():
            order = np.random.default_rng([self.seed, epoch, deal]).permutation(len(self.places))
            places = [self.places[i] for i in order[consumer::consumers]]
            seed, first = f"{self.seed}/{epoch}/{deal}/{consumer}", passed * self.batch_size
            sizes = [self.pipeline.count(place) or 0 for place in places] if passed else []
            if first >= sum(sizes) and passed:
                passed -= -(-sum(sizes) // self.batch_size)
                continue
            samples = self._samples(places, sizes, self._unread(sizes, seed, first))
            mixed = _shuffled(samples, self.buffer, random.Random(seed))  # noqa: S311
            pieces = self.pipeline.pieces(islice(mixed, first, None))
            passed = 0
            yield from _batched(pieces, self.batch_size)

    def _unread(self, sizes: Sequence[int], seed: str, first: int) -> set[int]:
        """The shards whose tracks all come before track number `first` of the shuffled order."""
        shard_of_track = (i for i, size in enumerate(sizes) for _ in range(size))
        order = _shuffled(shard_of_track, self.buffer, random.Random(seed))  # noqa: S311
        return set(range(len(sizes))) - set(islice(order, first, None))

    def _samples(
        self, places: Sequence[Place], sizes: Sequence[int], unread: Collection[int]
    ) -> Iterator[Sample]:
        """The shards' tracks; of shards that need not be read, as many empty samples."""
        for i, place in enumerate(places):
            if i in unread:
                yield from ({} for _ in range(sizes[i]))
            else:
                yield from self.pipeline.samples(place)


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


class InMemory(Dataset[Batch]):
    """A split that is read once and batched by index; shuffled anew each epoch while training.

    Training batches are asked for by their key: epoch and number.
    """

    def __init__(
        self,
        everything: Kept,
        batch_size: int,
        training: bool,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        self.everything, self.batch_size, self.training = everything, batch_size, training
        self.seed, self.rank, self.world = seed, rank, world
        self._order: tuple[int, Sequence[Tensor]] = (0, self._rows(0))

    def _rows(self, epoch: int) -> Sequence[Tensor]:
        """Of each batch, its rows."""
        n = len(self.everything.track_ids)
        rows = np.arange(n)
        if self.training:
            order = np.random.default_rng([self.seed, epoch]).permutation(n)
            rows = np.resize(order, -(-n // self.world) * self.world)  # every rank the same number
        mine = torch.from_numpy(rows[self.rank :: self.world])
        return [mine[i : i + self.batch_size] for i in range(0, len(mine), self.batch_size)]

    def __len__(self) -> int:
        return len(self._order[1])

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, number = key
        if self._order[0] != epoch:
            self._order = (epoch, self._rows(epoch))
        return self.everything.at(self._order[1][number])

    def __iter__(self) -> Iterator[Batch]:
        return (self[0, number] for number in range(len(self)))
