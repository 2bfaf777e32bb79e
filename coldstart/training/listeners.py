"""Listeners: nets that estimate attributes from sound, each for the tracks it was not fitted on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from coldstart import registry
from coldstart.data.folds import fold_of
from coldstart.errors import InputError
from coldstart.files import StrPath, fingerprint
from coldstart.model.checkpoint import best_checkpoint
from coldstart.model.net import Net, load
from coldstart.model.predictions import Predictions, as_array
from coldstart.runs.derived import facts_of_nets
from coldstart.runs.run import vectors_folder
from coldstart.sample import folder_of
from coldstart.shards.reading import Shards
from coldstart.shards.writing import add_vectors
from coldstart.targets.attributes import Attributes
from coldstart.training import live
from coldstart.training.prediction_writers import WriteModality
from coldstart.training.ranks import is_main
from coldstart.training.stages import RECIPE, fit_nets, must_have_folds, recipe_of

log = logging.getLogger(__name__)


PREDICTED = "predicted"
"""In a listener's folder, once it has predicted all tracks: for what."""

IN_SAMPLE = (
    "one listener hears the very tracks that it was fitted on: its estimates of training tracks "
    "are better than those of new ones will be; --folds 2 or more avoids it"
)


def listener_config(
    config: dict[str, Any], shards: str, *, epochs: int | None, names_epochs: bool
) -> dict[str, Any]:
    """A fit's whole configuration as one of a listener, whatever fold it is fitted without.

    Args:
        config: as `fit --print_config` prints it.
        shards: folder of the dataset.
        epochs: how many each listener trains for, without a validation; None: as it says.
        names_epochs: whether `trainer.max_epochs` was given for these listeners.

    Raises:
        InputError: its model doesn't predict attributes, or nothing says how long it trains.
    """
    chosen = config["model"]["target"] or {"class_path": "TrackFactors"}
    target = registry.load("targets", recipe_of(chosen)["class"])
    if not issubclass(target, Attributes):
        raise InputError(
            "--config: a listener predicts attributes (model.target: Attributes), this config's "
            f"model {target.__name__}; take listener.yaml or listener_small.yaml"
        )
    config = {key: config[key] for key in RECIPE if key in config}
    own = {"shards": str(Path(shards).absolute()), "factors": None, "test_tracks": None}
    config["data"] = {**config["data"], **own, "folds": None, "fold": None}
    config["trainer"] = {**config["trainer"], "logger": None}
    callbacks = config["trainer"].get("callbacks") or []
    name = WriteModality.__name__  # it would write at each predict, one fold after the other
    config["trainer"]["callbacks"] = [
        each for each in callbacks if each["class_path"].rpartition(".")[2] != name
    ] or None
    if epochs is None and live.is_without_validation(config):
        live.must_know_epochs(config, names_epochs, True)
        epochs = config["trainer"]["max_epochs"]
    if epochs is not None:
        live.without_validation(config)
        config["trainer"]["max_epochs"] = epochs
    return config


def epochs_like(folder: StrPath) -> int:
    """How many epochs a listener trains for that is to be like earlier ones: the mean of theirs.

    Args:
        folder: of an earlier `listen`, or of one run.
    """
    runs = sorted(Path(folder).glob("fold[0-9]*/")) or [Path(folder)]
    return max(1, round(sum(map(live.best_epoch, runs)) / len(runs)))


def made_by(config: dict[str, Any], dataset: Shards, folds: int) -> str:
    """Fingerprint of all that decides what the listeners of these folds estimate."""
    data, model = config["data"], config["model"]
    parts = [registry.create("encoders", recipe_of(part)) for part in model["encoders"].values()]
    parts.append(registry.create("targets", recipe_of(model["target"])))
    inputs = sorted({folder_of(field) for part in parts for field in part.fields})
    return fingerprint(
        [model, data["batch_size"], data.get("missing"), data.get("drop")],
        {key: value for key, value in config["trainer"].items() if key not in live.ONLY_SHOWN},
        [config.get(key) for key in ("seed_everything", "optimizer", "lr_scheduler")],
        {name: dataset.info(name)["source"] for name in inputs},
        dataset.about["plan"],
        folds,
    )


