"""A run is a folder: config.yaml, checkpoints/, results.json, results.csv, predictions/."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coldstart.data.track_data import TrackData
from coldstart.factors.factors import Factors
from coldstart.files import (
    StrPath,
    atomic,
    is_remote,
)
from coldstart.model.checkpoint import LAST, best_checkpoint
from coldstart.model.net import FACTORS_FOLDER, Net, load
from coldstart.runs.config import read_config
from coldstart.runs.places import data_places, lost_places, must_be_named, remember
from coldstart.shards.reading import Shards

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """A fitted model and its data.

    Attributes:
        folder: the run's folder.
        model: on the CPU, in eval mode.
        data: with the model's readers lent.
        own_shards: whether the data is what the run was fitted on.
        places: where the shards and the factors were read from.
    """

    folder: Path
    model: Net
    data: TrackData
    own_shards: bool
    places: dict[str, str | None]


def open_run(folder: StrPath, shards: str | None = None, factors: str | None = None) -> Run:
    """Load a run's best model, and its data (or other shards and factors in their place).

    Raises:
        InputError: it is no run; or its data has gone from where it lay, and isn't named.
    """
    lost, named = lost_places(folder), {"shards": shards, "factors": factors}
    named = {key: path for key, path in named.items() if path is not None}
    needed = [key for key in lost if key != "test_tracks"]
    must_be_named(folder, needed, named, "--{}")
    places = {key: None if key in lost else path for key, path in data_places(folder).items()}
    config = read_config(folder)["data"] | places | named
    model, data = load(best_checkpoint(folder), Net), TrackData(**config)
    model.check(data.info, data.has)
    data.lend(model.lend())
    own = remember_own(folder, model.facts, named)
    is_own = shards is None or "shards" in own
    return Run(Path(folder), model, data, is_own, {k: config[k] for k in ("shards", "factors")})


def open_net(
    run: Run, folder: StrPath, shards: str | None = None, factors: str | None = None
) -> Run:
    """Open a net of a run's first stage; data that has gone from where it lay is the run's."""
    lost = set(lost_places(folder))
    return open_run(
        folder,
        shards or (run.places["shards"] if "shards" in lost else None),
        factors or (run.places["factors"] if "factors" in lost else None),
    )


def remember_own(
    folder: StrPath, facts: Mapping[str, Mapping[str, Any]], named: Mapping[str, str | None]
) -> dict[str, str]:
    """Remember data that was named, if it is the run's own, which has gone from where it lay.

    Args:
        folder: the run's.
        facts: of its model: what it learnt of the shards and the factors.
        named: `shards` and `factors`, as far as they were named.

    Returns:
        What is remembered.
    """
    new = {key: named.get(key) for key in lost_places(folder)}
    own: dict[str, str] = {}
    shards, factors = new.get("shards"), new.get("factors")
    if shards is not None and not is_remote(shards) and _is_own(Shards(shards), facts):
        own["shards"] = shards
    space = facts.get(FACTORS_FOLDER, {}).get("id")
    if factors is not None and space is not None and Factors.about_of(factors).get("id") == space:
        own["factors"] = factors
    if own:
        remember(folder, own)
    return own


def _is_own(shards: Shards, facts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a model was fitted on these shards: not on others with the same modalities."""
    names = [name for name in facts if name in shards.modalities]
    return bool(names) and all(
        shards.info(name).get(key) == value for name in names for key, value in facts[name].items()
    )


def begin(run: StrPath, key: str, main: bool = True) -> list[str]:
    """Flags with which a `fit` resumes what the same settings have begun in a run's folder.

    Where there is nothing to resume, there are none, and the folder is emptied.

    Args:
        run: the folder.
        key: of the settings.
        main: whether this process writes: the one, or rank 0 of several.
    """
    run, note = Path(run), Path(run) / "begun"
    same = note.is_file() and note.read_bytes() == key.encode()
    if same and (run / "checkpoints" / LAST).is_file():
        return ["--ckpt_path", "last"]
    if main:
        shutil.rmtree(run, ignore_errors=True)
        with atomic(note) as temporary:
            temporary.write_text(key, encoding="utf-8")
    return []


def vectors_folder(run: Path, shards: Shards) -> Path:
    """Where predictions for a dataset lie; other shards' must not take the place of the run's."""
    is_run = (run / "config.yaml").is_file()
    own = not is_run or data_places(run)["shards"] == shards.place
    return run / ("predictions" if own else f"predictions_{shards.folder.name}")
