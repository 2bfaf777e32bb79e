"""Folds of tracks: which are held out, and which are treated as if they lacked something."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence


def fold_of(track_id: str, folds: int) -> int:
    """The fold that a track belongs to, by a hash of its id: the same everywhere and always.

    >>> [fold_of(track, 3) for track in ("a", "b", "c", "d")]
    [1, 1, 2, 2]
    """
    return hash_of(track_id) % folds


def hash_of(text: str) -> int:
    """0 … 2^64 - 1, the same everywhere and always."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Keep:
    """Picklable: is a track outside the held-out fold, and among those that were named?"""

    def __init__(
        self, folds: int | None, fold: int | None, only: frozenset[str] | None = None
    ) -> None:
        self.folds, self.fold, self.only = folds, fold, only

    def __call__(self, track: str) -> bool:
        """Whether the track may be used."""
        if self.only is not None and track not in self.only:
            return False
        return self.folds is None or fold_of(track, self.folds) != self.fold


class Lacks:
    """Picklable: whether a track is treated as if it lacked what an encoder reads.

    Which tracks do is a hash of their ids: the same in every epoch, process and run. Of encoders
    that are `spared`, only those that all tracks lack count.

    >>> lacks = Lacks(frozenset({"genres"}), 0.5)
    >>> [lacks(track, "mgp") for track in ("a", "b", "c", "d")], lacks("a", "genres")
    ([False, True, False, True], True)
    >>> Lacks(frozenset(), 0.99, spared=frozenset({"artist_id"}))("a", "artist_id")
    False
    """

    def __init__(
        self, encoders: frozenset[str], share: float, spared: frozenset[str] = frozenset()
    ) -> None:
        self.encoders, self.share, self.spared = encoders, share, spared

    def __call__(self, track: str, encoder: str) -> bool:
        """Whether this track lacks it."""
        if encoder in self.encoders or encoder in self.spared:
            return encoder in self.encoders
        return hash_of(f"{encoder}/{track}") < self.share * 2**64


def nets_without(track: str, training: Collection[str], folds: int) -> Sequence[int]:
    """The nets that a track's vector comes from: those that were not fitted on it.

    >>> list(nets_without("a", {"a", "b"}, 3)), list(nets_without("new", {"a", "b"}, 3))
    ([1], [0, 1, 2])
    """
    return [fold_of(track, folds)] if track in training else range(folds)
