"""The fit's configuration that a search begins with, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError
from coldstart.files import atomic
from coldstart.runs.config import find_config
from coldstart.studies.tune.space import SearchSpace, as_flags, corners
from coldstart.training import stages
from coldstart.training.flags import FLAGS
from coldstart.training.lightning_cli import printed_config

Config = dict[str, Any]


def base_config(config: str, overrides: Mapping[str, Any], space: SearchSpace) -> Config:
    """The fit's whole configuration.

    Args:
        config: a YAML file, or the bare name of a shipped one.
        overrides: flags of the fit.
        space: what is searched.

    Raises:
        InputError: it can't be searched, or has no such flags or values.
    """
    own_flags = {flag for flags in FLAGS.values() for flag in flags}
    for name in [*overrides, *space]:
        if f"--{name}" in own_flags and (name != "stages" or name in space):
            raise InputError(f"--{name} is not for tune, whose trials are runs of its own")
    args = [f"--config={find_config(config)}"]
    base = resolve(args, overrides)
    _check_one_stage(base, overrides)
    _check_one_device(base["trainer"])
    data = ColdStartData(**base["data"])
    if data.factors is not None:
        data.known_factors()
    for values in corners(space):
        try:
            resolve(args, {**overrides, **values})
        except InputError as error:
            raise InputError(f"the search space has what a fit doesn't accept: {error}") from error
    return base


def _check_one_stage(base: Config, overrides: Mapping[str, Any]) -> None:
    fit_stages = str(overrides.get("stages", 2 if stages.wanted(base) else 1))
    if fit_stages != "1":
        raise InputError(
            "a fit of several modalities has two stages, whose first writes vectors of all tracks, "
            "test tracks too, into the shards at each trial: search with --stages 1 (all encoders "
            "and the head together), or for one modality at a time"
        )


def _check_one_device(trainer: Mapping[str, Any]) -> None:
    devices = trainer["devices"]
    if isinstance(devices, list):
        one_device = len(devices) == 1
    else:
        one_device = str(devices) in ("auto", "1", "-1")
    if not one_device or trainer["num_nodes"] != 1:
        raise InputError(
            f"trainer.devices {devices}: a trial is one process on one device; use several by "
            "--jobs, a trial on each"
        )


def resolve(args: Sequence[str], values: Mapping[str, Any]) -> Config:
    """What `fit --print_config` prints for such flags, without what differs from run to run.

    Args:
        args: as on the command line.
        values: more flags.
    """
    return printed_config([*args, *as_flags(values)])


def write_config(path: Path, config: Config, comment: str = "") -> None:
    """Write a configuration, below a comment, as YAML."""
    with atomic(path) as temporary:
        temporary.write_text(comment + yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
