"""Datasets that lie elsewhere: HTTP, S3, Google Cloud, … through fsspec, with a local copy.

A remote dataset has a local folder of the same layout. `dataset.json` is fetched whenever the
dataset is opened, any other file when it is first read, and never twice. What has changed there
since is thrown away here, modality by modality.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock

from coldstart.errors import InputError
from coldstart.files import atomic, cache_folder, fingerprint, write_json

ORIGIN = "mirror_of"
"""Key of a local copy's dataset.json: the address, and the modalities that are there."""


def mirror(address: str) -> Path:
    """Make or refresh the local copy of a remote dataset.

    Returns:
        Its folder, in which `dataset.json` is up to date.

    Raises:
        InputError: it can't be reached, or there is no dataset.
    """
    address = re.sub(r":/+", "://", address.rstrip("/"), count=1)
    name = re.sub(r"[^A-Za-z0-9_-]", "_", address.rpartition("/")[2])
    folder = cache_folder() / f"{name}-{fingerprint(address)[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dataset.json"
    with FileLock(f"{folder}.lock"):
        there = _read(address)
        here = json.loads(path.read_bytes()) if path.is_file() else {"modalities": {}}
        if any(here.get(key) != there.get(key) for key in ("version", "splits", "plan")):
            shutil.rmtree(folder)
            here = {"modalities": {}}
        # Modalities that were written here alone, such as a first stage's, stay.
        kept = dict(here["modalities"])
        for fetched in here.get(ORIGIN, {}).get("modalities", ()):
            if kept.pop(fetched) != there["modalities"].get(fetched):
                for split in here["splits"]:
                    shutil.rmtree(folder / split / fetched, ignore_errors=True)
        came_from = {"address": address, "modalities": list(there["modalities"])}
        both = {**kept, **there["modalities"]}
        write_json(path, {**there, "modalities": both, ORIGIN: came_from})
    return folder


def origin(folder: Path, about: dict[str, Any]) -> str | None:
    """The address that a local copy was fetched from; None for any other folder.

    Whoever hands over a folder can't make us fetch: only copies in our own cache are believed.
    """
    mine = folder.absolute().is_relative_to(cache_folder())
    return about[ORIGIN]["address"] if mine and ORIGIN in about else None


def fetch(address: str, path: Path) -> None:
    """Copy one file here, whole or not at all.

    Raises:
        InputError: it can't be fetched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.is_file():  # another process was faster
            return
        with (
            _explained(address, "there is no such file; is the upload complete?"),
            atomic(path) as temporary,
            fsspec.open(address, "rb") as source,
            temporary.open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy, 1 << 20)
    Path(f"{path}.lock").unlink(missing_ok=True)


@contextmanager
def _explained(address: str, absent: str) -> Iterator[None]:
    """Say what went wrong where something is fetched from; `absent`: if nothing is there."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{address}: {absent}") from error
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{address}: can't be fetched ({error})") from error


def _read(address: str) -> dict[str, Any]:
    """dataset.json of a remote dataset."""
    place = f"{address}/dataset.json"
    with (
        _explained(place, "there is no dataset at this address, or nobody answers"),
        fsspec.open(place, "rb") as file,
    ):
        content = file.read()
    try:
        about: dict[str, Any] = json.loads(content)
        names = [*about["modalities"], *about["splits"]]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{place}: no dataset of coldstart's ({error})") from error
    if strange := [name for name in names if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
        raise InputError(f"{place}: {strange[0]!r} can't be the name of a modality or split")
    return about
