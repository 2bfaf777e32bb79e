"""Modalities that nets have made from others: which nets, where they lie now, and the same for more
tracks, or for a sound file.

Such a modality's facts in dataset.json have `runs`, the folders of its nets; `at`, where the
dataset lay when they wrote; `what` of their outputs was written; and `weights`, by which nets that
were fitted anew since are noticed. `predict --write`, `listen` and first stages write them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from coldstart.data.batch import Batch
from coldstart.data.track_data import TrackData
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.model.checkpoint import best_checkpoint, weights_id
from coldstart.model.net import Net, load
from coldstart.model.predictions import Predictions, TrackMeans, as_array
from coldstart.runs.config import read_config
from coldstart.runs.places import data_places, moved
from coldstart.sample import folder_of
from coldstart.shards.reading import Shards
from coldstart.tables.splits import NEW

log = logging.getLogger(__name__)

What = Literal["factors", "embedding", "attributes"]
"""Which of a net's outputs make a modality."""

FITTED = "fitted"
"""In the folder of a net that a verb has fitted: the fingerprint of what decided the outcome."""


class Derivation(NamedTuple):
    """How a modality was made.

    Attributes:
        modality: folder of the shards.
        runs: folders of the nets, where they lie now; a track's vector is the mean of theirs.
        what: which of their outputs.
        weights: ids of their weights, as they were then; none if nobody noted them.
        made_by: fingerprint of what decided the outcome, if it was noted.
    """

    modality: str
    runs: tuple[str, ...]
    what: What
    weights: tuple[str, ...]
    made_by: str | None


class SourceNet(NamedTuple):
    """A net that makes a modality.

    Attributes:
        model: in eval mode, on the CPU.
        data: the dataset, with the model's readers lent.
    """

    model: Net
    data: TrackData


def derived_modalities(dataset: Shards) -> list[str]:
    """The dataset's modalities that nets have made, and whose nets are named."""
    return [name for name, facts in dataset.modalities.items() if facts.get("runs")]


def derivation_of(dataset: Shards, name: str) -> Derivation:
    """How a modality was made.

    Raises:
        InputError: its facts don't say, or a net isn't where it was.
    """
    facts = dataset.info(name)
    if not facts.get("runs"):
        raise InputError(
            f"{dataset.shown}: nothing says which nets made '{name}'; for attributes that "
            "listeners estimated, run `coldstart predict --run LISTENER` with each of them once "
            f"more, or make them anew by `coldstart listen --write {name}`; for vectors, "
            f"`coldstart predict --run RUN --write {name}`"
        )
    return Derivation(
        modality=name,
        runs=tuple(_place_of(run, facts.get("at"), dataset, name) for run in facts["runs"]),
        what=facts.get("what", "factors"),
        weights=tuple(facts.get("weights") or ()),
        made_by=facts.get("made_by"),
    )


def _place_of(run: str, at: str | None, dataset: Shards, name: str) -> str:
    """Where a net lies now, if it was moved together with the dataset."""
    place = run if Path(run).exists() else moved(run, at, dataset.folder)
    if place is None:
        raise InputError(
            f"{dataset.shown}: one of the nets that made '{name}' isn't at {run} any more, nor at "
            "the same place as seen from the shards; move it there"
        )
    return str(place)


def open_source_nets(derivation: Derivation, dataset: Shards) -> list[SourceNet]:
    """Load the nets that made a modality, to be used on a dataset.

    Raises:
        InputError: one of them has gone, was fitted anew since, or can't read this dataset.
    """
    nets = []
    for number, run in enumerate(derivation.runs):
        net = open_source_net(run, dataset)
        note = Path(run) / FITTED
        noted = (
            note.read_text(encoding="utf-8", errors="replace")
            if note.is_file()
            else derivation.made_by
        )
        same = derivation.made_by in (None, noted)
        if derivation.weights:
            same = weights_id(net.model) == derivation.weights[number]
        if not same:
            raise InputError(
                f"{run}: was fitted anew since it made '{derivation.modality}' of "
                f"{dataset.shown}; make the modality anew, too, and then fit what reads it"
            )
        nets.append(net)
    return nets


def open_source_net(run: StrPath, dataset: Shards) -> SourceNet:
    """Load a run's best model, to be used on a dataset; factors are read only if its inputs are."""
    model = load(best_checkpoint(run), Net)
    needs_factors = bool(model.lend().factor_fields)
    own = {"folds": None, "fold": None, "test_tracks": None, "workers": 0}
    factors = data_places(run)["factors"] if needs_factors else None
    config = read_config(run)["data"] | own | {"shards": dataset.place, "factors": factors}
    data = TrackData(**config)
    model.check(data.info, data.has)
    data.lend(model.lend())
    return SourceNet(model, data)


def outputs_of(model: Net, batches: Iterable[Batch], what: What) -> Predictions | None:
    """A net's outputs by track, on its device; None if no track has any of its inputs.

    Args:
        model: in eval mode.
        batches: of tracks, or of their pieces.
        what: the outputs, or what the only encoder gives.
    """
    means = TrackMeans()
    with torch.inference_mode():
        for batch in batches:
            prediction = model.predict_step(batch.to(model.device))
            (encoded, *_) = prediction.encoded.values()
            means.add(prediction.track_ids, encoded if what == "embedding" else prediction.values)
    return means.predictions() if len(means) else None


