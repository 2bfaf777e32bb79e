"""Datasets at an address: HTTP, S3, Google Cloud, … through fsspec, with a local copy.

A remote dataset has a local folder of the same layout. `dataset.json` is fetched whenever the
dataset is opened, any other file when it is first read, and never twice. A modality that has
changed at the address since is deleted from the copy, and fetched again; of tracks that were added
there, only theirs is fetched.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock

from coldstart.errors import InputError
from coldstart.files import atomic, cache_folder, fingerprint, write_json
from coldstart.tables.splits import NEW

ORIGIN = "mirror_of"
"""Key of a local copy's dataset.json: the address, and the modalities that it has."""


def mirror(address: str) -> Path:
    """Make or refresh the local copy of a remote dataset.

    Returns:
        Its folder, in which `dataset.json` is up to date.

    Raises:
        InputError: it can't be reached, or holds no dataset.
    """
    address = re.sub(r":/+", "://", address.rstrip("/"), count=1)
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", address.rpartition("/")[2])
    folder = cache_folder() / f"{stem}-{fingerprint(address)[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dataset.json"
    with FileLock(f"{folder}.lock"):
        remote = _read(address)
        copy = json.loads(path.read_bytes()) if path.is_file() else {"modalities": {}}
        if not _continues(copy, remote):
            shutil.rmtree(folder)
            copy = {"modalities": {}}
        # Modalities that were written here alone, such as a first stage's, stay.
        own = dict(copy["modalities"])
        for name in copy.get(ORIGIN, {}).get("modalities", ()):
            if not _goes_on(own.pop(name), remote["modalities"].get(name)):
                for split in copy["splits"]:
                    shutil.rmtree(folder / split / name, ignore_errors=True)
        modalities = {**own, **remote["modalities"]}
        source = {"address": address, "modalities": list(remote["modalities"])}
        write_json(path, {**remote, "modalities": modalities, ORIGIN: source})
    return folder


def _continues(copy: Mapping[str, Any], remote: Mapping[str, Any]) -> bool:
    """Whether a remote dataset is that of the copy, maybe with tracks that were added since."""
    if any(copy.get(key) != remote.get(key) for key in ("version", "plan")):
        return False
    old, now = {**copy.get("splits", {})}, {**remote["splits"]}
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


def fetch(address: str, path: Path) -> None:
    """Copy one file from an address to `path`, whole or not at all.

    Raises:
        InputError: it can't be fetched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.is_file():  # another process was faster
            return
        with (
            _errors_named(address, "there is no such file; is the upload complete?"),
            atomic(path) as temporary,
            fsspec.open(address, "rb") as source,
            temporary.open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy, 1 << 20)
    Path(f"{path}.lock").unlink(missing_ok=True)


@contextmanager
def _errors_named(address: str, absent: str) -> Iterator[None]:
    """Raise InputError where fetching from `address` fails; `absent` is the message for no file."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{address}: {absent}") from error
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{address}: can't be fetched ({error})") from error


def _read(address: str) -> dict[str, Any]:
    """dataset.json of a remote dataset."""
    path = f"{address}/dataset.json"
    with (
        _errors_named(path, "there is no dataset at this address, or nobody answers"),
        fsspec.open(path, "rb") as file,
    ):
        content = file.read()
    try:
        about: dict[str, Any] = json.loads(content)
        names = [*about["modalities"], *about["splits"]]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: no dataset of coldstart's ({error})") from error
    if invalid := [name for name in names if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
        raise InputError(f"{path}: {invalid[0]!r} can't be the name of a modality or split")
    return about
