"""A track's sound, as the dataset has it, in parts as a player asks for them."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.responses import Response

from coldstart.errors import UnknownIdError
from coldstart.shards.reading import Shards

FIELD = "audio.flac"

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def sound_of(shards: Shards, track_id: str, asked: str | None) -> Response:
    """The FLAC of a track, or the part of it that a header Range asks for.

    Raises:
        UnknownIdError: the dataset has no sound of it.
        HTTPException: the range lies behind the end.
    """
    content = _content(shards, track_id)
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


def _content(shards: Shards, track_id: str) -> memoryview:
    """Of the copy of the track that counts."""
    if FIELD in shards.modalities.get("audio", {}).get("fields", {}):
        for split in shards.split_names:
            for shard in range(len(shards.shard_sizes(split))):
                ids = [track["track_id"] for track in shards.tracks(split, shard)]
                if track_id in ids and shards.is_in_use(track_id, split, shard):
                    for sample in shards.samples(split, shard, [FIELD]):
                        if sample["track_id"] == track_id and FIELD in sample:
                            return memoryview(sample[FIELD])
    raise UnknownIdError(f"there is no sound of track {track_id!r}")
