"""The training tracks that a head is solved on: all, or a random sample of many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from coldstart.encoders.sparse_rows import AnyRows, at, compressed, joined
from coldstart.errors import InputError
from coldstart.fusion.base import Solvable


class FitTracks(NamedTuple):
    """N tracks.

    Attributes:
        content: modality → [N, dim] rows; sparse where few of their numbers aren't zero.
        present: modality → [N] bool.
        vectors: [N, K].
        group: [N] int64: left out together.
        track_ids: N ids, or none.
    """

    content: dict[str, AnyRows]
    present: dict[str, Tensor]
    vectors: Tensor
    group: Tensor
    track_ids: list[str]

    def at(self, rows: Tensor) -> FitTracks:
        """The tracks of these rows, in this order."""
        present = {name: mask[rows] for name, mask in self.present.items()}
        ids = [self.track_ids[row] for row in rows.tolist()] if self.track_ids else []
        content = {name: at(part, rows) for name, part in self.content.items()}
        return FitTracks(content, present, self.vectors[rows], self.group[rows], ids)

    def first(self, count: int) -> FitTracks:
        """The first tracks, at most `count`."""
        return self.at(torch.arange(min(count, len(self.vectors)), device=self.vectors.device))


def sample_tracks(
    rows: Iterable[Solvable], names: Sequence[str], most: int, seed: int
) -> tuple[FitTracks, int]:
    """At most so many tracks, chosen uniformly at random; and the number of all tracks.

    Args:
        rows: a pass over the training tracks.
        names: of the modalities.
        most: maximum number of tracks.
        seed: of the choice.

    Raises:
        InputError: there is no track.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[FitTracks] = []
    keys, total = torch.empty(0), 0
    for encoded, present, vectors, group, track_ids in rows:
        masks = {name: present[name] for name in names}
        # What a track lacks is 0, so that it takes no room.
        content = {n: compressed(encoded[n].where(masks[n][:, None], 0.0)) for n in names}
        parts.append(FitTracks(content, masks, vectors, group, list(track_ids)))
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
        content={n: joined([part.content[n] for part in parts]) for n in parts[0].content},
        present={n: torch.cat([part.present[n] for part in parts]) for n in parts[0].present},
        vectors=torch.cat([part.vectors for part in parts]),
        group=torch.cat([part.group for part in parts]),
        track_ids=[track for part in parts for track in part.track_ids],
    )
    return every.at(keys.argsort()[:count].to(every.vectors.device))
