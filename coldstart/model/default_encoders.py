"""Which encoders a model has if its configuration names none: those that read content as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from coldstart import registry
from coldstart.errors import InputError
from coldstart.shards.reading import Shards
from coldstart.shards.track_columns import TRACK, ColumnFacts


class DefaultEncoders(NamedTuple):
    """An encoder without layers for each modality of a dataset that can be read as it is, and those
    for its track list.

    Attributes:
        encoders: modality, or column of the track list → `class_path` and `init_args`, as a
            configuration has them.
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
            arguments = None if encoder.reads_tracks else encoder.as_is(folder, facts)
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
    return DefaultEncoders({**found, **_of_track_list(dataset, plugins)}, others)


def _of_track_list(dataset: Shards, plugins: Mapping[str, type[Any]]) -> dict[str, dict[str, Any]]:
    """Encoders of the track list, by the column that each reads."""
    readers = {name: encoder for name, encoder in plugins.items() if encoder.reads_tracks}
    if not readers:
        return {}
    columns = ColumnFacts(dataset.all_tracks(["train"]), dataset.all_tracks(["val", "test"]))
    found: dict[str, dict[str, Any]] = {}
    for name, encoder in readers.items():
        arguments = encoder.as_is(TRACK, {"columns": columns})
        if arguments is None:
            continue
        key = encoder(**arguments).fields[0].partition(".")[2].replace(".", "_")
        while key in dataset.modalities or key in found:  # each name once
            key += "_"
        found[key] = {"class_path": name, "init_args": arguments}
    return found
