"""A run's vectors of all tracks: stored, and of tracks that were added since, predicted."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from coldstart.data.track_data import TrackData
from coldstart.errors import InputError
from coldstart.files import cache_folder, fingerprint, is_writable, is_write_refused, write_json
from coldstart.forms.content import (
    at_least,
    json_in,
    list_of,
    must_have_form,
    record,
    table_of,
    text,
    whole,
)
from coldstart.model.checkpoint import best_checkpoint, weights_id
from coldstart.model.net import Net
from coldstart.model.predictions import (
    MADE_FROM,
    NO_TRACKS,
    Predictions,
    join,
    predict_batches,
)
from coldstart.runs.derived import complete_new, derived_inputs, lacks_of_new
from coldstart.runs.run import Run
from coldstart.sample import folder_of
from coldstart.shards.format import place_of
from coldstart.shards.reading import Shards
from coldstart.tables.splits import IN_USE, NEW, SPLITS

log = logging.getLogger(__name__)

State = dict[str, Any]
"""What predictions depend on, as `made_from` gives it."""

RECORD = record(
    {"new": table_of(table_of(at_least(0, whole))), "without": list_of(text)}, others=True
)
"""The form of the record of what stored predictions depend on, as far as it isn't compared."""


def predictions_of(run: Run) -> Predictions:
    """Predicted vectors of all tracks in use, in the dataset's order: stored, or computed and (for
    the run's own shards) stored.

    Where the model and what it read are the same as then, only tracks that were added since are
    predicted, and only those are read. Where the run can't be written to, they are stored in this
    user's cache. Modalities that nets compute are computed first for tracks that were added since.
    """
    complete(run)
    if not run.own_shards:
        return predict_tracks(run)
    state = made_from(run.model, run.data)
    with _turn(run.folder):
        for folder in (run.folder / "predictions", _copy_of_predictions(run, state)):
            stored = _stored(run, folder, state)
            if stored is not None:
                return _brought_up_to_date(run, folder, *stored, state)
        predictions = predict_tracks(run)
        hidden = run.data.shards.removed.difference(predictions.track_ids)
        _save(
            run, predictions, run.data.shards.tracks_in_use(), state | {"without": sorted(hidden)}
        )
    return predictions


def complete(run: Run) -> None:
    """Give tracks that were added since what nets compute of them, as far as the model reads it."""
    shards = run.data.shards
    if not shards.shard_sizes(NEW):
        return
    try:
        names = derived_inputs(shards, run.model)
        lacking = [name for name in names if lacks_of_new(shards, name)]
        if lacking:
            complete_new(shards, lacking)
            run.data.shards = Shards(shards.folder)
    except InputError as error:
        log.warning(f"tracks that were added since lack what nets compute of them: {error}")


def predict_tracks(
    run: Run, only: Collection[str] | None = None, device: torch.device | None = None
) -> Predictions:
    """Predict every track in use of the run's shards that has any of the model's inputs.

    Args:
        run: a fitted run.
        only: of these tracks; None: of all.
        device: that computes; None: a GPU if there is one.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return predict_batches(run.model.to(device), run.data.batches(IN_USE, only=only))


def made_from(model: Net, data: TrackData) -> State:
    """What a model's predictions for a dataset depend on.

    Returns:
        `weights`, `model` and `settings`: of the model and how it reads. `shards`, `modalities`
        and `factors`: of the dataset, as far as the model reads it, without what was added since
        it was made; `new`: of each shard of `new`, how many tracks have each modality.
    """
    shards, lent = data.shards, model.lend()
    fields = {field for names, _ in lent.readers.values() for field in names}
    folders = {folder_of(field) for field in fields.difference(lent.factor_fields)}
    names = sorted(folders.intersection(shards.modalities))
    reads_factors = bool(lent.factor_fields) and data.factors is not None
    return {
        "weights": weights_id(model),
        "model": fingerprint(model.recipe()),
        "settings": {"missing": data.missing, "drop": sorted(data.drop)},
        "shards": fingerprint(shards.about.get("plan"), [shards.shard_sizes(s) for s in SPLITS]),
        "modalities": {name: _facts(shards, name) for name in names},
        "factors": data.known_factors().about["id"] if reads_factors else None,
        "new": {
            place_of(NEW, number): {name: shards.count(name, NEW, number) for name in names}
            for number in range(len(shards.shard_sizes(NEW)))
        },
    }


def _facts(shards: Shards, name: str) -> str:
    """Fingerprint of all that dataset.json says of a modality's first tracks."""
    info = shards.info(name)
    facts = {key: value for key, value in info.items() if key not in ("shards", "runs", "at")}
    return fingerprint(facts, {split: info["shards"].get(split) for split in SPLITS})


