"""Tracks of a dataset are withdrawn: recommended no more; and come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from coldstart.shards.reading import Shards
from coldstart.shards.writing import changing, must_be_writable, with_parts, write_dataset
from coldstart.tables.splits import IN_USE


class Withdrawal(NamedTuple):
    """What `withdraw` or `bring_back` did.

    Attributes:
        changed: ids that were hidden, or brought back.
        unchanged: ids that were so already.
        unknown: ids that the dataset doesn't have.
        hidden: how many tracks of the dataset are hidden now.
    """

    changed: list[str]
    unchanged: list[str]
    unknown: list[str]
    hidden: int


def withdraw(dataset: Shards, ids: Sequence[str]) -> Withdrawal:
    """Hide tracks wherever something is recommended, predicted, exported or listed.

    Raises:
        InputError: the dataset is at an address, or can't be written to.
    """
    return _hide(dataset, ids, lambda hidden, known: hidden | known)


def bring_back(dataset: Shards, ids: Sequence[str]) -> Withdrawal:
    """Undo `withdraw`.

    Raises:
        InputError: as in `withdraw`.
    """
    return _hide(dataset, ids, lambda hidden, known: hidden - known)


def _hide(
    dataset: Shards, ids: Sequence[str], change: Callable[[set[str], set[str]], set[str]]
) -> Withdrawal:
    must_be_writable(dataset, "have tracks withdrawn")
    with changing(dataset):
        current = Shards(dataset.folder)
        named = list(dict.fromkeys(ids))
        in_dataset = {track["track_id"] for track in current.all_tracks(IN_USE)}
        known = in_dataset.intersection(named)
        before = set(current.removed)
        after = change(before, known)
        if after != before:
            write_dataset(current.folder, with_parts(current.about, removed=sorted(after)))
        changed = before ^ after
        return Withdrawal(
            [track for track in named if track in changed],
            [track for track in named if track in known - changed],
            [track for track in named if track not in known],
            len(after),
        )
