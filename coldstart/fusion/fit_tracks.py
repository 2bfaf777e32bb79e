"""The training tracks that a head is solved on: all, or a random sample of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from coldstart.errors import InputError
from coldstart.fusion.base import Solvable


class FitTracks(NamedTuple):
    """N tracks.

    Attributes:
        values: [N, F] content of all modalities, side by side.
        present: modality → [N] bool.
        vectors: [N, K].
        group: [N] int64: left out together.
        track_ids: N ids, or none.
    """

    values: Tensor
    present: dict[str, Tensor]
    vectors: Tensor
    group: Tensor
    track_ids: list[str]

    def at(self, rows: Tensor) -> FitTracks:
        """The tracks of these rows, in this order."""
        present = {name: mask[rows] for name, mask in self.present.items()}
        ids = [self.track_ids[row] for row in rows.tolist()] if self.track_ids else []
        return FitTracks(self.values[rows], present, self.vectors[rows], self.group[rows], ids)

    def first(self, count: int) -> FitTracks:
        """The first tracks, at most `count`."""
        return self.at(torch.arange(min(count, len(self.vectors)), device=self.vectors.device))


class Standard(NamedTuple):
    """What makes modalities of different sizes comparable.

    Attributes:
        mean: [F].
        scale: [F] after it is taken away: a modality's vectors then have a mean length of 1.
    """

    mean: Tensor
    scale: Tensor


def standard_of(tracks: FitTracks, columns: Mapping[str, slice]) -> Standard:
    """Of each modality, over the tracks that have it; a modality that is the same for all of them
    gets the scale 0.

    Args:
        tracks: to learn from.
        columns: modality → its columns of the tracks' values.
    """
    mean, scale = (torch.zeros_like(tracks.values[0]) for _ in range(2))
    for name, place in columns.items():
        values = tracks.values[tracks.present[name], place].double()
        if not len(values):
            continue
        mean[place] = values.mean(0).to(mean)
        spread = (values - values.mean(0)).square().sum(1).mean().sqrt()
        scale[place] = 1 / float(spread) if spread > 0 else 0.0
    return Standard(mean, scale)


def sample_tracks(
    rows: Iterable[Solvable], names: Sequence[str], most: int, seed: int
) -> tuple[FitTracks, int]:
    """At most so many tracks, chosen uniformly at random; and the number of all tracks.

    Args:
        rows: a pass over the training tracks.
        names: of the modalities, in the order in which their values stand side by side.
        most: maximum number of tracks.
        seed: of the choice.

    Raises:
        InputError: there is no track.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[FitTracks] = []
    keys, total = torch.empty(0), 0
    for encoded, present, vectors, group, track_ids in rows:
        values = torch.cat([encoded[name] for name in names], dim=1)
        masks = {name: present[name] for name in names}
        parts.append(FitTracks(values, masks, vectors, group, list(track_ids)))
        keys = torch.cat([keys, torch.rand(len(vectors), generator=generator)])
        total += len(vectors)
        if len(keys) > 2 * most:
            parts, keys = [_lowest(parts, keys, most)], keys.sort().values
            keys = keys[:most]
    if not parts:
        raise InputError("Kernel: no training track has a vector to fit on")
    return _lowest(parts, keys, most), total


def _lowest(parts: Sequence[FitTracks], keys: Tensor, count: int) -> FitTracks:
    """The tracks with the lowest keys, in their order, at most `count`."""
    every = FitTracks(
        values=torch.cat([part.values for part in parts]),
        present={n: torch.cat([part.present[n] for part in parts]) for n in parts[0].present},
        vectors=torch.cat([part.vectors for part in parts]),
        group=torch.cat([part.group for part in parts]),
        track_ids=[track for part in parts for track in part.track_ids],
    )
    return every.at(keys.argsort()[:count].to(every.vectors.device))
