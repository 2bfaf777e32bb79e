"""A track's genre, for pictures: of those that the dataset names, the one that most tracks have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from coldstart.sample import malformed
from coldstart.shards.reading import Shards

OTHERS, UNKNOWN = "other genres", "no genre known"


def genres_of(shards: Shards) -> dict[str, str]:
    """Track id → the most frequent of its genres, of tracks in use that have any.

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
        return _one_each(named)
    for split in shards.split_names:
        for shard in range(len(shards.shard_sizes(split))):
            for sample in shards.samples(split, shard, [field]):
                track = sample["track_id"]
                if field in sample and shards.is_in_use(track, split, shard):
                    genres = json.loads(sample[field])
                    if not isinstance(genres, list):
                        raise malformed(sample, field, "not a JSON list of names")
                    named.update({track: list(map(str, genres))} if genres else {})
    return _one_each(named)


def _one_each(named: Mapping[str, list[str]]) -> dict[str, str]:
    """Of a track's genres the one that most tracks have; of equals, the first by name.

    >>> _one_each({"a": ["blues", "rock"], "b": ["rock"], "c": ["blues", "jazz"], "d": ["rock"]})
    {'a': 'rock', 'b': 'rock', 'c': 'blues', 'd': 'rock'}
    """
    counts = Counter(genre for genres in named.values() for genre in set(genres))
    return {
        track: min(genres, key=lambda genre: (-counts[genre], genre))
        for track, genres in named.items()
    }


def most_frequent(genres: Mapping[str, str], tracks: Iterable[str], count: int) -> list[str]:
    """The genres that most of these tracks have; of equals, the first by name.

    >>> most_frequent({"a": "jazz", "b": "folk", "c": "folk", "d": "ambient"}, "abcd", 2)
    ['folk', 'ambient']
    """
    counts = Counter(genres[track] for track in tracks if track in genres)
    return sorted(counts, key=lambda genre: (-counts[genre], genre))[:count]


def shown(genre: str) -> str:
    """A genre's name for people.

    >>> shown("Celtic_music")
    'Celtic music'
    """
    return genre.replace("_", " ")
