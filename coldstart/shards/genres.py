"""The genres that a dataset names of its tracks."""

from __future__ import annotations

import json

from coldstart.sample import malformed
from coldstart.shards.reading import Shards


def genre_lists(shards: Shards) -> dict[str, list[str]]:
    """Track id → the names of its genres, of tracks in use that have any.

    From the track table, or, of datasets that don't keep it there, from the modality.

    Raises:
        InputError: a list of genres is damaged.
    """
    named: dict[str, list[str]] = {}
    for track in shards.tracks_in_use():
        genres = track.get("genres")
        if isinstance(genres, list) and genres:
            named[track["track_id"]] = list(map(str, genres))
    field = "genres.json"
    if named or field not in shards.modalities.get("genres", {}).get("fields", {}):
        return named
    for split in shards.split_names:
        for shard in range(len(shards.shard_sizes(split))):
            for sample in shards.samples(split, shard, [field]):
                track = sample["track_id"]
                if field in sample and shards.is_in_use(track, split, shard):
                    genres = json.loads(sample[field])
                    if not isinstance(genres, list):
                        raise malformed(sample, field, "not a JSON list of names")
                    named.update({track: list(map(str, genres))} if genres else {})
    return named
