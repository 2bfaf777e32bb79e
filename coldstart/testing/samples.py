"""What the contracts share: contents as a tar would give them, and a part saved and made again."""

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
"""A track's fields: bytes, as they lie in the tars."""


def modality(encoder: Encoder, tracks: Sequence[Content | None]) -> Modality:
    """Read tracks as a loader's worker would; None is a track that lacks the modality."""
    return encoder.reader()(samples(tracks))


def samples(tracks: Sequence[Content | None]) -> list[Sample]:
    """As a tar would give them; None is a track that lacks the modality."""
    return [
        {"track_id": f"t{i}", "shard": "train/000000", **(content or {})}
        for i, content in enumerate(tracks)
    ]


def same_when_saved(kind: registry.Kind, made: Component) -> Any:
    """A part made again from what a checkpoint would say of it, read without unpickling."""
    file = io.BytesIO()
    torch.save(made.recipe(), file)
    file.seek(0)
    return registry.create(kind, torch.load(file, weights_only=True))
