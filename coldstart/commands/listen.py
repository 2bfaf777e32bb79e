"""The verb `listen`: machine-listened attributes of all tracks, by listeners fitted here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from coldstart.errors import InputError, without_passwords
from coldstart.files import writable

if TYPE_CHECKING:
    from coldstart.shards.reading import Shards

_OWN = {"data.shards": "--shards", "data.folds": "--folds"}
"""Flags of a fit → the flags of this verb that say so."""


class Estimates(NamedTuple):
    """What listeners have estimated.

    Attributes:
        modality: folder of the shards that holds it.
        runs: the listeners' runs.
        tracks: that have estimates.
        seconds: taken by this call.
    """

    modality: str
    runs: list[str]
    tracks: int
    seconds: float


def listen(
    *,
    config: str = "listener.yaml",
    shards: str = "shards",
    folds: int = 3,
    out: str = "runs/listener",
    write: str = "mlg",
    like_run: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> Estimates:
    """Estimate human attributes of all tracks from their sound, and write them into the shards.

    Fits a listener for each fold of the tracks, without that fold: no track's estimate comes from a
    listener that was fitted on its annotations. An interrupted call continues when the same command
    is given again; what exists already is kept. On the command line any flag of `fit` may be given:
    --trainer.max_epochs 20.

    Args:
        config: of the listeners: a YAML file, or the bare name of a shipped one.
        shards: dataset with sound and with human attributes of some of its tracks.
        folds: how many listeners; 1: one that hears the very tracks that it was fitted on.
        out: folder of the listeners' runs; tracks that are added later, and sound files, are heard
            by them.
        write: the modality to write.
        like_run: folder of an earlier `listen`, on shards with validation tracks: train for as many
            epochs as its listeners have found best, without a validation.
        overrides: flags of the fits: `{"trainer.max_epochs": 20}`.

    Returns:
        What was estimated, and by which runs.

    Raises:
        InputError: the config is no listener's, or the dataset lacks what it reads.
    """
    start, folder, given = time.perf_counter(), writable(out), dict(overrides or {})
    if folds < 1:
        raise InputError(f"folds is at least 1, not {folds}")
    if not write.isidentifier():
        raise InputError(f"--write {write!r} can't be the name of a modality")
    _check(given)
    from coldstart.shards.reading import Shards
    from coldstart.training import listeners
    from coldstart.training.flags import as_arguments
    from coldstart.training.lightning_cli import lightning_cli, printed_config
    from coldstart.training.ranks import is_main

    args = ["--config", config, f"--data.shards={shards}", *as_arguments(given)]
    settings = listeners.listener_config(
        printed_config(args),
        shards,
        epochs=listeners.epochs_like(like_run) if like_run else None,
        names_epochs="trainer.max_epochs" in given,
    )
    dataset = Shards(shards)
    is_new = listeners.estimate(
        settings, dataset, folder, modality=write, folds=folds, lightning=lightning_cli
    )
    dataset = Shards(shards)
    estimates = Estimates(
        modality=write,
        runs=list(dataset.info(write)["runs"]),
        tracks=sum(map(sum, dataset.info(write)["shards"].values())),
        seconds=round(time.perf_counter() - start, 1),
    )
    if is_main():
        _report(estimates, dataset, is_new)
    return estimates


def _check(overrides: Mapping[str, Any]) -> None:
    """Raise InputError for flags of a fit that `listen` sets by itself."""
    from coldstart.training.flags import FLAGS

    for name in overrides:
        if name in _OWN:
            raise InputError(f"--{name}: name it by {_OWN[name]}, for all listeners at once")
        if f"--{name}" in FLAGS["fit"] or name in ("data.fold", "data.factors"):
            raise InputError(f"--{name} is not for listen, which makes several fits of its own")


def _report(estimates: Estimates, dataset: Shards, is_new: bool) -> None:
    from coldstart.training.listeners import IN_SAMPLE

    name, place = estimates.modality, without_passwords(dataset.place)
    if not is_new:
        print(f"{name}: exists already, from the same settings")
    else:
        print(
            f"{name}: {estimates.tracks:,} tracks have estimates of {len(estimates.runs)} "
            f"listeners ({Path(estimates.runs[0]).parent}), in {estimates.seconds:,.0f} s"
        )
    if len(estimates.runs) == 1:
        print(f"note: {IN_SAMPLE}")
    print(f"next: coldstart fit --config {_config_for(name, dataset)} --data.shards {place}")


def _config_for(name: str, dataset: Shards) -> str:
    """The shipped config that reads the estimates."""
    from coldstart.runs.config import shipped_configs

    both = f"audio_{name}.yaml"
    if "audio" in dataset.modalities and both in shipped_configs():
        return both
    own = f"{name}.yaml"
    if own in shipped_configs():
        return own
    return f"mlg.yaml --model.encoders.mlg.modality {name}"
