"""What a fit will need, looked at before anything is trained."""

from __future__ import annotations

import functools
import logging
from typing import Any

from coldstart import registry
from coldstart.encoders.attributes import MachineListened
from coldstart.errors import InputError
from coldstart.model.net import Net
from coldstart.runs.config import shipped_configs
from coldstart.sample import folder_of
from coldstart.shards.reading import Shards
from coldstart.shards.track_columns import must_be_listed
from coldstart.targets.track_factors import FACTORS
from coldstart.training.ranks import is_main
from coldstart.training.stages import recipe_of

log = logging.getLogger(__name__)

LARGE = 10_000_000
"""Parameters of a net from which on a CPU takes hours, by what our own configs took."""


def must_be_there(config: dict[str, Any]) -> None:
    """Raise InputError if a fit reads, or predicts, what the dataset doesn't have; says what makes
    it.

    Otherwise the nets of a first stage would be trained, one after the other, up to the one that
    finds nothing to read.

    Args:
        config: a fit's whole configuration.
    """
    dataset, model = Shards(config["data"]["shards"]), config["model"]
    encoders = [registry.create("encoders", recipe_of(part)) for part in model["encoders"].values()]
    target = model.get("target")
    parts = [each for each in encoders if not (each.reads_factors or each.reads_tracks)]
    parts += [registry.create("targets", recipe_of(target))] if target else []
    for field in {field for each in encoders if each.reads_tracks for field in each.fields}:
        must_be_listed(field, dataset.all_tracks(["train"]), dataset.shown)
    for part in parts:
        folder = folder_of(part.fields[0])
        if folder in dataset.modalities or part.fields[0] == FACTORS:
            continue
        names = ", ".join(sorted(dataset.modalities)) or "none"
        remedy = (
            _listeners(folder, str(config["data"]["shards"]))
            if isinstance(part, MachineListened)
            else "`coldstart shard` adds one (its --help says from what), and --config "
            "default.yaml reads whatever a dataset has"
        )
        raise InputError(
            f"{dataset.shown}: this dataset has no modality '{folder}'; it has: {names}. {remedy}"
        )


def _listeners(folder: str, shards: str) -> str:
    """What makes the estimates of listeners."""
    listener = f"listener{folder.removeprefix('mlg')}.yaml"
    listener = listener if listener in shipped_configs() else "listener.yaml"
    write = "" if folder == "mlg" else f" --write {folder}"
    return (
        "Listeners make it from sound and human attributes: `coldstart listen --config "
        f"{listener} --folds 3 --shards {shards}{write}`"
    )


def warn_of_size(net: Net) -> None:
    """Say it once where a large net, which lies where it will be trained, lies on a CPU."""
    trained = [each for each in net.parameters() if each.requires_grad]
    count = sum(each.numel() for each in trained)
    on_cpu = all(each.device.type == "cpu" for each in trained)
    if count >= LARGE and on_cpu and not net.fusion.closed_form and is_main():
        _say_once(f"{count / 1e6:,.0f} million parameters")


@functools.cache
def _say_once(size: str) -> None:
    """The nets of a first stage are of one size, and fitted one after the other."""
    log.warning(
        f"a net of {size} is trained on the CPU, which may take hours; of configs that end in "
        "_small.yaml the nets are made for a CPU, and this one for a GPU"
    )
