"""What is joined for the encoder `Artist`: vectors of the artist's other, already heard tracks."""

from __future__ import annotations

from typing import Any

import numpy as np

from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards


class ArtistTracks:
    """Picklable: the factor vectors of a track's artist's other training tracks."""

    def __init__(self, shards: Shards, factors: Factors) -> None:
        self.vectors = factors.tracks
        self.artist: dict[str, str] = {}
        self.heard: dict[str, list[tuple[str, int]]] = {}
        for track in shards.all_tracks():
            name, artist = track["track_id"], track.get("artist_id")
            if not artist:
                continue
            self.artist[name] = artist
            row = factors.row.get(name, -1)
            # What was folded in, or is a test track of an order in which nothing was, is unheard.
            if track["split"] == "train" and row >= 0 and not factors.folded[row]:
                self.heard.setdefault(artist, []).append((name, row))
        for tracks in self.heard.values():
            tracks.sort(key=lambda item: -factors.plays[item[1]])

    def __call__(self, track: str) -> np.ndarray[Any, Any] | None:
        """[n, K], the most played first, without the track itself; None if there is no other."""
        heard = self.heard.get(self.artist.get(track, ""), [])
        rows = [row for name, row in heard if name != track]
        return self.vectors[rows] if rows else None
