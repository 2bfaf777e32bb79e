"""Which way batches are loaded: from memory, streamed once, or streamed epoch after epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch.utils.data import DataLoader

from coldstart.data.batch import Batch, Kept
from coldstart.data.epochs import Position, TrainLoader
from coldstart.data.pipeline import CHUNK, Pipeline, collate_in_chunks
from coldstart.data.random_state import drawn_from
from coldstart.data.streams import InMemory, OnceStream, TrainStream
from coldstart.encoders.sparse_rows import compressed
from coldstart.errors import InputError
from coldstart.sample import Sample, folder_of
from coldstart.shards.format import Place
from coldstart.sigterm import only_from_parent

log = logging.getLogger(__name__)


class Request(NamedTuple):
    """What is asked of a loader.

    Attributes:
        splits: of train, val, test and new.
        training: endless shuffled training pieces; else each piece of each track once.
        selected: the pipeline keeps named tracks only: shards without any of them are left out.
        repeated: it is iterated again and again, as validation is.
        batch_size: pieces in a batch.
        workers: loader processes, at most.
        shuffle_buffer: streamed tracks that a worker holds to shuffle.
        memory_mb: up to this size, what isn't streamed by nature is kept in memory.
        position: the next batch of a training loader.
        rank: of this process.
        world: how many processes there are.
        seed: of the order.
    """

    splits: Sequence[str]
    training: bool
    selected: bool
    repeated: bool
    batch_size: int
    workers: int
    shuffle_buffer: int
    memory_mb: int
    position: Position
    rank: int
    world: int
    seed: int


def loader_of(pipeline: Pipeline, request: Request) -> Iterable[Batch]:
    """The loader for a request.

    Raises:
        InputError: there is no such track, none with a target, or too few shards for all ranks.
    """
    shards, places = pipeline.shards, _places(pipeline, request)
    rank, world, seed = request.rank, request.world, request.seed
    row = 0 if pipeline.lent.streamed else _row_bytes(pipeline, places)
    if not pipeline.lent.streamed and _fits(pipeline, places, row, request.memory_mb):
        with drawn_from(seed):
            everything = _read_all(pipeline, places, row)
        _must_have(pipeline, len(everything.track_ids), request.splits)
        memory = InMemory(everything, request.batch_size, request.training, seed, rank, world)
        if request.training:
            return TrainLoader(memory, len(memory), request.position)
        return memory
    tracks = _usable(pipeline, places)
    _must_have(pipeline, tracks, request.splits)
    if not request.training:
        return _once(pipeline, places, request)
    if len(places) < world:
        raise InputError(
            f"{shards.shown}: {len(places)} training shards for {world} processes, and "
            "each needs one or more. Shard with a smaller --shard-size, or use fewer GPUs"
        )
    workers = min(request.workers, len(places) // world)
    if workers < request.workers and rank == 0:
        log.warning(
            f"{shards.shown}: {len(places)} training shards are too few for {world} × "
            f"{request.workers} loader workers: {workers} a process are used. A smaller "
            "--shard-size makes more shards"
        )
    pieces = max(reader.pieces for _, reader in pipeline.lent.readers.values())
    batches = -(-tracks * pieces // (request.batch_size * world))
    buffer, parts = request.shuffle_buffer, workers or 1
    stream = TrainStream(pipeline, places, request.batch_size, buffer, seed, rank, world, parts)
    return TrainLoader(stream, batches, request.position, workers)


def _once(pipeline: Pipeline, places: list[Place], request: Request) -> DataLoader[Batch]:
    """Each shard once, streamed."""
    workers = min(request.workers, len(places))
    return DataLoader(
        OnceStream(pipeline, places, request.batch_size, request.rank, request.world),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=only_from_parent,
        persistent_workers=workers > 0 and request.repeated,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # else it would draw from dropout's
    )


def _places(pipeline: Pipeline, request: Request) -> list[Place]:
    """The shards to read."""
    shards, splits = pipeline.shards, ", ".join(request.splits)
    places = [(s, i) for s in request.splits for i in range(len(shards.shard_sizes(s)))]
    if not places:
        raise InputError(f"{shards.shown}: there is no track in {splits}")
    hidden = shards.removed or shards.current
    if request.selected or (pipeline.in_use and hidden):
        places = [
            place
            for place in places
            if any(pipeline.keeps(track, place) for track in _ids(pipeline, place))
        ]
        if not places:
            raise InputError(f"{shards.shown}: none of the tracks that are wanted is in {splits}")
    return places


def _ids(pipeline: Pipeline, place: Place) -> list[str]:
    return [track["track_id"] for track in pipeline.shards.tracks(*place)]


def _usable(pipeline: Pipeline, places: list[Place]) -> int:
    """Tracks that will be seen; where it depends on the tars' content, the expected number."""
    sizes = [pipeline.count(place) for place in places]
    if None not in sizes:
        return sum(filter(None, sizes))
    kept = [pipeline.keeps(track, place) for place in places for track in _ids(pipeline, place)]
    folder = folder_of(pipeline.lent.target[0])
    with_target = sum(pipeline.shards.count(folder, *place) for place in places)
    return round(sum(kept) * with_target / max(1, len(kept)))


def _must_have(pipeline: Pipeline, tracks: int, splits: Sequence[str]) -> None:
    if tracks == 0:
        raise InputError(
            f"{pipeline.shards.shown}: no track in {', '.join(splits)} can be used: none has a "
            "target (were factors and shards made from the same tracks?)"
        )


_SOME = 64
"""Tracks by which memory is estimated, and at least in a chunk."""

_CHUNK_BYTES = 1 << 26
"""Memory of a chunk of wide rows, before those of few numbers are compressed."""


def _row_bytes(pipeline: Pipeline, places: list[Place]) -> int:
    """Memory of the first track as it is batched; 0 if there is none."""
    first = next((sample for place in places for sample in pipeline.samples(place)), None)
    if first is None:
        return 0
    row = pipeline.collate([first])
    return sum(m.values.nbytes for m in [*row.inputs.values(), row.target])


def _compressed_row_bytes(pipeline: Pipeline, places: list[Place]) -> float:
    """Memory that a track takes where few of its numbers aren't zero, by a few of them."""
    samples = (sample for place in places for sample in pipeline.samples(place))
    some = list(islice(samples, _SOME))
    batch = pipeline.collate(some)
    inputs = sum(compressed(m.values).nbytes for m in batch.inputs.values())
    return (inputs + batch.target.values.nbytes) / len(some)


def _fits(pipeline: Pipeline, places: list[Place], row: int, memory_mb: int) -> bool:
    """Whether all tracks, if each is as large as the first ones, fit into memory.

    Args:
        pipeline: of the tracks.
        places: of their shards.
        row: memory of one, as it is batched.
        memory_mb: what there is.
    """
    room = memory_mb * 1e6 / max(1, sum(pipeline.shards.shard_sizes(s)[i] for s, i in places))
    return row <= room or (memory_mb > 0 and _compressed_row_bytes(pipeline, places) <= room)


def _read_all(pipeline: Pipeline, places: list[Place], row: int) -> Kept:
    def samples() -> Iterator[Sample]:
        return (s for place in places for s in pipeline.pieces(pipeline.samples(place)))

    tracks = sum(pipeline.shards.shard_sizes(split)[i] for split, i in places)
    size = min(CHUNK, max(_SOME, _CHUNK_BYTES // max(1, row)))
    whole = collate_in_chunks(pipeline.collate, samples(), tracks, size)
    return whole or Kept(*pipeline.collate(list(samples())))
