"""Pages of Ogg files: whether the last one is complete, and where one stream follows another."""

from __future__ import annotations

from coldstart.audio.mpeg import Mapped

_BEGINS, _ENDS = 2, 4  # flags of a page


def is_complete(data: Mapped) -> bool:
    """Whether the last page is complete and marked as the end of its stream (RFC 3533)."""
    page = data.rfind(b"OggS")
    if page < 0 or page + 27 > len(data):
        return False
    segments = data[page + 27 : page + 27 + data[page + 26]]
    complete = page + 27 + len(segments) + sum(segments) <= len(data)
    return complete and len(segments) == data[page + 26] and bool(data[page + 5] & _ENDS)


def links(data: Mapped) -> list[int]:
    """Where each of the streams that follow one another begins, as web radios chain them.

    Streams that are played at once, such as a video and its sound, begin together.
    """
    starts: list[int] = []
    page, begins = data.find(b"OggS"), False
    while 0 <= page <= len(data) - 27:
        began, begins = begins, bool(data[page + 5] & _BEGINS)
        if begins and not began:
            starts.append(page)
        segments = data[page + 27 : page + 27 + data[page + 26]]
        page = data.find(b"OggS", page + 27 + len(segments) + sum(segments))
    return starts
