"""A track's genre, for pictures: of those that the dataset names, the one that most tracks have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from coldstart.shards.genres import genre_lists
from coldstart.shards.reading import Shards

OTHERS, UNKNOWN = "other genres", "no genre known"


def genres_of(shards: Shards) -> dict[str, str]:
    """Track id → the most frequent of its genres, of tracks in use that have any.

    Raises:
        InputError: a list of genres is damaged.
    """
    return _one_each(genre_lists(shards))


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
