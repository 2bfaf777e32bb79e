"""A track's sound, as the dataset has it, in parts as a player asks for them."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.responses import Response

from coldstart.errors import UnknownIdError
from coldstart.shards.reading import Shards
from coldstart.shards.sound import sounds_of

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
    for _, flac in sounds_of(shards, [track_id]):
        return flac
    raise UnknownIdError(f"there is no sound of track {track_id!r}")
