"""Where a run's data lies now: the run, its shards and its factors may have been moved."""

from __future__ import annotations

import filecmp
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from coldstart.errors import InputError
from coldstart.files import (
    MISSING,
    StrPath,
    is_remote,
    is_write_refused,
    unusable,
    write_json,
)
from coldstart.forms.content import json_in, must_have_form, place, table_of
from coldstart.runs.config import read_config

log = logging.getLogger(__name__)

NOTE = "places.json"
"""In a run's folder: where its data lies, if it was said after the fit; and where the run lay."""

KEYS = ("shards", "factors", "test_tracks")
"""What the configuration's `data` names by its place."""


def moved(place: str, old_folder: str | None, folder: StrPath) -> Path | None:
    """Where something lies after a move together with a folder; None if it isn't there.

    Args:
        place: where it lay, as an absolute path.
        old_folder: where the folder lay then.
        folder: where the folder lies now.
    """
    if not old_folder or not (Path(old_folder).is_absolute() and Path(place).is_absolute()):
        return None
    try:
        relative = os.path.relpath(place, old_folder)
    except ValueError:  # another drive
        return None
    path = Path(os.path.normpath(Path(folder).absolute() / relative))
    return path if path.exists() else None


def fitted_in(folder: StrPath) -> str | None:
    """Where a run's folder lay when it was fitted."""
    return _folder_in(read_config(folder))


def _folder_in(config: Mapping[str, Any]) -> str | None:
    """Where a run's folder lay, as its configuration has it."""
    trainer: Mapping[str, Any] = config.get("trainer") or {}
    return trainer.get("default_root_dir")


def data_places(folder: StrPath) -> dict[str, str | None]:
    """Where the shards, the factors and so on that a run was fitted on lie now.

    Tried one after the other: where it was said to lie since; a copy of it at the same place as
    seen from the run's folder, for they may have been copied together; where it lay at the fit; and
    the same place as seen from the run's folder, for they may have been moved together.

    Returns:
        As `data` of the configuration has it, if there is nothing at any of them.
    """
    config, remembered = read_config(folder), _remembered(folder)
    fit_folder = _folder_in(config)
    places: dict[str, str | None] = {}
    for key in KEYS:
        before: str | None = config["data"].get(key)
        places[key] = before
        if before is None or is_remote(before):
            continue
        beside = moved(before, fit_folder, folder)
        candidates = [Path(before), beside]
        if beside is not None and _is_copy(key, beside, Path(before)):
            candidates.reverse()
        if key in remembered:
            since = remembered[key]
            candidates = [Path(since), moved(since, remembered.get("run"), folder), *candidates]
        present = [path for path in candidates if path is not None and path.exists()]
        if present:
            places[key] = str(present[0].absolute())
    return places


def _is_copy(key: str, one: Path, other: Path) -> bool:
    """Whether one dataset, or what `key` names, was copied from the other.

    Where a run was copied alone, others' data may lie where its own would be. A dataset may have
    had tracks added, or modalities, since it was copied.
    """
    try:
        if key == "test_tracks":
            return filecmp.cmp(one, other, shallow=False)
        if key == "factors":
            ids = [_about(place / "factors.json").get("id") for place in (one, other)]
            return ids[0] is not None and ids[0] == ids[1]
        copy, original = (_about(place / "dataset.json") for place in (one, other))
        sources = [
            {name: facts.get("source") for name, facts in about["modalities"].items()}
            for about in (copy, original)
        ]
        same_tracks = copy.get("plan") is not None and copy["plan"] == original.get("plan")
        return same_tracks and sources[1].items() <= sources[0].items()
    except (OSError, InputError, LookupError, TypeError, AttributeError):
        return False  # whoever reads them says what is wrong


def _about(path: Path) -> dict[str, Any]:
    about: dict[str, Any] = json_in(path, "copy it again")
    return about


def lost_places(folder: StrPath) -> list[str]:
    """Which of a run's data isn't where it lay, nor anywhere that is known."""
    return [
        key
        for key, place in data_places(folder).items()
        if place is not None and not is_remote(place) and not Path(place).exists()
    ]


def must_be_named(
    folder: StrPath, lost: Collection[str], named: Collection[str], form: str
) -> None:
    """Raise InputError for lost data that nobody has named.

    Args:
        folder: of the run.
        lost: as `lost_places` gives it.
        named: keys of data that was named.
        form: of a flag, such as `--{}`.
    """
    unnamed = [key for key in lost if key not in named]
    if unnamed:
        place = data_places(folder)[unnamed[0]]
        flags = " and ".join(f"{form.format(key)} PLACE" for key in unnamed)
        raise InputError(
            f"{folder}: the run's {unnamed[0]} aren't at {place}, where they were at the fit, nor "
            f"at the same place as seen from the run's folder; say where by {flags} (once: the run "
            "remembers it)"
        )


def remember(folder: StrPath, places: Mapping[str, str | None]) -> None:
    """Keep where a run's own data lies now, in the run's folder if that can be written to."""
    new = {key: str(Path(place).absolute()) for key, place in places.items() if place is not None}
    content = {**_remembered(folder), **new, "run": str(Path(folder).absolute())}
    where = " and ".join(f"{key} are {place}" for key, place in new.items())
    try:
        write_json(Path(folder) / NOTE, content)
    except OSError as error:
        if not is_write_refused(error):
            raise
        log.info(f"{folder}: can't be written to, so name its {', '.join(new)} next time, too")
        return
    log.info(f"remembered in {Path(folder) / NOTE}: the run's {where}")


def _remembered(folder: StrPath) -> dict[str, str]:
    path = Path(folder) / NOTE
    if unusable(path) == MISSING:
        return {}
    places: dict[str, str] = json_in(path, "delete it")
    must_have_form(places, table_of(place), path, "delete it")
    return places
