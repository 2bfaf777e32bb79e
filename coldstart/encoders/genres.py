"""Genres: a set of names a track."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coldstart.encoders.base import Encoder, Modality, WholeTrack, dense
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed


class GenreReader(WholeTrack):
    """Reads JSON lists of names into multi-hot vectors; unknown names are left out."""

    def __init__(self, field: str, vocabulary: Sequence[str]) -> None:
        self.field = field
        self.column = {name: i for i, name in enumerate(vocabulary)}

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, V] of 0 and 1.

        A track with none of the vocabulary's genres counts as present, for its genres are known.
        """
        values = torch.zeros(len(samples), len(self.column))
        present = torch.zeros(len(samples), dtype=torch.bool)
        for i, sample in enumerate(samples):
            if self.field in sample:
                columns = [self.column[g] for g in self._decode(sample) if g in self.column]
                values[i, columns], present[i] = 1.0, True
        return Modality(values, present)

    def _decode(self, sample: Sample) -> list[str]:
        try:
            names = json.loads(sample[self.field])
        except (ValueError, RecursionError) as error:  # nested too deeply
            names = error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise malformed(sample, self.field, "not a JSON list of names")
        return names


class Genres(Encoder):
    """Multi-hot genres through a dense net (the third input of the talk's row 10)."""

    interface = 1
    fields: tuple[str, ...] = ("genres.json",)

    def __init__(
        self, hidden: Sequence[int] = (256,), dropout: float = 0.5, max_genres: int = 1000
    ) -> None:
        """Dense layers of these widths; the last one is what fusion gets.

        Args:
            hidden: widths of the layers; none: fusion gets the multi-hot genres themselves.
            dropout: share of units dropped after each layer while training.
            max_genres: size of the vocabulary: the most frequent genres of the training tracks.
        """
        super().__init__()
        if min(hidden, default=1) < 1:
            raise InputError(f"hidden: {list(hidden)} are not widths of at least 1")
        self.hidden, self.dropout, self.max_genres = tuple(hidden), dropout, max_genres

    @classmethod
    def as_is(cls, folder: str, info: Mapping[str, Any]) -> dict[str, Any] | None:
        """Genres, as multi-hot vectors."""
        return {"hidden": []} if f"{folder}.json" in cls.fields and "vocabulary" in info else None

    def has_layers(self) -> bool:
        """Unless `hidden` is empty."""
        return bool(self.hidden)

    def build(self, info: Mapping[str, Any]) -> None:
        """Make the layers for the vocabulary in `info["vocabulary"]`, most frequent first."""
        self.vocabulary: list[str] = list(info["vocabulary"])[: self.max_genres]
        if not self.vocabulary:
            raise InputError(f"{self.fields[0]}: no training track has a genre to learn from")
        sizes = (len(self.vocabulary), *self.hidden)
        self.net = dense(sizes, self.dropout)
        self.dim = sizes[-1]

    def reader(self) -> GenreReader:
        """Reads names into multi-hot vectors over the vocabulary."""
        return GenreReader(self.fields[0], self.vocabulary)

    def feature_names(self) -> list[str]:
        """The vocabulary; contributions are measured relative to a track without any genre."""
        return self.vocabulary

    def encode(self, values: Tensor) -> Tensor:
        """[B, V] → [B, dim]."""
        encoded: Tensor = self.net(values)
        return encoded
