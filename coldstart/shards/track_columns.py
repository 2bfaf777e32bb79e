"""Columns of the track list as content: who made a track, and whatever else each track's row says.

A field `track.COLUMN` stands in no tar: it is a column of the shard's track list, as text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from coldstart.errors import InputError

TRACK = "track"
"""Stands for the track list where the folder of a modality would."""

ListedTrack = Mapping[str, Any]
"""A track in the list of its shard."""

_json_of = json.JSONEncoder(ensure_ascii=False).encode  # made once: `dumps` makes one each time


def text_of(row: ListedTrack, column: str) -> str | None:
    """A row's value as text; None where it has none, or an empty one.

    >>> row = {"artist_id": "a1", "year": 1999, "tags": ["é"], "label": " "}
    >>> [text_of(row, column) for column in ("artist_id", "year", "tags", "label", "country")]
    ['a1', '1999', '["é"]', None, None]
    """
    value = row.get(column)
    if value is None:
        return None
    text = value if isinstance(value, str) else _json_of(value)
    return text if text.strip() else None


def kept_apart(
    training: Iterable[ListedTrack], held_out: Iterable[ListedTrack], column: str
) -> bool:
    """Whether a split keeps a column's values on one side, as `split --method artist` does.

    Args:
        training: training tracks.
        held_out: validation and test tracks.
        column: such as `artist_id`.

    Returns:
        True if held-out tracks have values, and no training track has any of these.

    Examples:
        >>> a, b = {"artist_id": "a"}, {"artist_id": "b"}
        >>> kept_apart([a], [b], "artist_id"), kept_apart([a, b], [b], "artist_id")
        (True, False)
        >>> kept_apart([a], [{"artist_id": None}], "artist_id")
        False
    """
    others = {text_of(row, column) for row in held_out} - {None}
    return bool(others) and others.isdisjoint(text_of(row, column) for row in training)


def must_be_listed(field: str, training: Iterable[ListedTrack], shards: str) -> None:
    """Raise InputError unless a training track has a value.

    Args:
        field: `track.COLUMN`.
        training: training tracks.
        shards: name of the dataset, for the message.
    """
    column = field.removeprefix(f"{TRACK}.")
    if all(text_of(row, column) is None for row in training):
        raise InputError(
            f"{shards}: no training track has '{column}' in the track list; leave out what reads "
            f"'{field}', or shard again from a track table that has this column"
        )


class ColumnFacts(Mapping[str, dict[str, Any]]):
    """What `Encoder.as_is` gets to know of each column of a track list: counted when it is asked
    for, since a large dataset has long columns that nobody asks about.

    Of a column: how many training `tracks` have a value, how many values are `shared` by two or
    more of them, and whether the split keeps values `apart` (see `kept_apart`).

    Examples:
        >>> tracks = [{"track_id": name, "artist_id": "a"} for name in "xyz"]
        >>> facts = ColumnFacts(tracks[:2], tracks[2:])
        >>> list(facts), facts["artist_id"]
        (['artist_id'], {'tracks': 2, 'shared': 1, 'apart': False})
    """

    def __init__(self, training: Sequence[ListedTrack], held_out: Sequence[ListedTrack]) -> None:
        """Of training tracks, and of those for validation and test."""
        self.training, self.held_out = training, held_out
        names = dict.fromkeys(name for row in training for name in row)
        self.names = [name for name in names if name not in ("track_id", "split")]

    def __getitem__(self, column: str) -> dict[str, Any]:
        if column not in self.names:
            raise KeyError(column)
        counts = Counter(text_of(row, column) for row in self.training)
        counts.pop(None, None)
        return {
            "tracks": counts.total(),
            "shared": sum(count > 1 for count in counts.values()),
            "apart": kept_apart(self.training, self.held_out, column),
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