def _stored(run: Run, folder: Path, state: State) -> tuple[Predictions, State] | None:
    """Predictions in a folder, and their record, if the model and what it read are the same.

    Those of an earlier version have no record; they, and those that somebody has predicted with
    other settings, count as long as neither the model nor the shards are newer.
    """
    vectors, path = folder / "vectors.safetensors", folder / MADE_FROM
    if not vectors.is_file():
        return None
    earlier = _read(path)
    if earlier is not None and all(earlier.get(k) == state[k] for k in state if k != "new"):
        return _loaded(run, folder), earlier
    depends_on = [best_checkpoint(run.folder), run.data.shards.folder / "dataset.json"]
    if any(place.stat().st_mtime > vectors.stat().st_mtime for place in depends_on):
        return None
    predictions = _loaded(run, folder)
    in_use = {track["track_id"] for track in run.data.shards.tracks_in_use()}
    if not in_use >= set(predictions.track_ids):
        return None
    current = {**state, "without": sorted(run.data.shards.removed)}
    if earlier is None:
        try:
            write_json(path, current)
        except OSError as error:
            if not is_write_refused(error):
                raise
    return predictions, current


def _loaded(run: Run, folder: Path) -> Predictions:
    """Predictions in a folder, if they are as wide as those that the run's model makes."""
    predictions = Predictions.load(folder)
    width, expected = predictions.values.shape[1], run.model.target.dim
    if width != expected:
        raise InputError(
            f"{folder}: holds vectors of {width} numbers, but this model predicts {expected}; "
            f"remove {folder}, and predict again"
        )
    return predictions


def _read(path: Path) -> State | None:
    """A folder's record; None if there is none that can be read."""
    try:
        content: State = json_in(path, "predict again")
        must_have_form(content, RECORD, path, "predict again")
    except InputError:
        return None
    return content


def _brought_up_to_date(
    run: Run, folder: Path, stored: Predictions, record: State, state: State
) -> Predictions:
    """Stored predictions with those of tracks that were added since, without removed ones."""
    shards = run.data.shards
    ids = _unpredicted(shards, record, state)
    if ids:
        log.info(f"{folder}: {len(ids):,} tracks are new since; predicting these alone")
        old = _only(stored, lambda track: track not in ids)
        parts = [old, _predict_if_possible(run, ids)]
        in_use = shards.tracks_in_use()
        known = {track["track_id"] for track in in_use}
        hidden = [track for track in shards.all_tracks(IN_USE) if track["track_id"] not in known]
        tracks = [*in_use, *{track["track_id"]: track for track in hidden}.values()]
        listed = {track["track_id"] for track in tracks}
        stored = join([_only(part, listed.__contains__) for part in parts if part], tracks)
        without = sorted(shards.removed.difference(stored.track_ids))
        _save(run, stored, tracks, state | {"without": without})
    if not shards.removed:
        return stored
    return _only(stored, lambda track: track not in shards.removed)


def _unpredicted(shards: Shards, record: State, state: State) -> set[str]:
    """Tracks in use of which the stored predictions know nothing, or something out of date."""
    ids = set(record["without"]) - shards.removed
    for number, (place, counts) in enumerate(state["new"].items()):
        if record["new"].get(place) != counts:
            tracks = (track["track_id"] for track in shards.tracks(NEW, number))
            ids.update(track for track in tracks if shards.is_in_use(track, NEW, number))
    return ids


def _predict_if_possible(run: Run, ids: set[str]) -> Predictions | None:
    """The vectors of these tracks; None if none of them has any of the model's inputs."""
    try:
        return predict_tracks(run, ids)
    except InputError as error:
        if str(error) == NO_TRACKS:
            return None
        raise


def _only(predictions: Predictions, keep: Any) -> Predictions:
    """Those of some tracks, chosen by their id."""
    rows = [row for row, track in enumerate(predictions.track_ids) if keep(track)]
    if len(rows) == len(predictions.track_ids):
        return predictions
    ids = [predictions.track_ids[row] for row in rows]
    return Predictions(ids, predictions.values[rows])


def _save(
    run: Run, predictions: Predictions, tracks: list[dict[str, Any]], record: Mapping[str, Any]
) -> None:
    """Store predictions with their record: in the run, or where that can't be written to, here."""
    for place in (run.folder / "predictions", _copy_of_predictions(run, record)):
        try:
            predictions.save(place, tracks, record)
            return
        except OSError as error:
            if not is_write_refused(error):
                raise
            log.info(f"{place}: can't be written to")


def _copy_of_predictions(run: Run, state: Mapping[str, Any]) -> Path:
    """Where a run's predictions lie that can't lie in it; the name says what they depend on."""
    parts = [state[key] for key in ("model", "weights", "settings", "shards")]
    place = run.data.shards.about.get("plan") or run.data.shards.place
    return cache_folder() / "predictions" / fingerprint(*parts, place)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One process after the other predicts for a run, if its folder can be written to."""
    if not is_writable(folder):
        yield
        return
    with FileLock(folder / ".predictions.lock"):
        yield
