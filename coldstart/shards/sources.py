"""What modalities are made from: audio, genres, attributes, vectors, texts, files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from coldstart.addresses.copies import fetched
from coldstart.addresses.failures import AbsentError
from coldstart.addresses.places import name_of, states_at
from coldstart.audio.storage import content_and_finding, field_of
from coldstart.errors import Broken, InputError, ItemError
from coldstart.files import fingerprint, is_remote, unusable
from coldstart.sample import folder_of
from coldstart.shards.writing import npy_bytes
from coldstart.tables.attributes import read_attributes, read_column
from coldstart.tables.columns import ColumnChoice
from coldstart.tables.memory import free_memory
from coldstart.tables.parts import places_of, table_hash
from coldstart.tables.vectors import read_vectors

log = logging.getLogger(__name__)

LARGE = 1 << 30
"""Bytes of a file from which on it is asked whether it fits into memory."""


class Source(NamedTuple):
    """What one modality is made from.

    Attributes:
        field: tar member to write, such as `mgp.npy`.
        encode: top-level function, item → bytes, or bytes and what a report is to say of the
            item; raises ItemError for a broken item.
        items: track id → item; a track that isn't in it lacks the modality.
        facts: what dataset.json says of it beside fields and counts.
        fingerprint: of everything that the bytes depend on.
        file: name of the table, for messages.
        costly: whether encoding is worth several processes.
        reader: codec that reads the field's bytes; its ending by default.
        reported: whether `encode` says something of each item for a report.
    """

    field: str
    encode: Callable[[Any], bytes | tuple[bytes, Any]]
    items: Mapping[str, Any]
    facts: Mapping[str, Any]
    fingerprint: str
    file: str
    costly: bool = False
    reader: str = ""
    reported: bool = False

    @property
    def codec(self) -> str:
        """What dataset.json calls the way to read the field."""
        return self.reader or self.field.rsplit(".", 1)[1]


def sources_of(
    table: pl.DataFrame,
    path: Path,
    modalities: Sequence[str] | None,
    tables: Mapping[str, Mapping[str, str]],
    audio: Mapping[str, Any],
    broken: Broken,
    choice: ColumnChoice | None = None,
    columns: Mapping[str, str] | None = None,
    few: bool = False,
) -> dict[str, Source]:
    """Modality name → what it is made from.

    Args:
        table: of the tracks.
        path: of that table.
        modalities: of its columns, which to shard; None for all.
        tables: kind (`attributes`, `embeddings`, `texts`, `files`) → modality name → file.
        audio: how sound is stored: the facts of its store.
        broken: collects broken rows.
        choice: of the columns of attributes and embeddings.
        columns: `track_id`, `text`, `path` → what `tables` call them, unless they are called so.
        few: whether the tracks are too few to say what is ordinary, as some new ones are.
    """
    names = columns or {}
    own: dict[str, Callable[[pl.DataFrame, Path], Source]] = {
        "audio": partial(audio_source, audio),
        "genres": _genre_source,
    }
    present = [name for name in own if name in table.columns]
    sources: dict[str, Source] = {}
    for name in present if modalities is None else modalities:
        if name not in present:
            raise InputError(
                f"{path}: can't shard '{name}' from this table; of audio and genres it has: "
                f"{', '.join(present) or 'neither'}. Attribute tables are named with "
                "--attributes.NAME FILE"
            )
        source = own[name](table, path)
        sources[folder_of(source.field)] = source
    ids = table["track_id"].to_list()
    kinds: dict[str, Callable[[str, Path, Sequence[str], Broken], Source]] = {
        "attributes": partial(_attribute_source, choice or ColumnChoice(), few, names),
        "embeddings": partial(_embedding_source, choice or ColumnChoice(), names),
        "texts": partial(_text_source, names),
        "files": partial(_file_source, names),
    }
    for kind, files in tables.items():
        for name, file in files.items():
            if name in (*own, "tracks", "factors", "artist") or not name.isidentifier():
                raise InputError(f"{kind}: '{name}' can't be the name of a modality here")
            if name in sources:
                raise InputError(f"{kind}: there are two sources for a modality '{name}'")
            sources[name] = kinds[kind](name, Path(file), ids, broken)
    return sources


def audio_source(facts: Mapping[str, Any], table: pl.DataFrame, path: Path) -> Source:
    """The sound that a track table names.

    Args:
        facts: of its store.
        table: of the tracks, with a column `audio`.
        path: of that table, to whose folder the files' paths are relative.
    """
    files = {
        track: audio for track, audio in table.select("track_id", "audio").iter_rows() if audio
    }
    paths = dict(zip(files, places_of(path, list(files.values())), strict=True))
    stats = _stats(files, paths)
    return Source(
        field=field_of(facts),
        encode=partial(content_and_finding, facts=facts),
        items=paths,
        facts=facts,
        fingerprint=fingerprint(*facts.values(), stats),
        file=name_of(path),
        costly=True,
        reader="frames" if "transform" in facts else "flac",
        reported=True,
    )


def _stats(
    files: Mapping[str, str], paths: Mapping[str, str]
) -> list[tuple[str, tuple[int, int] | str | None]]:
    """Enough to notice other content, wherever the table and its files have been moved to."""
    far = [path for path in paths.values() if is_remote(path)]
    states = dict(zip(far, states_at(far), strict=True))
    return [
        (file, states[path] if path in states else _size_and_time(Path(path)))
        for file, path in zip(files.values(), paths.values(), strict=True)
    ]


def _size_and_time(path: Path) -> tuple[int, int] | None:
    """Enough to notice another file; a missing one is reported when it is to be encoded."""
    if unusable(path):
        return None
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _genre_source(table: pl.DataFrame, path: Path) -> Source:
    items = {
        track: sorted(set(genres))
        for track, genres in table.select("track_id", "genres").iter_rows()
        if genres
    }
    return Source("genres.json", _json_bytes, items, {}, fingerprint(items), name_of(path))


def _attribute_source(
    choice: ColumnChoice,
    few: bool,
    columns: Mapping[str, str],
    name: str,
    path: Path,
    tracks: Sequence[str],
    broken: Broken,
) -> Source:
    ids = _named(columns, "track_id")
    table = read_attributes(path, broken, choice, ids)
    names = [column for column in table.columns if column != "track_id"]
    values = table.select(names).to_numpy().astype(np.float32)
    items = _in_table(name, path, dict(zip(table["track_id"], values, strict=True)), tracks)
    if not few:
        _warn_of_constants(name_of(path), names, values)
    facts = {"names": names}
    source = fingerprint(table_hash(path), facts, *([ids] if ids else []))
    return Source(f"{name}.npy", npy_bytes, items, facts, source, name_of(path))


def _embedding_source(
    choice: ColumnChoice,
    columns: Mapping[str, str],
    name: str,
    path: Path,
    tracks: Sequence[str],
    broken: Broken,
) -> Source:
    ids = _named(columns, "track_id")
    vectors = read_vectors(path, tracks, broken, choice, ids)
    width = len(next(iter(vectors.values())))
    items = _in_table(name, path, vectors, tracks)
    # What was dropped decides what is stored; without it, the fingerprint is that of the file.
    hashed = table_hash(path)
    parts = [
        hashed,
        *([width, sorted(choice.drop)] if choice.drop else []),
        *([ids] if ids else []),
    ]
    return Source(f"{name}.npy", npy_bytes, items, {}, fingerprint(*parts), name_of(path))


def _text_source(
    columns: Mapping[str, str], name: str, path: Path, tracks: Sequence[str], broken: Broken
) -> Source:
    names = _named(columns, "track_id", "text")
    table = read_column(path, "text", broken, names)
    items = _in_table(name, path, dict(table.iter_rows()), tracks)
    source = fingerprint(table_hash(path), *([names] if names else []))
    return Source(f"{name}.txt", str.encode, items, {}, source, name_of(path))


def _file_source(
    columns: Mapping[str, str], name: str, path: Path, tracks: Sequence[str], broken: Broken
) -> Source:
    table = read_column(path, "path", broken, _named(columns, "track_id", "path"))
    files = _in_table(name, path, dict(table.iter_rows()), tracks)
    paths = dict(zip(files, places_of(path, list(files.values())), strict=True))
    stats = _stats(files, paths)
    return Source(f"{name}.bin", _file_bytes, paths, {}, fingerprint(stats), name_of(path))


def _named(columns: Mapping[str, str], *those: str) -> dict[str, str]:
    """What is said of these columns alone."""
    return {column: name for column, name in columns.items() if column in those}


def _in_table(
    name: str, path: Path, items: Mapping[str, Any], tracks: Sequence[str]
) -> dict[str, Any]:
    """The items of tracks that are in the track table; the others are counted."""
    ids = set(tracks)
    matches = {track: item for track, item in items.items() if track in ids}
    if not matches:
        raise InputError(f"{path}: none of its tracks is in the track table")
    if len(matches) < len(items):
        others = len(items) - len(matches)
        log.info(f"{name}: left out {others:,} rows of tracks that aren't in the table")
    return matches


def _file_bytes(place: str) -> bytes:
    try:
        with fetched(place) as path:
            return _content(path)
    except AbsentError as error:
        raise ItemError("can't be read: there is no such file") from error


def _content(path: Path) -> bytes:
    if reason := unusable(path):
        raise ItemError(f"can't be read: {reason}")
    try:
        size = path.stat().st_size
        if size > LARGE and size > free_memory():
            raise ItemError(f"its {size:,} bytes don't fit into memory")
        content = path.read_bytes()
    except OSError as error:
        raise ItemError(f"can't be read ({error.strerror})") from error
    if not content:
        raise ItemError("the file is empty (0 bytes)")
    return content


def _warn_of_constants(file: str, names: Sequence[str], values: np.ndarray[Any, Any]) -> None:
    """Name the attributes that are the same for every track: they tell nothing, and stay in."""
    constant = [name for name, span in zip(names, np.ptp(values, axis=0), strict=True) if span == 0]
    if constant:
        log.warning(
            f"{file}: {len(constant)} attributes are constant and tell nothing: "
            f"{', '.join(constant[:10])}{' …' if len(constant) > 10 else ''}"
        )


def _json_bytes(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode()
