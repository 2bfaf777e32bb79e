"""A job in pieces, each a file: continued after an interruption, or shared by several machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from coldstart.errors import InputError
from coldstart.files import made_folder, write_json

log = logging.getLogger(__name__)

NOTE = "job.json"
"""In the folder of pieces: what they are pieces of."""


def pieces_folder(out: Path) -> Path:
    """Where the pieces of a file or a folder lie until all are there: beside it."""
    return out.with_name(f"{out.name}.parts")


def piece_path(folder: Path, number: int) -> Path:
    """Where a piece lies."""
    return folder / f"{number:06d}.parquet"


def begin_job(folder: Path, job: str, shared: bool = False) -> None:
    """Keep the pieces of the same job, delete those of another.

    Args:
        folder: of the pieces; made if it doesn't exist.
        job: a fingerprint of all that they depend on.
        shared: whether other machines may be writing here, too: then nothing is deleted.

    Raises:
        InputError: the folder is shared, and has pieces of another job.
    """
    made_folder(folder)
    note = folder / NOTE
    try:
        before = json.loads(note.read_bytes())["job"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # none, or damaged
        before = None
    existing = list(folder.glob("*.parquet"))
    if before == job:
        if not shared:
            log.info(f"{folder}: {len(existing)} parts exist already; the others follow")
        return
    if shared and before is not None:
        raise InputError(
            f"{folder}: holds parts of another job: the run, its data, the users or a choice "
            "differ from what this part was given. Give all parts the same, or remove the folder"
        )
    for path in existing:
        path.unlink()
    write_json(note, {"job": job})


def must_be_complete(paths: Collection[Path], named: Sequence[str], otherwise: str = "") -> None:
    """Raise InputError unless all pieces are there, as `--merge` promises.

    Args:
        paths: of all pieces.
        named: what each is a piece of, for the message.
        otherwise: what else can be done.
    """
    missing = [name for path, name in zip(paths, named, strict=True) if not path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(paths):,} pieces are missing (the first: {missing[0]}), so "
            f"nothing is merged; see which part has failed and run it again{otherwise}"
        )
