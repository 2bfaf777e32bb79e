"""Which encoders a model has if its configuration names none: those that read content as it is."""

from __future__ import annotations

from typing import Any, NamedTuple

from coldstart import registry
from coldstart.errors import InputError
from coldstart.shards.reading import Shards


class DefaultEncoders(NamedTuple):
    """An encoder without layers for each modality of a dataset that can be read as it is.

    Attributes:
        encoders: modality → `class_path` and `init_args`, as a configuration has them.
        left: other modalities of the dataset.
    """

    encoders: dict[str, dict[str, Any]]
    left: list[str]


def default_encoders(dataset: Shards) -> DefaultEncoders:
    """The encoders for `default.yaml`. Plugins that can't be loaded are told of, and left out.

    Raises:
        InputError: none of them can.
    """
    found: dict[str, dict[str, Any]] = {}
    plugins = registry.usable("encoders")
    for folder, facts in sorted(dataset.modalities.items()):
        for name, encoder in plugins.items():
            arguments = encoder.as_is(folder, facts)
            if arguments is not None:
                found[folder] = {"class_path": name, "init_args": arguments}
                break
    others = sorted(dataset.modalities.keys() - found.keys())
    if not found:
        raise InputError(
            f"{dataset.shown}: no modality can be read as it is; it has: "
            f"{', '.join(others) or 'none'}. Of sound, an extractor makes vectors "
            "(`coldstart shard … --extract MFCC`, or MusiCNN), or take kernel_audio.yaml, whose "
            "nets are trained"
        )
    return DefaultEncoders(found, others)
