"""Tars → pieces → batches: what is done to each sample, and many samples as one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coldstart.data.batch import Batch, Kept, Lent
from coldstart.encoders.base import Modality, Reader
from coldstart.encoders.sparse_rows import AnyRows, SparseRows, as_dense, compressed, joined
from coldstart.sample import MalformedError, Sample, folder_of
from coldstart.shards.format import Place
from coldstart.shards.reading import Shards
from coldstart.targets.track_factors import FACTORS


class Pipeline:
    """Tars → pieces → batches, for some shards. Picklable, so that workers can run it.

    `joined` holds what is in no tar: field → (track id → value, or None if it has none). With
    `in_use`, tracks that were removed, and copies that others have replaced, are left out.
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
        in_use: bool = False,
    ) -> None:
        self.shards, self.lent, self.joined, self.lacks = shards, lent, joined, lacks
        self.keep, self.needs_target, self.training = keep, needs_target, training
        self.in_use = in_use
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
            has_target = not self.needs_target or self.lent.target[0] in sample
            if has_target and self.keeps(track, place):
                yield sample

    def keeps(self, track: str, place: Place) -> bool:
        """Whether a shard's track is used, as far as its id tells."""
        return self.keep(track) and (not self.in_use or self.shards.is_in_use(track, *place))

    def count(self, place: Place) -> int | None:
        """How many tracks `samples` gives of a shard; None if its tars must be read to know."""
        ids = [track["track_id"] for track in self.shards.tracks(*place)]
        kept = [track for track in ids if self.keeps(track, place)]
        if not self.needs_target:
            return len(kept)
        if self.lent.target[0] not in self.joined:
            return None
        return sum(self.joined[self.lent.target[0]](track) is not None for track in kept)

    def pieces(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """Tracks → the pieces that the model sees one by one."""
        for sample in samples:
            pieces: list[Iterator[Sample]] = [iter([sample])]
            for _, reader in self.lent.readers.values():
                pieces.append(_expanded(pieces[-1], reader, self.training))
            with self._named():
                yield from pieces[-1]

    def collate(self, samples: list[Sample]) -> Batch:
        """Pieces → a batch."""
        with self._named():
            inputs = {
                name: reader([self._without(sample, name, fields) for sample in samples])
                for name, (fields, reader) in self.lent.readers.items()
            }
            return Batch(inputs, self.lent.target[1](samples), [s["track_id"] for s in samples])

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Readers know a track and its shard; say in which dataset they are."""
        try:
            yield
        except MalformedError as error:
            raise self.shards.malformed(error) from error

    def _without(self, sample: Sample, encoder: str, fields: tuple[str, ...]) -> Sample:
        """The sample, or as if its track lacked what this encoder reads."""
        if not self.lacks(sample["track_id"], encoder):
            return sample
        return {key: value for key, value in sample.items() if key not in fields}


def _expanded(samples: Iterator[Sample], reader: Reader, training: bool) -> Iterator[Sample]:
    for sample in samples:
        yield from reader.expand(sample, training)


CHUNK = 1024
"""Samples whose raw bytes are held at a time."""


def collate_in_chunks(
    collate: Callable[[list[Sample]], Batch],
    samples: Iterable[Sample],
    expected: int,
    size: int = CHUNK,
) -> Kept | None:
    """What `collate` makes of all samples, in about the memory of the result.

    Args:
        collate: samples → a batch.
        samples: read one by one.
        expected: about how many they are; room for so many is set aside, and more is made.
        size: of a chunk.

    Returns:
        The tracks; None if there is no sample, or if a reader's values are as wide as the widest of
        a chunk, so that chunks can't be joined: then collate all at once.
    """
    rest, ids = iter(samples), list[str]()
    whole: list[_Growing] = []
    batch: Batch | None = None
    while chunk := list(islice(rest, size)):
        batch = collate(chunk)
        parts = _tensors(batch)
        whole = whole or [_Growing(part, expected) for part in parts]
        if any(a.shape != b.shape[1:] for a, b in zip(whole, parts, strict=True)):
            return None
        for growing, part in zip(whole, parts, strict=True):
            growing.add(part)
        ids += batch.track_ids
    if batch is None:
        return None
    filled = iter(growing.rows() for growing in whole)
    inputs = {name: (next(filled), as_dense(next(filled))) for name in batch.inputs}
    return Kept(inputs, Modality(as_dense(next(filled)), as_dense(next(filled))), ids)


class _Growing:
    """Rows to which others are added; sparse if the first ones are wide and nearly all zeros."""

    def __init__(self, first: Tensor, expected: int) -> None:
        self.shape = first.shape[1:]
        self.sparse = isinstance(compressed(first), SparseRows)
        self.parts: list[AnyRows] = []
        # Memory that is set aside takes none until something is written to it.
        self.room = first.new_empty((0 if self.sparse else expected, *self.shape))
        self.count = 0

    def add(self, part: Tensor) -> None:
        """Copy these rows."""
        if self.sparse:
            self.parts.append(SparseRows.of(part))
            return
        end = self.count + len(part)
        if end > len(self.room):
            more = self.room.new_empty((max(len(self.room), end), *self.shape))
            self.room = torch.cat([self.room[: self.count], more])
        self.room[self.count : end] = part
        self.count = end

    def rows(self) -> AnyRows:
        """All that were added."""
        return joined(self.parts) if self.sparse else self.room[: self.count]


def _tensors(batch: Batch) -> list[Tensor]:
    return [tensor for modality in (*batch.inputs.values(), batch.target) for tensor in modality]
