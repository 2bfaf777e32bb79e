"""What the contracts share: contents as from a tar, and a part rebuilt from a checkpoint."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from coldstart import registry
from coldstart.components import Component
from coldstart.encoders.base import Encoder, Modality
from coldstart.sample import Sample

Content = Mapping[str, Any]
"""A track's fields: bytes, as in the tars."""


def modality(encoder: Encoder, tracks: Sequence[Content | None]) -> Modality:
    """Read tracks as a loader's worker would; None is a track that lacks the modality."""
    return encoder.reader()(samples(tracks))


def samples(tracks: Sequence[Content | None]) -> list[Sample]:
    """Samples as from a tar; None is a track that lacks the modality."""
    return [
        {"track_id": f"t{i}", "shard": "train/000000", **(content or {})}
        for i, content in enumerate(tracks)
    ]


def rebuilt(kind: registry.Kind, part: Component) -> Any:
    """A part rebuilt from its recipe, saved and read as in a checkpoint, without unpickling."""
    file = io.BytesIO()
    torch.save(part.recipe(), file)
    file.seek(0)
    return registry.create(kind, torch.load(file, weights_only=True))
