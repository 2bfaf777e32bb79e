"""The first stage of a two-stage run: the nets whose vectors it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from coldstart.files import StrPath, write_json
from coldstart.runs.places import fitted_in, moved

NOTE = "stage1.json"
"""In a two-stage run's folder: whose vectors it reads, so that new tracks can be given theirs."""

Vectors = Literal["factors", "embedding"]


class Stage(NamedTuple):
    """The nets behind one modality folder of a two-stage run.

    Attributes:
        modality: folder of the shards that they write.
        runs: one run, or one for each fold.
        vectors: what is written.
        made_by: fingerprint of what decides the outcome.
    """

    modality: str
    runs: list[str]
    vectors: Vectors
    made_by: str


def first_stage_of(folder: StrPath) -> dict[str, Stage]:
    """The first stage of a two-stage run, by encoder; empty for another run."""
    path = Path(folder) / NOTE
    if not path.is_file():
        return {}
    stages = {name: Stage(**about) for name, about in json.loads(path.read_bytes()).items()}
    return {
        name: stage._replace(runs=[_place_of(run, Path(folder)) for run in stage.runs])
        for name, stage in stages.items()
    }


def write_first_stage(folder: Path, stages: Mapping[str, Stage]) -> None:
    """Write what `first_stage_of` reads; nets inside the run's folder by their path in it."""
    inside = folder.absolute()
    content = {}
    for name, stage in stages.items():
        paths = [Path(run) for run in stage.runs]
        runs = [p.relative_to(inside) if p.is_relative_to(inside) else p for p in paths]
        content[name] = stage._replace(runs=[run.as_posix() for run in runs])._asdict()
    write_json(folder / NOTE, content)


def _place_of(run: str, folder: Path) -> str:
    """Where a net's run lies now, if it was moved together with the run that reads its vectors."""
    path = Path(run)
    if not path.is_absolute():
        return str(folder.absolute() / path)
    if path.exists():
        return str(path)
    inside = folder.absolute().joinpath(*path.parts[-3:])  # stage1/mgp/fold0
    return str(moved(run, fitted_in(folder), folder) or (inside if inside.exists() else path))
