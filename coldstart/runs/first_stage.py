"""The first stage of a two-stage run: the nets whose vectors it reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from coldstart.files import MISSING, StrPath, unusable, write_json
from coldstart.forms.content import (
    json_in,
    like,
    list_of,
    must_have_form,
    one_of_these,
    place,
    record,
    table_of,
    text,
)
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


CONTENT = table_of(
    record(
        {
            "modality": like(r"[^./\\\0][^/\\\0]*"),
            "runs": list_of(place, least=1),
            "vectors": one_of_these(*get_args(Vectors)),
            "made_by": text,
        }
    )
)
"""The form of stage1.json."""


def first_stage_of(folder: StrPath) -> dict[str, Stage]:
    """The first stage of a two-stage run, by encoder; empty for another run.

    Raises:
        InputError: its note can't be read, or isn't such as a fit writes.
    """
    path, remedy = Path(folder) / NOTE, "copy the run again, or fit anew"
    if unusable(path) == MISSING:
        return {}
    content = json_in(path, remedy)
    must_have_form(content, CONTENT, path, remedy)
    stages = {name: Stage(**about) for name, about in content.items()}
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
