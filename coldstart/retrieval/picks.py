"""From scores to lists: the best ones, at most some per artist, new and known ones mixed evenly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.errors import InputError

_NONE = -float("inf")
"""The score of what may not be recommended."""


class Mix(NamedTuple):
    """What a list must keep to beside the order of scores.

    Attributes:
        per_artist: at most so many tracks of one artist; None: as many as there are.
        new_share: share of new (cold) tracks, spread evenly over the list, 0 to 1; None: as the
            scores have it.
    """

    per_artist: int | None = None
    new_share: float | None = None

    def check(self) -> None:
        """Raise InputError for values out of range."""
        if self.per_artist is not None and self.per_artist < 1:
            raise InputError(f"per_artist is at least 1, not {self.per_artist}")
        if self.new_share is not None and not 0 <= self.new_share <= 1:
            raise InputError(f"new_share is a share from 0 to 1, not {self.new_share}")


AS_SCORED = Mix()
"""The order of the scores alone."""


class Picks(NamedTuple):
    """Lists of candidates, best first.

    Attributes:
        positions: [B, k] among the candidates; -1 where a list is shorter.
        scores: [B, k]; -inf where a list is shorter.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]


def best(
    scores: Tensor, k: int, warm: int, artists: NDArray[np.int64] | None, mix: Mix = AS_SCORED
) -> Picks:
    """The lists of some queries.

    Args:
        scores: [B, M]; -inf for what may not be recommended.
        k: length of a list; it is shorter where there aren't so many.
        warm: how many of the candidates, the first ones, are warm.
        artists: [M] a number for each artist; needed for `mix.per_artist`.
        mix: what the lists keep to.

    >>> scores = torch.tensor([[0.9, 0.8, 0.7, 0.2, 0.1]])
    >>> best(scores, 4, 3, None, Mix(new_share=0.5)).positions.tolist()
    [[3, 0, 4, 1]]
    >>> best(scores, 3, 3, np.array([7, 7, 7, 8, 9]), Mix(per_artist=1)).positions.tolist()
    [[0, 3, 4]]
    """
    if mix.per_artist is None and mix.new_share is None:
        return _top(scores, k)
    width = scores.shape[1]
    size = min(k, width)
    positions = np.full((len(scores), size), -1, np.int64)
    values = np.full((len(scores), size), _NONE, np.float32)
    groups = [(0, width)] if mix.new_share is None else [(0, warm), (warm, width)]
    slots = _slots(size, mix.new_share)
    depth = size if mix.per_artist is None else 4 * size + 16
    rows = np.arange(len(scores))
    while len(rows):
        part = scores if len(rows) == len(scores) else scores[torch.from_numpy(rows)]
        tops = [_top(part[:, start:end], depth) for start, end in groups]
        short = []
        for i, row in enumerate(rows):
            lists = [_pairs(top, i, start) for (start, _), top in zip(groups, tops, strict=True)]
            picks, used_up = _fill(lists, slots, artists, mix.per_artist)
            if any(len(lists[group]) == depth < np.diff(groups[group]) for group in used_up):
                short.append(row)
            if picks:
                positions[row, : len(picks)], values[row, : len(picks)] = zip(*picks, strict=True)
        # Few artists have all of the best: those lists are taken again from more of them.
        rows, depth = np.array(short, np.int64), 4 * depth
    return Picks(positions, values)


def _top(scores: Tensor, k: int) -> Picks:
    """The best of each row; of equals, the earlier comes first."""
    values, positions = scores.topk(min(k, scores.shape[1]), dim=1)
    equal = (values[:, 1:] == values[:, :-1]).any(1)
    if equal.any():
        ties = equal.nonzero()[:, 0]
        by_position = positions[ties].argsort(dim=1)
        ordered = values[ties].gather(1, by_position).argsort(dim=1, descending=True, stable=True)
        order = by_position.gather(1, ordered)
        positions[ties] = positions[ties].gather(1, order)
        values[ties] = values[ties].gather(1, order)
    positions[values == _NONE] = -1
    return Picks(positions.numpy(), values.numpy())


def _pairs(top: Picks, row: int, start: int) -> list[tuple[int, float]]:
    """A row's positions, counted from `start`, and scores."""
    count = int((top.positions[row] >= 0).sum())
    positions = (top.positions[row, :count] + start).tolist()
    return list(zip(positions, top.scores[row, :count].tolist(), strict=True))


def _slots(size: int, new_share: float | None) -> list[int]:
    """Of each place in a list, the group that it is for: 0 known, 1 new; 0 if they aren't mixed.

    >>> _slots(10, 0.3)
    [0, 1, 0, 0, 1, 0, 0, 0, 1, 0]
    """
    if new_share is None:
        return [0] * size
    steps = np.floor(np.arange(size + 1) * new_share + 0.5 + 1e-9)
    slots: list[int] = np.diff(steps).astype(int).tolist()
    return slots


def _fill(
    lists: list[list[tuple[int, float]]],
    slots: list[int],
    artists: NDArray[np.int64] | None,
    per_artist: int | None,
) -> tuple[list[tuple[int, float]], set[int]]:
    """Fill places one after the other, each from its group while that has any, best first.

    Returns:
        Positions and scores, and the groups that had none left where one was needed.
    """
    picks: list[tuple[int, float]] = []
    used_up: set[int] = set()
    counts: dict[int, int] = {}
    following = [0] * len(lists)

    def next_of(group: int) -> tuple[int, float] | None:
        candidates = lists[group]
        while following[group] < len(candidates):
            candidate = candidates[following[group]]
            following[group] += 1
            if per_artist is None or artists is None:
                return candidate
            artist = int(artists[candidate[0]])
            if counts.get(artist, 0) < per_artist:
                counts[artist] = counts.get(artist, 0) + 1
                return candidate
        return None

    for slot in slots:
        others = [group for group in range(len(lists)) if group != slot]
        for group in [slot, *others]:
            candidate = next_of(group)
            if candidate is not None:
                picks.append(candidate)
                break
            used_up.add(group)
    return picks, used_up
