"""From content as it was read to a kernel's features: centred, scaled and weighted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from coldstart.encoders.sparse_rows import AnyRows, SparseRows, at
from coldstart.fusion.features import KernelFeatures, SparsePart


class Scaling(NamedTuple):
    """What makes modalities of different sizes comparable.

    Attributes:
        dims: modality → its width, in the order in which they stand side by side: F in all.
        mean: [F], taken away.
        scale: [F], multiplied by then: a modality's vectors have a mean length of 1.
        weight: [M] of each modality.
        sparse: the modalities whose content is sparse.
    """

    dims: Mapping[str, int]
    mean: Tensor
    scale: Tensor
    weight: Tensor
    sparse: Collection[str]

    def features(
        self,
        content: Mapping[str, AnyRows],
        present: Mapping[str, Tensor],
        names: Sequence[str] | None = None,
    ) -> KernelFeatures:
        """Tracks as a kernel sees them, of all modalities or some."""
        widths = torch.tensor(list(self.dims.values()), device=self.weight.device)
        factor = self.scale * self.weight.repeat_interleave(widths)
        tracks = len(next(iter(present.values())))
        plain = [self.mean.new_zeros(tracks, 0)]
        for name, place in columns_of(self.dims).items():
            if name in (names or self.dims) and name not in self.sparse:
                rows = content[name]
                assert isinstance(rows, Tensor)
                scaled = (rows - self.mean[place]) * factor[place]
                plain.append(torch.where(present[name][:, None], scaled, 0.0))
        return KernelFeatures(torch.cat(plain, dim=1), self.sparse_parts(content, present, names))

    def sparse_parts(
        self,
        content: Mapping[str, AnyRows],
        present: Mapping[str, Tensor],
        names: Sequence[str] | None = None,
    ) -> tuple[SparsePart, ...]:
        """The sparse ones of all modalities or some."""
        parts = []
        for number, (name, place) in enumerate(columns_of(self.dims).items()):
            if name in (names or self.dims) and name in self.sparse:
                factor = float(self.scale[place][0] * self.weight[number])
                parts.append(SparsePart(content[name], present[name], self.mean[place], factor))
        return tuple(parts)


def columns_of(dims: Mapping[str, int]) -> dict[str, slice]:
    """The columns of each modality, side by side.

    >>> columns_of({"a": 2, "b": 3})
    {'a': slice(0, 2, None), 'b': slice(2, 5, None)}
    """
    ends = torch.tensor([0, *dims.values()]).cumsum(0).tolist()
    places = [slice(start, end) for start, end in pairwise(ends)]
    return dict(zip(dims, places, strict=True))


class Standard(NamedTuple):
    """What makes one modality comparable to others.

    Attributes:
        mean: [dim].
        scale: after it is taken away: a modality's vectors then have a mean length of 1.
    """

    mean: Tensor
    scale: float


def standard_of(rows: AnyRows, present: Tensor) -> Standard:
    """Of one modality, over the tracks that have it; if it is the same for all of them, its scale
    is 0.

    Args:
        rows: [N, dim].
        present: [N] bool.
    """
    rows = at(rows, present.nonzero()[:, 0])
    if isinstance(rows, SparseRows):
        count = max(1, len(rows))
        mean = rows.column_sums() / count
        lengths = rows.squared_lengths().sum() / count
        squared = lengths - mean.square().sum()
        # A difference of two numbers is never quite 0.
        spread = float(squared.sqrt()) if squared > 1e-12 * lengths else 0.0
        return Standard(mean.to(rows.values.dtype), 1 / spread if spread else 0.0)
    if not len(rows):
        return Standard(rows.new_zeros(rows.shape[1]), 0.0)
    values = rows.double()
    spread = float((values - values.mean(0)).square().sum(1).mean().sqrt())
    return Standard(values.mean(0).to(rows), 1 / spread if spread > 0 else 0.0)
