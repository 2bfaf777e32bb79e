"""Many samples → one batch, decoded chunk by chunk, in about the memory of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch import Tensor

from coldstart.encoders.base import Modality
from coldstart.sample import Sample
from coldstart.streams import Batch

CHUNK = 1024
"""Samples whose raw bytes are held at a time."""


def collate_in_chunks(
    collate: Callable[[list[Sample]], Batch],
    samples: Iterable[Sample],
    expected: int,
    size: int = CHUNK,
) -> Batch | None:
    """What `collate` makes of all samples, in about the memory of the result.

    Args:
        collate: samples → a batch.
        samples: read one by one.
        expected: about how many they are; room for so many is set aside, and more is made.
        size: of a chunk.

    Returns:
        The batch; None if there is no sample, or if a reader's values are as wide as the widest of
        a chunk, so that chunks can't be joined: then collate all at once.
    """
    left, ids = iter(samples), list[str]()
    whole: list[Tensor] = []
    batch: Batch | None = None
    while chunk := list(islice(left, size)):
        batch = collate(chunk)
        parts = _tensors(batch)
        start, end = len(ids), len(ids) + len(chunk)
        if not whole:  # memory that is set aside takes none until something is written to it
            whole = [part.new_empty((max(expected, end), *part.shape[1:])) for part in parts]
        if any(a.shape[1:] != b.shape[1:] for a, b in zip(whole, parts, strict=True)):
            return None
        if end > len(whole[0]):
            whole = [torch.cat([part, torch.empty_like(part)]) for part in whole]
        for room, part in zip(whole, parts, strict=True):
            room[start:end] = part
        ids += batch.track_ids
    if batch is None:
        return None
    filled = iter([part[: len(ids)] for part in whole])
    inputs = {name: Modality(next(filled), next(filled)) for name in batch.inputs}
    return Batch(inputs, Modality(next(filled), next(filled)), ids)


def _tensors(batch: Batch) -> list[Tensor]:
    return [tensor for modality in (*batch.inputs.values(), batch.target) for tensor in modality]
