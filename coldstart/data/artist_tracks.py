"""What encoders that read factors get: those of the artist's other training tracks."""

from __future__ import annotations

from typing import Any

import numpy as np

from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards


class ArtistTracks:
    """Picklable: the factor vectors of a track's artist's other training tracks.

    With `in_use`, also of tracks that were added since, and as the copies that count have it.
    """

    def __init__(self, shards: Shards, factors: Factors, in_use: bool = False) -> None:
        self.vectors = factors.tracks
        self.artist: dict[str, str] = {}
        self.factorised: dict[str, list[tuple[str, int]]] = {}
        for track in shards.all_tracks():
            name, artist = track["track_id"], track.get("artist_id")
            if not artist:
                continue
            self.artist[name] = artist
            row = factors.row.get(name, -1)
            # Never what was folded in, or a test track where nothing was.
            if track["split"] == "train" and row >= 0 and not factors.folded[row]:
                self.factorised.setdefault(artist, []).append((name, row))
        for track in shards.tracks_in_use() if in_use else ():
            self.artist[track["track_id"]] = track.get("artist_id") or ""
        for tracks in self.factorised.values():
            tracks.sort(key=lambda item: -factors.plays[item[1]])

    def __call__(self, track: str) -> np.ndarray[Any, Any] | None:
        """[n, K], the most played first, without the track itself; None if there is no other."""
        tracks = self.factorised.get(self.artist.get(track, ""), [])
        rows = [row for name, row in tracks if name != track]
        return self.vectors[rows] if rows else None
