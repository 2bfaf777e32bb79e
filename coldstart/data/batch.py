"""What data and model hand each other: a batch, and the model's readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from coldstart.encoders.base import Modality, Reader
from coldstart.encoders.sparse_rows import AnyRows, as_dense, at
from coldstart.factors.listening import NOTHING, Listening


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


class Kept(NamedTuple):
    """Tracks that are kept in memory; what few of their numbers aren't zero of, as only these.

    Attributes:
        inputs: modality → values [N, …] and mask [N].
        target: values [N, K] and mask.
        track_ids: N ids.
    """

    inputs: Mapping[str, tuple[AnyRows, torch.Tensor]]
    target: Modality
    track_ids: list[str]

    def at(self, rows: torch.Tensor) -> Batch:
        """These tracks, [B] int64, as a batch."""
        inputs = {
            name: Modality(as_dense(at(values, rows)), present[rows])
            for name, (values, present) in self.inputs.items()
        }
        target = Modality(self.target.values[rows], self.target.present[rows])
        return Batch(inputs, target, [self.track_ids[row] for row in rows.tolist()])


class Lent(NamedTuple):
    """What the model lends to the data side.

    Attributes:
        readers: encoder name → the fields it reads, and its reader.
        target: the target's field and reader.
        streamed: whether any of the modalities must be streamed.
        factor_fields: fields that lie in no shard, for they hold other tracks' factors.
        listening: what the model knows of listeners beside the factors.
    """

    readers: Mapping[str, tuple[tuple[str, ...], Reader]]
    target: tuple[str, Reader]
    streamed: bool
    factor_fields: tuple[str, ...] = ()
    listening: Listening = NOTHING
