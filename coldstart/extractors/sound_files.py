"""Which sound files there are: those that a track table names, or those in a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from coldstart.addresses.places import name_of
from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath, is_remote, unusable
from coldstart.tables.parts import ENDINGS as TABLES
from coldstart.tables.parts import READABLE, ending_of, is_pattern, places_of
from coldstart.tables.tracks import read_tracks

log = logging.getLogger(__name__)

_ENDINGS = """
    mp3 flac ogg oga opus wav wave aif aiff aifc au snd caf w64 rf64
    m4a m4b mp4 aac ac3 wma ape wv tta mka webm mov
"""

ENDINGS = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""Of the files in a folder that are heard. A table may name files of any ending."""


class SoundFile(NamedTuple):
    """A track's sound.

    Attributes:
        track_id: from the table; of a file in a folder, its path there without the ending.
        path: of the file.
        listed: name of the table or folder, for messages.
    """

    track_id: str
    path: Path
    listed: str


def state_of(file: SoundFile) -> list[str | int]:
    """Enough to notice another file, wherever the files have been moved to."""
    stat = file.path.stat()
    return [file.track_id, stat.st_size, stat.st_mtime_ns]


def sound_files(
    places: Sequence[StrPath], broken: Broken, columns: Mapping[str, str] | None = None
) -> list[SoundFile]:
    """The files that tables name, or that lie in folders, in their order; those that exist.

    Args:
        places: track tables as `shard` reads them, folders, or sound files.
        broken: collects files that a table names and that can't be read.
        columns: what the tables call their columns, unless they are called as ours.

    Raises:
        InputError: a place is nothing of this, has no sound, or a track is there twice.
    """
    files: list[SoundFile] = []
    for place in places:
        new = list(_in(Path(place), broken, columns or {}))
        if not new:
            raise InputError(f"{place}: no sound in it; {_NEEDED}")
        files += new
    by_id: dict[str, SoundFile] = {}
    for file in files:
        other = by_id.setdefault(file.track_id, file)
        if other is not file:
            raise InputError(
                f"track '{file.track_id}' is there twice: {other.path} and {file.path}; leave one "
                "out, or name the files in a table, each with an id of its own"
            )
    return present_files(files, broken)


def present_files(files: Sequence[SoundFile], broken: Broken) -> list[SoundFile]:
    """Those that can be read; without skipping, the first that can't raises InputError."""
    reasons = {file.track_id: _unusable(file.path) for file in files}
    broken.add(fault_of(file, reason) for file in files if (reason := reasons[file.track_id]))
    return [file for file in files if not reasons[file.track_id]]


def _unusable(path: Path) -> str:
    if is_remote(path):
        return "extractors hear files of this machine alone; fetch what lies at an address"
    return unusable(path)


def listed_files(table: pl.DataFrame, path: Path) -> list[SoundFile]:
    """The files that a track table names.

    Args:
        table: of the tracks.
        path: of that table, to whose folder the files' paths are relative.

    Raises:
        InputError: it has no column `audio`.
    """
    if "audio" not in table.columns:
        raise InputError(f"{path}: has no column `audio`; {_NEEDED}")
    rows = [row for row in table.select("track_id", "audio").iter_rows() if row[1]]
    places = places_of(path, [audio for _, audio in rows])
    return [
        SoundFile(track, Path(place), name_of(path))
        for (track, _), place in zip(rows, places, strict=True)
    ]


def fault_of(file: SoundFile, reason: str) -> Fault:
    """A file that can't be used, as it is listed."""
    item = f"track '{file.track_id}'"
    return Fault(file.listed, None, item, "audio", f"{file.path.name}: {reason}")


_NEEDED = (
    "needed is a track table with a column `audio` "
    f"({', '.join(TABLES)}), a folder of sound files, or such a file"
)


def _is_sound(path: Path, folder: Path) -> bool:
    """Whether a file, by its ending, is one that is to be heard; hidden ones aren't."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in ENDINGS and not hidden and not path.is_dir()


def _in(place: Path, broken: Broken, columns: Mapping[str, str]) -> Iterator[SoundFile]:
    """The files of one place."""
    if place.is_dir():
        paths = sorted(path for path in place.rglob("*") if _is_sound(path, place))
        log.info(f"{place}: {len(paths):,} sound files, by their endings")
        for path in paths:
            name = path.relative_to(place).with_suffix("").as_posix()
            yield SoundFile(name, path, place.name)
    elif ending_of(place) or is_pattern(place):
        yield from listed_files(read_tracks(place, broken, columns=dict(columns)), place)
    elif reason := unusable(place):
        raise InputError(f"{place}: {reason}; {READABLE}")
    elif place.suffix.lower() in ENDINGS:
        yield SoundFile(place.stem, place, place.name)
