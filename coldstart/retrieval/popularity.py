"""How popular each track is: its place on the curve of plays, and the long tail."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards

HEAD = 0.8
"""The most-played tracks that make up this share of all plays are the head; the rest are the long
tail."""


class Track(NamedTuple):
    """A track, and its place on the popularity curve.

    Attributes:
        track_id: its id.
        title: its title; empty if the shards don't have the track.
        artist: its artist.
        plays: in the listening log (explicit: how many users rated it), also of held-out tracks.
        popularity_rank: among all tracks, 1 = most played; equals share the best rank.
        played_more: share of all tracks that are played more than this one, 0..1.
        long_tail: whether it is outside the most-played tracks that make up 80 % of all plays.
        cold: whether it wasn't factorised: it was held out, or nobody played it.
    """

    track_id: str
    title: str
    artist: str
    plays: int
    popularity_rank: int
    played_more: float
    long_tail: bool
    cold: bool


def tracks_by_id(shards: Shards, factors: Factors) -> dict[str, Track]:
    """Every track in use of the shards, and every one of the factors that wasn't removed, by id."""
    in_shards = {track["track_id"]: track for track in shards.tracks_in_use()}
    others = [track for track in factors.track_ids if track not in shards.removed]
    ids = list(dict.fromkeys([*in_shards, *others]))
    rows = factors.rows(ids)
    explicit = factors.about["algorithm"] == "explicit"
    log = factors.listens.getnnz(axis=0) if explicit else factors.plays
    plays = np.where(rows >= 0, log[rows], 0).astype(np.float64)
    rank, tail = popularity_rank(plays), plays < head_plays(plays)
    cold = (rows < 0) | factors.folded[rows]
    return {
        track: Track(
            track,
            in_shards.get(track, {}).get("title") or "",
            in_shards.get(track, {}).get("artist") or "",
            int(plays[i]),
            int(rank[i]),
            (int(rank[i]) - 1) / len(ids),
            bool(tail[i]),
            bool(cold[i]),
        )
        for i, track in enumerate(ids)
    }


def popularity_rank(plays: NDArray[np.float64]) -> NDArray[np.int64]:
    """1 for the most played; equals share the best rank among them. [N] → [N].

    >>> popularity_rank(np.array([5.0, 9.0, 0.0, 5.0])).tolist()
    [2, 1, 4, 2]
    """
    return 1 + len(plays) - np.searchsorted(np.sort(plays), plays, side="right")


def head_plays(plays: NDArray[np.float64]) -> float:
    """Plays of the least played track of the head; tracks with as many are in the head, too.

    >>> head_plays(np.array([1.0, 50.0, 30.0, 10.0, 10.0, 2.0]))
    10.0
    """
    descending = np.sort(plays)[::-1]
    complete = np.cumsum(descending) / max(1.0, plays.sum()) >= HEAD
    return float(descending[complete.argmax()]) if complete.any() else 0.0
