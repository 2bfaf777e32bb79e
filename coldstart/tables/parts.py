"""The files of a table: one, or the parts in a folder, or of a pattern such as `part-*.csv`."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from coldstart.addresses.copies import copied, named_after, origin_of
from coldstart.addresses.places import called, folder_at, host_of, joined, normal
from coldstart.errors import InputError
from coldstart.files import FOLDER, MISSING, StrPath, file_hash, fingerprint, is_remote, unusable

log = logging.getLogger(__name__)

ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
COMPRESSED = (".gz", ".zst")
"""Endings of compressed text; Parquet is compressed inside."""

READABLE = (
    "tables are read from .parquet or .csv files, also .tsv and .jsonl, and text as .gz or .zst"
)

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the folder of rows without a value."""

STORES = frozenset(("s3", "s3a", "gs", "gcs", "az"))
"""Schemes of addresses that name a bucket, and no host."""

SAMPLE = 50
"""So many paths tell which folder they are relative to."""


class Part(NamedTuple):
    """One file of a table.

    Attributes:
        path: of the file.
        values: what its folders say of all its rows: of `day=2026-01-01`, that `day` is that.
    """

    path: Path
    values: dict[str, str | None]


def ending_of(path: StrPath) -> str:
    """The ending that says how a file is read, without that of its compression; "" for others.

    >>> ending_of("a/listens.CSV.gz"), ending_of("c000.snappy.parquet"), ending_of("x.parquet.gz")
    ('.csv', '.parquet', '')
    """
    name = Path(os.fspath(path).lower())
    ending = name.suffix
    if ending in COMPRESSED:
        ending = Path(name.stem).suffix
        return ending if ending != ".parquet" and ending in ENDINGS else ""
    return ending if ending in ENDINGS else ""


@contextmanager
def here(path: StrPath) -> Iterator[Path]:
    """Give a table's path on this machine: its own, or, of one at an address, that of its copy.

    Errors that are raised in the block name the address.

    Raises:
        InputError: it can't be fetched.
    """
    if not is_remote(path):
        yield Path(path)
        return
    with named_after(copied(path, _is_read)) as copy:
        yield copy


def _is_read(name: str) -> bool:
    """Whether a file of a folder is read, and so fetched."""
    shown = not any(part[0] in "._" for part in name.split("/") if part)
    return shown and bool(ending_of(name) or name.lower().endswith(".npy"))


def parts_of(path: StrPath) -> list[Part]:
    """The files of a table, in the order of their names.

    In a folder, hidden files and those that begin with an underscore, such as Spark's `_SUCCESS`,
    are no parts, nor is what has another ending.

    Raises:
        InputError: there is no such file, or the folder or the pattern has no part.
    """
    path = Path(path)
    reason = unusable(path)
    if not reason:
        return [Part(path, {})]
    if reason == FOLDER:
        return _of_folder(path)
    if not is_pattern(path):
        raise InputError(f"{path}: {reason}")
    parts = []
    root = path_root(path)
    for place in sorted(root.glob(os.fspath(path.relative_to(root)))):
        if any(name[0] in "._" for name in place.relative_to(root).parts):
            continue
        if place.is_dir():
            parts += _of_folder(place)
        elif not _is_empty(place):
            parts.append(Part(place, _values(place, root)))
    if not parts:
        raise InputError(f"{path}: no file has a name of this pattern")
    return _of_one_kind(path, list({part.path: part for part in parts}.values()))


def is_pattern(path: StrPath) -> bool:
    """Whether it is a pattern, and not the name of an existing file.

    >>> is_pattern("plays/part-*.csv"), is_pattern("plays.csv")
    (True, False)
    """
    return re.search(r"[*?\[]", os.fspath(path)) is not None and unusable(path) == MISSING


def path_root(path: StrPath) -> Path:
    """The folder of a file or of a folder of parts; of a pattern, the part without wildcards.

    >>> path_root("data/dt=*/part-*.csv").as_posix(), path_root("data/x.csv").as_posix()
    ('data', 'data')
    """
    path = Path(path)
    if not is_pattern(path):
        return path.parent
    plain = [*path.parts[:-1]]
    for number, part in enumerate(plain):
        if re.search(r"[*?\[]", part):
            return Path(*plain[:number])
    return Path(*plain)


