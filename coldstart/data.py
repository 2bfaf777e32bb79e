"""The LightningDataModule: shards and factors → batches.

Two ways, chosen by what the model reads. Small modalities (attributes, genres) are read once, kept
in memory and batched by index. Large ones (audio) are streamed by worker processes.

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
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from coldstart.encoders.base import Modality, Reader
from coldstart.errors import InputError
from coldstart.factors import Factors
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
    return int.from_bytes(hashlib.sha256(track_id.encode()).digest()[:8], "big") % folds


class Pipeline:
    """Tars → pieces → batches, for some shards. Picklable, so that workers can run it."""

    def __init__(
        self,
        shards: Shards,
        lent: Lent,
        vectors: Mapping[str, np.ndarray[Any, Any]],
        keep: Callable[[str], bool],
        needs_target: bool,
        training: bool,
    ) -> None:
        self.shards, self.lent, self.vectors = shards, lent, vectors
        self.keep, self.needs_target, self.training = keep, needs_target, training
        fields = [field for names, _ in lent.readers.values() for field in names]
        self.fields = {*fields, lent.target[0]} - {FACTORS}
        if folder_of(lent.target[0]) not in shards.modalities:
            self.fields -= {lent.target[0]}  # a dataset to predict on need not have the truth

    def samples(self, place: Place) -> Iterator[Sample]:
        """One shard's tracks, each with its factors, without those that can't be used."""
        for sample in self.shards.samples(*place, self.fields):
            track = sample["track_id"]
            if track in self.vectors:
                sample[FACTORS] = self.vectors[track]
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
        inputs = {name: reader(samples) for name, (_, reader) in self.lent.readers.items()}
        return Batch(inputs, self.lent.target[1](samples), [s["track_id"] for s in samples])


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
        samples = (s for place in self._order(consumer, consumers) for s in self._open(place))
        pieces = self.pipeline.pieces(_shuffled(samples, self.buffer, generator))
        return _batched(pieces, self.batch_size)

    def _order(self, consumer: int, consumers: int) -> Iterator[Place]:
        for epoch in count():
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.places))
            for i in order[consumer::consumers]:
                yield self.places[i]

    def _open(self, place: Place) -> Iterator[Sample]:
        return self.pipeline.samples(place)


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


class ColdStartData(LightningDataModule):
    """Shards, and the factors to be predicted from them, as batches for a `ColdStart` model."""

    def __init__(
        self,
        shards: str = "shards",
        factors: str | None = "factors",
        batch_size: int = 64,
        workers: int = 2,
        shuffle_buffer: int = 128,
        memory_mb: int = 4000,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        """Data for fit, validate, test and predict.

        Args:
            shards: folder written by `coldstart shard`.
            factors: folder written by `coldstart factorize`; null if the target isn't factors.
            batch_size: tracks (or patches of tracks) in a batch, on each GPU.
            workers: loader processes on each GPU, for streamed modalities; at most one a shard.
            shuffle_buffer: streamed tracks that a worker holds to shuffle, still encoded.
            memory_mb: modalities that aren't streamed by nature are kept in memory up to this
                size, and streamed beyond it.
            folds: with `fold`, tracks are divided into this many folds by a hash of their id.
            fold: this fold's tracks are held out of training and validation.
        """
        super().__init__()
        if (folds is None) != (fold is None) or (folds is not None and not 0 <= fold < folds):  # type: ignore[operator]
            raise InputError("data: folds and fold belong together, and fold is 0 … folds − 1")
        if batch_size < 1 or workers < 0 or shuffle_buffer < 1:
            raise InputError("data: batch_size ≥ 1, workers ≥ 0, shuffle_buffer ≥ 1 are needed")
        self.shards, self.batch_size, self.workers = Shards(shards), batch_size, workers
        self.factors = Factors.load(factors) if factors is not None else None
        self.shuffle_buffer, self.memory_mb = shuffle_buffer, memory_mb
        self.folds, self.fold = folds, fold
        self._lent: Lent | None = None
        self._memory: dict[tuple[str, bool], Batch] = {}
        if self.factors is not None:
            _same_splits(self.shards, self.factors)

    def info(self, folder: str) -> Mapping[str, Any]:
        """Facts of a modality, or of the factors.

        Raises:
            InputError: the dataset doesn't have it.
        """
        if folder != folder_of(FACTORS):
            return self.shards.info(folder)
        if self.factors is None:
            raise InputError("data.factors is null, but the model predicts factors; name a folder")
        return self.factors.about

    def lend(self, lent: Lent) -> None:
        """Take the model's readers; the trainer's model is asked if nobody calls this."""
        self._lent = lent

    def train_dataloader(self) -> Iterable[Batch]:
        """Shuffled training tracks that have a target."""
        return self.batches(["train"], training=True)

    def val_dataloader(self) -> Iterable[Batch]:
        """Validation tracks that have a target."""
        return self.batches(["val"], needs_target=True, folded=True)

    def test_dataloader(self) -> Iterable[Batch]:
        """All test tracks, also those that nobody played."""
        return self.batches(["test"])

    def predict_dataloader(self) -> Iterable[Batch]:
        """All tracks of all splits."""
        return self.batches(["train", "val", "test"])

    def batches(
        self,
        splits: list[str],
        *,
        training: bool = False,
        needs_target: bool = False,
        folded: bool = False,
    ) -> Iterable[Batch]:
        """Batches of these splits.

        Args:
            splits: of train, val and test.
            training: endless shuffled training pieces; else each piece of each track once.
            needs_target: leave out tracks without a target; training always does.
            folded: leave out the held-out fold; training always does.
        """
        pipeline = self.pipeline(
            training=training, needs_target=needs_target or training, folded=folded or training
        )
        lent = pipeline.lent
        places = [(s, i) for s in splits for i in range(len(self.shards.shard_sizes(s)))]
        if not places:
            raise InputError(f"{self.shards.folder}: there is no track in {', '.join(splits)}")
        rank, world, seed = self._rank_world_seed()
        if not lent.streamed and self._fits(pipeline, places):
            everything = self._read_all(pipeline, places)
            self._must_have(len(everything.track_ids), splits)
            return InMemory(everything, self.batch_size, training, seed, rank, world)
        tracks = self._usable(pipeline, places)
        self._must_have(tracks, splits)
        if training and len(places) < world:
            raise InputError(
                f"{self.shards.folder}: {len(places)} training shards for {world} GPUs; each needs "
                "at least one. Shard with a smaller --shard-size, or use fewer GPUs"
            )
        workers = min(self.workers, max(1, len(places) // world) if training else len(places))
        stream: IterableDataset[Batch]
        if training:
            pieces = max(reader.pieces for _, reader in lent.readers.values())
            batches = -(-tracks * pieces // (self.batch_size * world))
            stream = TrainStream(
                pipeline, places, self.batch_size, batches, self.shuffle_buffer, seed, rank, world
            )
        else:
            stream = OnceStream(pipeline, places, self.batch_size, rank, world)
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=workers,
            # Training streams keep their place; validation comes again and again.
            persistent_workers=workers > 0 and (training or needs_target),
            pin_memory=torch.cuda.is_available(),
        )

    def pipeline(
        self, *, training: bool = False, needs_target: bool = False, folded: bool = False
    ) -> Pipeline:
        """What turns shards, or single samples, into batches; arguments as in `batches`."""
        module: Any = self.trainer.lightning_module if self.trainer else None
        lent = self._lent or module.lend()
        keep = _Keep(self.folds, self.fold) if folded else _Keep(None, None)
        vectors = self._vectors(known_only=training) if lent.target[0] == FACTORS else {}
        return Pipeline(self.shards, lent, vectors, keep, needs_target, training)

    def _rank_world_seed(self) -> tuple[int, int, int]:
        # Every rank must shuffle alike, also where nobody has set a seed.
        seed = torch.initial_seed() % 2**32
        if self.trainer is None:
            return 0, 1, seed
        seed = self.trainer.strategy.broadcast(seed)
        return self.trainer.global_rank, self.trainer.world_size, seed

    def _vectors(self, known_only: bool) -> dict[str, np.ndarray[Any, Any]]:
        """Track id → factor vector. Training never sees one that was folded in."""
        assert self.factors is not None
        made = self.factors
        rows = np.flatnonzero(~made.folded) if known_only else range(len(made.track_ids))
        return {made.track_ids[row]: made.tracks[row] for row in rows}

    def _usable(self, pipeline: Pipeline, places: list[Place]) -> int:
        """Tracks that will be seen; where it depends on the tars' content, the expected number."""
        ids = [t["track_id"] for place in places for t in self.shards.tracks(*place)]
        kept = [track for track in ids if pipeline.keep(track)]
        field = pipeline.lent.target[0]
        if not pipeline.needs_target:
            return len(kept)
        if field == FACTORS:
            return sum(track in pipeline.vectors for track in kept)
        counts: dict[str, list[int]] = self.shards.info(folder_of(field))["shards"]
        return round(len(kept) * sum(counts[s][i] for s, i in places) / max(1, len(ids)))

    def _must_have(self, tracks: int, splits: list[str]) -> None:
        if tracks == 0:
            raise InputError(
                f"{self.shards.folder}: no track in {', '.join(splits)} can be used: none has a "
                "target (were factors and shards made from the same tracks?)"
            )

    def _fits(self, pipeline: Pipeline, places: list[Place]) -> bool:
        first = next(pipeline.samples(places[0]), None)
        if first is None:
            return True
        row = pipeline.collate([first])
        size = sum(m.values.nbytes for m in [*row.inputs.values(), row.target])
        tracks = sum(self.shards.shard_sizes(s)[i] for s, i in places)
        return size * tracks <= self.memory_mb * 1e6

    def _read_all(self, pipeline: Pipeline, places: list[Place]) -> Batch:
        samples = [s for place in places for s in pipeline.pieces(pipeline.samples(place))]
        return pipeline.collate(samples)


class _Keep:
    """Picklable: is a track outside the held-out fold?"""

    def __init__(self, folds: int | None, fold: int | None) -> None:
        self.folds, self.fold = folds, fold

    def __call__(self, track: str) -> bool:
        return self.folds is None or fold_of(track, self.folds) != self.fold


def _same_splits(shards: Shards, factors: Factors) -> None:
    """A track that trains here and is held out there (or the other way) would leak."""
    side = dict(zip(factors.track_ids, factors.split.tolist(), strict=True))
    for track in shards.all_tracks():
        there = side.get(track["track_id"], "")
        if there and there != track["split"]:
            raise InputError(
                f"track {track['track_id']!r} is in '{track['split']}' of {shards.folder}, but in "
                f"'{there}' of the factors: its plays would leak. Make both from the same splits"
            )