def estimate(
    config: dict[str, Any],
    dataset: Shards,
    folder: Path,
    *,
    modality: str,
    folds: int,
    lightning: Callable[..., Any],
) -> bool:
    """Fit listeners, and write what they estimate as a modality of the dataset.

    What exists already, from the same settings, is not made again, and what was interrupted is
    continued.

    Args:
        config: as `listener_config` gives it.
        dataset: its sound and its attributes are learnt from; all of its tracks get estimates.
        folder: where the listeners' runs lie.
        modality: folder of the shards to write.
        folds: listeners; each estimates the tracks of the fold that it was fitted without.
        lightning: runs one of Lightning's verbs.

    Returns:
        Whether anything was written: not if the estimates exist.

    Raises:
        InputError: there is another modality of this name, or the dataset lacks what is read.
    """
    key = made_by(config, dataset, folds)
    facts = dataset.modalities.get(modality)
    if facts is not None and facts.get("made_by") == key:
        return False
    if facts is not None and "names" not in facts:
        raise InputError(
            f"{dataset.shown}: has a modality '{modality}' that is none of attributes; choose "
            "another --write"
        )
    if facts is not None and is_main():
        log.warning(
            f"{dataset.shown}: '{modality}' is made anew, by other listeners; fit what reads it "
            "anew, too"
        )
    must_have_folds(config, folds, folds)
    runs = [str((folder / f"fold{fold}").absolute()) for fold in range(folds)]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "listeners.lock") if is_main() else nullcontext():
        fit_nets(runs, key, config, f"listeners of '{modality}'", lightning)
        for fold, run in enumerate(runs):
            tracks = [dataset.about.get(name) for name in ("splits", "current", "removed")]
            _predict(run, fingerprint(key, tracks), dataset, lightning, str(config))
            if is_main():
                log.info(f"listener {fold + 1} of {folds}: has heard all tracks")
        if is_main():
            _write(runs, key, dataset, modality)
    return True


def _predict(
    run: str, key: str, dataset: Shards, lightning: Callable[..., Any], named: str
) -> None:
    """Let a listener predict all tracks, unless it has; `named`: see `trust.must_be_known`."""
    note = Path(run) / PREDICTED
    if note.is_file() and note.read_text(encoding="utf-8") == key:
        return
    place = str(dataset.folder.absolute())
    lightning("predict", ["--run", run, "--data.shards", place], named=named)
    if is_main():
        note.write_text(key, encoding="utf-8")


def _write(runs: Sequence[str], key: str, dataset: Shards, modality: str) -> None:
    """Write the estimates, each from the listener that was fitted without the track's fold."""
    nets = {run: load(best_checkpoint(run), Net) for run in runs}
    target = next(iter(nets.values())).target
    assert isinstance(target, Attributes)
    facts = {
        "names": target.names,
        "folds": len(runs),
        "parts": list(range(len(runs))),
        "source": key,
        "made_by": key,
        **facts_of_nets(nets, dataset, "attributes"),
    }
    vectors = estimates(
        [Predictions.load(vectors_folder(Path(run), dataset)) for run in runs], dataset
    )
    add_vectors(dataset, modality, vectors, facts, None)
    log.info(f"wrote {modality} of {len(vectors):,} tracks into {dataset.folder}")


def estimates(
    predictions: Sequence[Predictions], dataset: Shards
) -> Mapping[str, NDArray[np.float32]]:
    """Of each track the estimate of the one listener that was fitted without its fold, so that all
    are of the same kind; of tracks that were added since, the mean over all.

    Args:
        predictions: of the listener of fold 0, 1, …
        dataset: its splits' tracks belong to one fold each.

    Returns:
        Track id → vector.
    """
    placed, folds = {track["track_id"] for track in dataset.all_tracks()}, len(predictions)
    sums: dict[str, NDArray[np.float32]] = {}
    for fold, each in enumerate(predictions):
        for track, vector in zip(each.track_ids, as_array(each.values), strict=True):
            if track not in placed:
                sums[track] = sums.get(track, np.float32(0)) + vector / np.float32(folds)
            elif fold_of(track, folds) == fold:
                sums[track] = vector
    return sums
