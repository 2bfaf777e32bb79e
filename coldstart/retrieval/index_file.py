"""The index of a run on disk: `index/` in the run's folder.

`index.json` says of what it is (kind, the model's weights, the factors, the tracks) and how well it
answers; `directions.safetensors` and, where a listener's score is a dot product,
`scoring.safetensors` hold its arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from coldstart.errors import InputError
from coldstart.files import StrPath, atomic_folder, write_json
from coldstart.forms.arrays import ArrayForm, read_arrays, write_arrays
from coldstart.forms.content import (
    at_least,
    flag,
    json_in,
    list_of,
    must_have_form,
    number,
    one_of_these,
    or_none,
    record,
    table_of,
    text,
    whole,
)
from coldstart.model.checkpoint import weights_id
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.index import TRACES, PlaceIndex, TrackIndex, place_names
from coldstart.retrieval.index_recall import IndexRecall
from coldstart.retrieval.vector_index import KINDS
from coldstart.runs.run import Run

FOLDER = "index"
"""In the run's folder."""

RECORD = "index.json"

FORMAT = 1

MOST_ADDED = 20_000
"""So many tracks are added while a run is loaded; more would keep whoever waits too long."""

MADE_OF = record({"weights": text, "factors": or_none(text), "by_length": flag})

FORM = record(
    {
        "format": whole,
        "kind": one_of_these(*KINDS),
        "made_of": MADE_OF,
        "width": at_least(1, whole),
        "ids": list_of(text),
        "efforts": table_of(at_least(1, whole)),
        "scales": table_of(at_least(0)),
        "seconds": at_least(0),
        "bytes": at_least(0, whole),
        "measured": list_of(
            record(
                {
                    "asked": text,
                    "candidates": at_least(0, whole),
                    "effort": at_least(1, whole),
                    "recall": number,
                    "least": number,
                    "queries": at_least(0, whole),
                    "k": at_least(1, whole),
                    "per_second": at_least(0),
                    "exact_per_second": at_least(0),
                    "in_use": flag,
                }
            )
        ),
    }
)


class StoredIndex(NamedTuple):
    """An index, and what is known of it.

    Attributes:
        tracks: matched with the catalogue's.
        seconds: that building it took; what was added since isn't counted.
        measured: how well it answered when it was written.
    """

    tracks: TrackIndex
    seconds: float
    measured: list[IndexRecall]


def index_folder(run: StrPath) -> Path:
    """Where a run's index lies."""
    return Path(run) / FOLDER


def has_index(run: StrPath) -> bool:
    """Whether a run has an index."""
    return (index_folder(run) / RECORD).is_file()


def write_index(run: Run, stored: StoredIndex) -> Path:
    """Write an index into its run's folder, in the place of an earlier one."""
    index, folder = stored.tracks, index_folder(run.folder)
    with atomic_folder(folder) as temporary:
        for name, place in index.places.items():
            arrays = place.index.arrays() | {"traces": place.traces}
            write_arrays(temporary / f"{name}.safetensors", arrays)
        write_json(
            temporary / RECORD,
            {
                "format": FORMAT,
                "kind": index.kind,
                "made_of": _made_of(run, index.catalogue),
                "width": index.catalogue.width,
                "ids": index.ids,
                "efforts": {name: place.index.effort for name, place in index.places.items()},
                "scales": {name: place.scale for name, place in index.places.items()},
                "seconds": round(stored.seconds, 1),
                "bytes": index.bytes,
                "measured": [row._asdict() for row in stored.measured],
            },
        )
    return folder


def read_index(run: Run, catalogue: Catalogue) -> StoredIndex:
    """A run's index, matched with the tracks as they are now; none are added.

    Raises:
        InputError: there is none, it is damaged, or it is of another model or of other factors.
    """
    folder = index_folder(run.folder)
    remedy = f"make it anew: coldstart index --run {run.folder}"
    if not has_index(run.folder):
        raise InputError(
            f"{run.folder}: this run has no index; make one: coldstart index --run {run.folder}"
        )
    about = json_in(folder / RECORD, remedy)
    must_have_form(about, FORM, folder / RECORD, remedy)
    if about["format"] != FORMAT:
        raise InputError(f"{folder}: of format {about['format']}, not {FORMAT}; {remedy}")
    if fault := _fault_of(about, run, catalogue):
        raise InputError(f"{folder}: {fault}; {remedy}")
    places = {
        name: _read_place(folder / f"{name}.safetensors", about, name, remedy)
        for name in place_names(catalogue)
    }
    index = TrackIndex(catalogue, about["ids"], places)
    return StoredIndex(index, about["seconds"], [IndexRecall(**row) for row in about["measured"]])


def _made_of(run: Run, catalogue: Catalogue) -> dict[str, Any]:
    """What places depend on, beside tracks and listens."""
    factors = catalogue.factors
    return {
        "weights": weights_id(run.model),
        "factors": factors.about.get("id") if factors is not None else None,
        "by_length": catalogue.by_length,
    }


def _fault_of(about: dict[str, Any], run: Run, catalogue: Catalogue) -> str:
    """Why an index doesn't fit to a run; "" if it does."""
    current = _made_of(run, catalogue)
    if about["made_of"]["weights"] != current["weights"]:
        return "it is of another model, which has been fitted anew since"
    if about["made_of"] != current or about["width"] != catalogue.width:
        return "it is of other factors"
    if not set(place_names(catalogue)) <= about["efforts"].keys() & about["scales"].keys():
        return "its record lacks a part"
    return ""


def _read_place(path: Path, about: dict[str, Any], name: str, remedy: str) -> PlaceIndex:
    index = KINDS[about["kind"]](about["width"])
    forms = {**index.forms, "traces": ArrayForm("F32", ("entries", TRACES))}
    sizes = {"entries": len(about["ids"]), "width": about["width"]}
    arrays = read_arrays(path, forms, sizes, remedy)
    try:
        index.restore(arrays)
    except InputError as error:
        raise InputError(f"{path}: damaged ({error}); {remedy}") from error
    index.effort = about["efforts"][name]
    return PlaceIndex(index, about["scales"][name], arrays["traces"])


def current_index(run: Run, catalogue: Catalogue) -> TrackIndex:
    """A run's index, with all tracks of the catalogue.

    Raises:
        InputError: as `read_index`; or so much has changed since that it has to be written anew.
    """
    index = read_index(run, catalogue).tracks
    lacking = index.lacking
    if len(lacking) > MOST_ADDED:
        raise InputError(
            f"{index_folder(run.folder)}: {len(lacking):,} of {len(catalogue):,} tracks are new or "
            f"lie elsewhere since it was written; bring it up to date: coldstart index --run "
            f"{run.folder}"
        )
    index.add(lacking)
    return index
