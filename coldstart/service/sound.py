"""Tracks' sound, as the dataset has it, in parts as a player asks for them."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache

from starlette.exceptions import HTTPException
from starlette.responses import Response

from coldstart.errors import UnknownIdError
from coldstart.shards.reading import Shards
from coldstart.shards.sound import FIELD, has_sound

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Sounds:
    """The sound of a dataset's tracks. What is where is read when it is first asked for.

    Attributes:
        shards: the dataset.
    """

    def __init__(self, shards: Shards) -> None:
        """Of this dataset."""
        self.shards = shards
        self._in = lru_cache(None)(self._with_sound)

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """Track in use → its split and shard; of a dataset without sound, none."""
        shards = self.shards
        return {
            track["track_id"]: (split, shard)
            for split in shards.split_names
            for shard in range(len(shards.shard_sizes(split)))
            if has_sound(shards)
            for track in shards.tracks(split, shard)
            if shards.is_in_use(track["track_id"], split, shard)
        }

    def _with_sound(self, split: str, shard: int) -> frozenset[str]:
        """Of a shard, the tracks that have sound; of the sound itself nothing is read."""
        samples = self.shards.samples(split, shard, [FIELD])
        return frozenset(sample["track_id"] for sample in samples if FIELD in sample)

    def has(self, track_id: str) -> bool:
        """Whether there is sound of a track."""
        place = self._places.get(track_id)
        return place is not None and track_id in self._in(*place)

    def flac(self, track_id: str) -> memoryview:
        """The sound of a track.

        Raises:
            UnknownIdError: there is none.
        """
        if self.has(track_id):
            for sample in self.shards.samples(*self._places[track_id], [FIELD]):
                if sample["track_id"] == track_id:
                    return memoryview(sample[FIELD])
        raise UnknownIdError(f"there is no sound of track {track_id!r}")


def sound_of(sounds: Sounds, track_id: str, asked: str | None) -> Response:
    """The FLAC of a track, or the part of it that a header Range asks for.

    Raises:
        UnknownIdError: the dataset has no sound of it.
        HTTPException: the range lies behind the end.
    """
    content = sounds.flac(track_id)
    headers = {"accept-ranges": "bytes"}
    match = _RANGE.fullmatch((asked or "").strip())
    if match is None or not any(match.groups()):  # several ranges may be answered by the whole
        return Response(bytes(content), headers=headers, media_type="audio/flac")
    size = len(content)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or start > end:
        raise HTTPException(
            416, f"the sound has {size:,} bytes", {"content-range": f"bytes */{size}"}
        )
    headers["content-range"] = f"bytes {start}-{end}/{size}"
    return Response(bytes(content[start : end + 1]), 206, headers, "audio/flac")