def folder_of_paths(table: StrPath, paths: Sequence[str]) -> Path:
    """The folder that the paths in a table are relative to.

    It is the folder that the table's file is in. Where the table is a folder of parts, paths are
    relative to that folder or to the one that it is in: where the first of them exist.
    """
    table = Path(table)
    if not table.is_dir():
        return path_root(table)
    counts = [
        sum(not unusable(folder / path) for path in paths[:SAMPLE])
        for folder in (table, table.parent)
    ]
    return table if counts[0] > counts[1] else table.parent


def places_of(table: StrPath, names: Sequence[str]) -> list[str]:
    """Where the files are that a table names: paths, or addresses.

    They are relative to the table's folder, here or at its address, or addresses themselves. A
    table may come from a stranger: of addresses it may name those of object stores, whose host is
    that of the user's own settings, and those of its own host.

    Raises:
        InputError: it names another address.

    >>> places_of("s3://bucket/a/tracks.csv", ["x.mp3", "../b/y.mp3", "gs://other/z.mp3"])
    ['s3://bucket/a/x.mp3', 's3://bucket/b/y.mp3', 'gs://other/z.mp3']
    """
    if not is_remote(table):
        folder = folder_of_paths(table, names)
        return [_allowed(name, table) if is_remote(name) else str(folder / name) for name in names]
    own = folder_at(normal(table))
    return [_allowed(name, table) if is_remote(name) else joined(own, name) for name in names]


def _allowed(name: str, table: StrPath) -> str:
    address = normal(name)
    if address.partition(":")[0] in STORES or host_of(address) == host_of(os.fspath(called(table))):
        return address
    raise InputError(
        f"{called(table)}: names {name}; a table may name files of object stores "
        f"({', '.join(sorted(STORES))}) and of its own host. Fetch those files, and name them by "
        "their paths"
    )


def table_hash(path: StrPath) -> str:
    """A hash of a table's bytes: of a single file, its SHA-256."""
    with here(path) as place:
        return _hash(place)


def _hash(path: Path) -> str:
    parts = parts_of(path)
    if len(parts) == 1 and parts[0].path == path:
        return file_hash(path)
    return fingerprint([(part.path.name, part.values, file_hash(part.path)) for part in parts])


def _of_folder(folder: Path) -> list[Part]:
    """The parts in a folder and the folders within it."""
    parts, others = list[Part](), list[Path]()
    for place in _walk(folder):
        if not ending_of(place):
            others.append(place)
        elif not _is_empty(place):
            parts.append(Part(place, _values(place, folder)))
    # A part without its ending must not be lost without a word.
    nameless = [place for place in others if re.match(r"part[-_.]?\d|\d+_\d+$", place.name)]
    if nameless:
        raise InputError(f"{nameless[0]}: has no ending that says what it is; {READABLE}")
    if not parts:
        raise InputError(f"{folder}: is a folder without a table; {READABLE}")
    if others:
        log.info(
            f"{origin_of(folder)}: {len(others):,} files are no tables, such as {others[0].name}"
        )
    if (folder / "_temporary").is_dir() and not (folder / "_SUCCESS").exists():
        log.warning(
            f"{origin_of(folder)}: has a folder _temporary and no _SUCCESS: what wrote it may not "
            "have finished, and parts may be missing"
        )
    return _of_one_kind(folder, parts)


def _is_empty(part: Path) -> bool:
    """Whether it is empty text, as Spark writes it for a part without rows."""
    return ending_of(part) != ".parquet" and not unusable(part) and not part.stat().st_size


def _walk(folder: Path) -> Iterator[Path]:
    """The files below, without hidden ones and those whose name begins with an underscore."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        for name in sorted(files):
            if name[0] not in "._":
                yield Path(place, name)


def _values(part: Path, root: Path) -> dict[str, str | None]:
    """What `key=value` folders between a table's root and a part say."""
    values: dict[str, str | None] = {}
    for name in part.relative_to(root).parts[:-1]:
        key, equals, value = name.partition("=")
        if equals and key:
            values[unquote(key)] = None if value == NULL_PARTITION else unquote(value)
    return values


def _of_one_kind(path: Path, parts: list[Part]) -> list[Part]:
    """The parts, which must all be of one kind."""
    first = parts[0].path
    for part in parts[1:]:
        if ending_of(part.path) != ending_of(first):
            example = f", such as '{path}/*{ending_of(first)}'" if path.is_dir() else ""
            raise InputError(
                f"{path}: has parts of two kinds, {first.name} and {part.path.name}; name one "
                f"kind{example}"
            )
    return parts
