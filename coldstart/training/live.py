"""Fits without validation tracks, such as that of the model that goes live.

Nothing can stop them early, and nothing says which of their epochs was best. A head that is solved
needs neither; a net trains for a number of epochs that is known beforehand: as many as a run with
validation tracks has found best, or as many as were named.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import EarlyStopping

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.model.checkpoint import best_checkpoint, read_checkpoint
from coldstart.runs.config import read_config
from coldstart.runs.first_stage import Vectors, first_stage_of
from coldstart.shards.reading import Shards

log = logging.getLogger(__name__)


ONLY_SHOWN = (
    "logger",
    "default_root_dir",
    "log_every_n_steps",
    "enable_progress_bar",
    "enable_model_summary",
    "profiler",
)
"""The trainer's settings that no weight depends on."""

_OF_VALIDATION = (
    "max_epochs",
    "limit_val_batches",
    "check_val_every_n_epoch",
    "val_check_interval",
    "num_sanity_val_steps",
    "callbacks",
)
"""The trainer's settings in which a fit may differ from the validated one that it is like."""


class ValidatedRun(NamedTuple):
    """What a run with validation tracks has found.

    Attributes:
        folder: of the run.
        config: its configuration, with the encoders that it was asked for.
        epochs: how many its best model was trained for.
        stage_epochs: the same of the nets of a first stage, by encoder: their mean.
        folds: nets for each encoder of a first stage; None without one.
        vectors: what these nets write.
    """

    folder: Path
    config: dict[str, Any]
    epochs: int
    stage_epochs: dict[str, int]
    folds: int | None
    vectors: Vectors


def validated_run(folder: StrPath) -> ValidatedRun:
    """Read what a run has found.

    Raises:
        InputError: it is no fitted run, or its first stage's nets are gone.
    """
    config, stages = read_config(folder), first_stage_of(folder)
    encoders, stage_epochs = dict(config["model"]["encoders"]), dict[str, int]()
    for name, stage in stages.items():
        nets = [best_epoch(run) for run in stage.runs]
        stage_epochs[name] = max(1, round(sum(nets) / len(nets)))
        encoders |= read_config(stage.runs[0])["model"]["encoders"]
    config["model"] = {**config["model"], "encoders": encoders}
    first = next(iter(stages.values()), None)
    return ValidatedRun(
        folder=Path(folder),
        config=config,
        epochs=best_epoch(folder),
        stage_epochs=stage_epochs,
        folds=len(first.runs) if first else None,
        vectors=first.vectors if first else "factors",
    )


def best_epoch(run: StrPath) -> int:
    """How many epochs a run's best model was trained for."""
    return int(read_checkpoint(best_checkpoint(run))["epoch"]) + 1


def is_without_validation(config: Mapping[str, Any]) -> bool:
    """Whether a fit has nothing to be validated on, or isn't to be validated."""
    if config["trainer"]["limit_val_batches"] in (0, 0.0):
        return True
    return not any(Shards(config["data"]["shards"]).shard_sizes("val"))


def must_know_epochs(config: Mapping[str, Any], config_names_epochs: bool, trains: bool) -> None:
    """Raise InputError where nothing says how long a net is to train.

    Args:
        config: of a fit without validation.
        config_names_epochs: whether `trainer.max_epochs` was given for this fit.
        trains: whether there is a net to train, and not only a head to be solved.
    """
    off = config["trainer"]["limit_val_batches"] in (0, 0.0)
    if trains and not (off or config_names_epochs):
        raise InputError(
            f"{config['data']['shards']}: holds no validation tracks, so nothing says when a net "
            "is to stop; name a run of the same config that had some, `--like-run RUN`, whose best "
            "number of epochs is taken, or give `--trainer.max_epochs N` yourself"
        )


def without_validation(config: dict[str, Any]) -> None:
    """Make a configuration one of a fit without validation, in place.

    Args:
        config: a fit's whole configuration.
    """
    trainer = config["trainer"]
    trainer |= {"limit_val_batches": 0, "num_sanity_val_steps": 0}
    kept = []
    for callback in trainer.get("callbacks") or []:
        if _needs_validation(callback):
            name = callback["class_path"].rpartition(".")[2]
            log.info(f"without a validation, the config's {name} is left out")
        else:
            kept.append(callback)
    trainer["callbacks"] = kept or None
    scheduler = config.get("lr_scheduler") or {}
    if str((scheduler.get("init_args") or {}).get("monitor", "")).startswith("val"):
        scheduler["init_args"]["monitor"] = "train_loss"
        log.warning(
            "without a validation, the config's scheduler of learning rates goes by the training "
            "loss: another course than in a run with validation tracks"
        )


def same_stages(validated: ValidatedRun, number: int | None) -> int:
    """How many stages a fit has that is like a run: as many as that.

    Raises:
        InputError: another number was named.
    """
    theirs = 2 if validated.folds else 1
    if number not in (None, theirs):
        raise InputError(
            f"--stages {number}: {validated.folder}, which --like-run names, was fitted in "
            f"{theirs}; its epochs say nothing of this fit"
        )
    return theirs


def _needs_validation(callback: Mapping[str, Any]) -> bool:
    """Whether a callback of a configuration stops early, or goes by a validation's figure."""
    monitor = str((callback.get("init_args") or {}).get("monitor", ""))
    kind = pkgutil.resolve_name(callback["class_path"])
    return monitor.startswith("val") or (isinstance(kind, type) and issubclass(kind, EarlyStopping))


def compare(validated: ValidatedRun, config: Mapping[str, Any]) -> None:
    """Warn where a fit's recipe differs from that of the run that it is to be like.

    What lies in the data, and for how long it trains, may differ.

    Raises:
        InputError: the encoders aren't the same, so that its epochs say nothing.
    """
    mine, theirs = config["model"]["encoders"], validated.config["model"]["encoders"]
    if set(mine) != set(theirs):
        raise InputError(
            f"--like-run {validated.folder}: it was fitted with {', '.join(theirs)}, this config "
            f"has {', '.join(mine)}; name a run of the same config"
        )
    differences = _differences(_recipe(validated.config), _recipe(config))
    for key, (before, now) in differences.items():
        log.warning(f"--like-run {validated.folder}: {key} was {before} there, and is {now} here")


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the best number of epochs depends on, beside the tracks."""
    data, trainer = config["data"], config["trainer"]
    left_out = (*ONLY_SHOWN, *_OF_VALIDATION)
    return {
        "model": config["model"],
        "data": {key: data.get(key) for key in ("batch_size", "missing", "drop")},
        "trainer": {key: value for key, value in trainer.items() if key not in left_out},
        "optimizer": config.get("optimizer"),
        "lr_scheduler": {
            key: value
            for key, value in _flat(config.get("lr_scheduler") or {}).items()
            if not key.endswith("monitor")
        },
    }


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key → both values, where they differ."""
    one, other = _flat(before), _flat(now)
    keys = sorted({*one, *other})
    return {k: (one.get(k), other.get(k)) for k in keys if one.get(k) != other.get(k)}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted keys.

    >>> _flat({"model": {"fusion": None, "encoders": {"mgp": {"hidden": [8]}}}})
    {'model.fusion': None, 'model.encoders.mgp.hidden': [8]}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat |= inner if inner else {f"{prefix}{key}": value}
    return flat