def derive(
    dataset: Shards, name: str, track_ids: Sequence[str] | None = None
) -> dict[str, NDArray[np.float32]]:
    """A derived modality of tracks that were added to a dataset: the mean over all its nets.

    None of the nets was fitted on them.

    Args:
        dataset: with the modalities that the nets read.
        name: of the derived modality.
        track_ids: of added tracks; by default all in those shards that lack the modality.

    Returns:
        Track id → vector; tracks without any of the nets' inputs are left out.

    Raises:
        InputError: the nets have gone, or one of the tracks wasn't added.
    """
    places = _places_of(dataset, name, track_ids)
    if not any(places.values()):
        return {}
    nets = open_source_nets(derivation_of(dataset, name), dataset)
    what = derivation_of(dataset, name).what
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sums: dict[str, NDArray[np.float32]] = {}
    for net in nets:
        model = net.model.to(device)
        for place, ids in places.items():
            predictions = outputs_of(model, _batches(net.data, place, ids), what) if ids else None
            if predictions is None:
                continue
            vectors = as_array(predictions.values)
            for track, vector in zip(predictions.track_ids, vectors, strict=True):
                sums[track] = sums[track] + vector if track in sums else vector
        model.cpu()
    return {track: (total / len(nets)).astype(np.float32) for track, total in sums.items()}


def _places_of(
    dataset: Shards, name: str, track_ids: Sequence[str] | None
) -> dict[tuple[str, int], list[str]]:
    """Shards of added tracks → the tracks that are to be derived there: of each its latest copy."""
    wanted = None if track_ids is None else set(track_ids)
    shards_added = range(len(dataset.shard_sizes(NEW)))
    places: dict[tuple[str, int], list[str]] = {}
    for number in lacks_of_new(dataset, name) if wanted is None else shards_added:
        ids = [track["track_id"] for track in dataset.tracks(NEW, number)]
        places[NEW, number] = [
            track
            for track in ids
            if dataset.is_in_use(track, NEW, number) and (wanted is None or track in wanted)
        ]
    if wanted is not None and (unknown := wanted - {t for ids in places.values() for t in ids}):
        raise InputError(
            f"{dataset.shown}: track {min(unknown)!r} is none of those that were added to the "
            "dataset"
        )
    return places


def _batches(data: TrackData, place: tuple[str, int], ids: Sequence[str]) -> Iterator[Batch]:
    """Batches of some tracks of one shard; of a track that has several copies, that one."""
    pipeline = data.pipeline(only=ids, in_use=True)
    pieces = pipeline.pieces(pipeline.samples(place))
    while chunk := list(islice(pieces, data.batch_size)):
        yield pipeline.collate(chunk)


def complete_new(dataset: Shards, modalities: Sequence[str] | None = None) -> list[str]:
    """Give added tracks the derived modalities that they lack, one after the other: a modality that
    is made from another derived one comes after that.

    Args:
        dataset: with the other modalities of the added tracks.
        modalities: which; by default all derived ones whose nets can be found.

    Returns:
        The modalities that were extended.

    Raises:
        InputError: the nets of one of those that were named have gone.
    """
    from coldstart.shards.extension import extend_modality

    names = derived_modalities(dataset) if modalities is None else modalities
    lacking = [name for name in names if lacks_of_new(dataset, name)]
    if modalities is None:
        lacking = [name for name in lacking if _has_its_nets(dataset, name)]
    extended: list[str] = []
    derived = set(derived_modalities(dataset))
    for name in in_order(dataset, [name for name in lacking if name in derived]):
        log.info(f"{name}: computed for the added tracks by the nets that made it")
        extend_modality(dataset, name, derive(dataset, name))
        dataset = Shards(dataset.folder)
        extended.append(name)
    return extended


def _has_its_nets(dataset: Shards, name: str) -> bool:
    """Whether the nets of a modality can be found: a run that was deleted must stop nobody."""
    try:
        derivation_of(dataset, name)
    except InputError as error:
        log.warning(f"added tracks stay without '{name}': {error}")
        return False
    return True


def derived_inputs(dataset: Shards, model: Net) -> list[str]:
    """The derived modalities that a model reads, and those that these are made from, in order.

    Raises:
        InputError: the nets of one of them have gone.
    """
    derived = set(derived_modalities(dataset))
    names: set[str] = set()
    waiting = inputs_of(model) & derived
    while waiting:
        names |= waiting
        waiting = {each for name in waiting for each in _inputs_of(dataset, name)} & derived - names
    return in_order(dataset, sorted(names))


def lacks_of_new(dataset: Shards, name: str) -> range:
    """Numbers of the shards of added tracks that lack a modality: the last ones, if any."""
    return range(len(dataset.info(name)["shards"].get(NEW, [])), len(dataset.shard_sizes(NEW)))


def in_order(dataset: Shards, names: Sequence[str]) -> list[str]:
    """Derived modalities, each after those that its nets read."""
    reads = {name: _inputs_of(dataset, name) & set(names) - {name} for name in names}
    ordered: list[str] = []
    while len(ordered) < len(names):
        ready = [n for n in names if n not in ordered and reads[n] <= set(ordered)]
        ordered += ready or [n for n in names if n not in ordered]  # a circle: as it comes
    return ordered


def _inputs_of(dataset: Shards, name: str) -> set[str]:
    """The modalities that the first net of a derived one reads."""
    run = derivation_of(dataset, name).runs[0]
    return inputs_of(load(best_checkpoint(run), Net))


def inputs_of(model: Net) -> set[str]:
    """The folders of the shards that a model's encoders read."""
    return {folder_of(field) for fields, _ in model.lend().readers.values() for field in fields}


def facts_of_nets(runs: Mapping[str, Net], dataset: Shards, what: What) -> dict[str, Any]:
    """What dataset.json says of the nets that make a modality.

    Args:
        runs: folder of each net → its model.
        dataset: that they write into.
        what: which of their outputs.
    """
    return {
        "what": what,
        "runs": [str(Path(run).absolute()) for run in runs],
        "weights": [weights_id(model) for model in runs.values()],
        "at": str(dataset.folder.absolute()),  # seen from there, the runs lie where they do
    }
