"""Datasets at an address: HTTP, S3, Google Cloud, … through fsspec, with a local copy.

A remote dataset has a local folder of the same layout. `dataset.json` is fetched whenever the
dataset is opened, any other file when it is first read, and never twice, unless it turns out to be
damaged. A modality that has changed at the address since is deleted from the copy, and fetched
again; of tracks that were added there, only theirs is fetched.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from coldstart.addresses.copies import copying, private
from coldstart.addresses.places import normal
from coldstart.addresses.transfer import fetch
from coldstart.errors import InputError
from coldstart.files import cache_folder, write_json
from coldstart.shards.listing import listing, parsed
from coldstart.tables.splits import NEW

ORIGIN = "mirror_of"
"""Key of a local copy's dataset.json: the address, and the modalities that it has."""

LARGEST_JSON = 100 << 20
"""Bytes of a JSON file at an address: read whole, it takes a multiple of them in memory."""
TRACK = 32 << 20
"""Bytes a track, on average, of a tar whose length its server doesn't announce."""


def mirror(address: str) -> Path:
    """Make or refresh the local copy of a remote dataset.

    Returns:
        Its folder, in which `dataset.json` is up to date.

    Raises:
        InputError: it can't be reached, or holds no dataset.
    """
    address = normal(address)
    with copying(address, cache_folder()):
        folder = private(address)
        path = folder / "dataset.json"
        with FileLock(f"{folder}.lock"):
            remote = listing_at(address, folder)
            copy = _listing_of_copy(path)
            if copy is None or not _continues(copy, remote):
                shutil.rmtree(folder)
                folder.mkdir(mode=0o700)
                copy = {"modalities": {}, "splits": {}}
            # Modalities that were written here alone, such as a first stage's, stay.
            own = {}
            fetched = copy.get(ORIGIN, {}).get("modalities", ())
            for name, facts in copy["modalities"].items():
                there = remote["modalities"].get(name)
                if name not in fetched and there is None:
                    own[name] = facts
                elif name not in fetched or not _goes_on(facts, there):
                    for split in copy["splits"]:
                        shutil.rmtree(folder / split / name, ignore_errors=True)
            modalities = {**own, **remote["modalities"]}
            source = {"address": address, "modalities": list(remote["modalities"])}
            write_json(path, {**remote, "modalities": modalities, ORIGIN: source})
    return folder


def listing_at(address: str, folder: Path) -> dict[str, Any]:
    """dataset.json of a remote dataset."""
    place = f"{address}/dataset.json"

    def content(path: Path) -> bytes:
        parsed(path.read_bytes())
        return path.read_bytes()

    about = listing(fetch(place, folder, content, LARGEST_JSON), place)
    names = [*about["modalities"], *about["splits"]]
    if invalid := [name for name in names if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
        raise InputError(
            f"{place}: {invalid[0]!r} can't be the name of a modality or split; upload it as "
            "coldstart wrote it"
        )
    return about


def _listing_of_copy(path: Path) -> dict[str, Any] | None:
    """dataset.json of a local copy; None if there is none, or if it is damaged."""
    try:
        return listing(path.read_bytes(), path)
    except (FileNotFoundError, InputError):
        return None


def _continues(copy: Mapping[str, Any], remote: Mapping[str, Any]) -> bool:
    """Whether a remote dataset is that of the copy, maybe with tracks that were added since."""
    if any(copy.get(key) != remote.get(key) for key in ("version", "plan")):
        return False
    old, now = {**copy["splits"]}, {**remote["splits"]}
    return _grown(old.pop(NEW, []), now.pop(NEW, [])) and old == now


def _goes_on(copy: Mapping[str, Any], remote: Mapping[str, Any] | None) -> bool:
    """Whether a remote modality is that of the copy, maybe also of tracks that were added since."""
    if remote is None:
        return False
    facts, facts_now = ({k: v for k, v in i.items() if k != "shards"} for i in (copy, remote))
    old, now = {**copy["shards"]}, {**remote["shards"]}
    grown = _grown(old.pop(NEW, []), now.pop(NEW, []))
    return facts == facts_now and grown and old == now


def _grown(before: Sequence[int], now: Sequence[int]) -> bool:
    """Whether shards of `new` were added, or filled where there was nothing, and none was changed.

    >>> _grown([5, 0], [5, 3, 2]), _grown([5], [4, 1]), _grown([5], [])
    (True, False, False)
    """
    same = (old in (0, count) for old, count in zip(before, now, strict=False))
    return len(before) <= len(now) and all(same)


def origin(folder: Path, about: dict[str, Any]) -> str | None:
    """The address that a local copy was fetched from; None for any other folder.

    A folder from somebody else can't make us fetch anything: only copies in our own cache are
    trusted.
    """
    in_cache = folder.absolute().is_relative_to(cache_folder())
    return about[ORIGIN]["address"] if in_cache and ORIGIN in about else None


def source_of(path: Path, folder: Path, about: dict[str, Any]) -> str | None:
    """The address of a file of a local copy; None for one that was written here alone, or in any
    other folder.
    """
    address = origin(folder, about)
    if address is None or path.parent.name not in ("tracks", *about[ORIGIN]["modalities"]):
        return None
    return f"{address}/{path.relative_to(folder).as_posix()}"


def fetch_into(
    path: Path, address: str, check: Callable[[Path], object], tracks: int | None = None
) -> None:
    """Fetch one file of a dataset to `path`, whole and checked or not at all.

    Args:
        path: where it will lie.
        address: of the file.
        check: called with a path of the file before it counts; a ValueError says how it is damaged.
        tracks: of a tar, how many it holds; of JSON, None.

    Raises:
        InputError: it can't be fetched, or is damaged.
    """

    def keep(fetched: Path) -> None:
        check(fetched)
        fetched.replace(path)

    with copying(address, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.is_file():  # another process was faster
                return
            if tracks is None:
                fetch(address, path.parent, keep, LARGEST_JSON)
            else:
                fetch(address, path.parent, keep, unannounced=(tracks + 1) * TRACK)
        Path(f"{path}.lock").unlink(missing_ok=True)
