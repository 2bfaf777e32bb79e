"""Datasets at an address: HTTP, S3, Google Cloud, … through fsspec, with a local copy.

A remote dataset has a local folder of the same layout. `dataset.json` is fetched whenever the
dataset is opened, any other file when it is first read, and never twice, unless it turns out to be
damaged. A modality that has changed at the address since is deleted from the copy, and fetched
again; of tracks that were added there, only theirs is fetched.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from coldstart.errors import InputError
from coldstart.files import cache_folder, fingerprint, write_json
from coldstart.shards.listing import listing, parsed
from coldstart.shards.transfer import fetch
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
    address = _normal(address)
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", address.rpartition("/")[2])[:100]
    folder = cache_folder() / f"{stem}-{fingerprint(address)[:12]}"
    path = folder / "dataset.json"
    with _copying(address, folder):
        # The copies are the user's alone: what is behind a login stays so. The folder of somebody
        # else, who would choose what we read, can't be changed.
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o700)
        with FileLock(f"{folder}.lock"):
            remote = _listing_at(address, folder)
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


def _normal(address: str) -> str:
    """An address as fsspec reads it; a path may have made one slash of two.

    >>> _normal("http:/example.org/shards/"), _normal("S3://bucket/a"), _normal("file:/data/shards")
    ('http://example.org/shards', 's3://bucket/a', 'file:///data/shards')
    >>> _normal("http:///")
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: http:///: names no place; write it like https://host/folder or ...
    """
    scheme, _, rest = address.partition(":")
    scheme, place = scheme.lower(), rest.strip("/")
    if not place:
        raise InputError(
            f"{address}: names no place; write it like https://host/folder or s3://bucket/folder"
        )
    absolute = scheme in ("file", "local") and not re.match("//[^/]", rest)
    return f"{scheme}:{'///' if absolute else '//'}{place}"


@contextmanager
def _copying(address: str, folder: Path) -> Iterator[None]:
    """Raise InputError where a local copy can't be made, read or written to."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{address}: its local copy can't lie in {folder} ({error}); let COLDSTART_CACHE name "
            "a folder of your own, with room"
        ) from error


def _listing_at(address: str, folder: Path) -> dict[str, Any]:
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

    with _copying(address, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.is_file():  # another process was faster
                return
            if tracks is None:
                fetch(address, path.parent, keep, LARGEST_JSON)
            else:
                fetch(address, path.parent, keep, unannounced=(tracks + 1) * TRACK)
        Path(f"{path}.lock").unlink(missing_ok=True)
