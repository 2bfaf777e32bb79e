"""`dataset.json`, read: what a dataset consists of."""

from __future__ import annotations

import json
from typing import Any

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.forms.content import (
    at_least,
    flag,
    list_of,
    must_have_form,
    names_of,
    number,
    one_of_these,
    or_none,
    record,
    table_of,
    text,
    whole,
)
from coldstart.forms.content import place as path_text
from coldstart.shards.format import VERSION
from coldstart.tables.splits import IN_USE, NEW

_count = at_least(0, whole)
_counts = record({}, dict.fromkeys(IN_USE, list_of(_count)))

DATASET = record(
    {
        "version": whole,
        "splits": _counts,
        "modalities": table_of(
            record(
                {"fields": table_of(text), "shards": _counts},
                {
                    "source": text,
                    "made_by": text,
                    "names": names_of,
                    "mean": list_of(number),
                    "std": list_of(at_least(0)),
                    "units": table_of(
                        record({"mean": number, "spread": at_least(0), "log": flag}, others=True)
                    ),
                    "vocabulary": names_of,
                    "transform": text,
                    "sample_rate": at_least(1, whole),
                    "frame_hop": at_least(1, whole),
                    "bins": at_least(1, whole),
                    "fmin": at_least(0),
                    "dtype": text,
                    "step_db": at_least(0),
                    "folds": or_none(at_least(0, whole)),
                    "parts": list_of(_count),
                    "runs": list_of(path_text),
                    "at": path_text,
                    "what": one_of_these("factors", "embedding", "attributes"),
                    "weights": list_of(text),
                    "own_units": flag,
                },
                others=True,
            )
        ),
    },
    {
        "plan": text,
        "removed": list_of(text),
        "current": table_of(text),
        "additions": list_of(record({"job": text, "shards": list_of(_count)}, others=True)),
    },
    others=True,
)
"""The form of dataset.json."""


def parsed(content: bytes) -> Any:
    """JSON, whatever it holds.

    Raises:
        ValueError: it isn't readable.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def listing(content: bytes, place: StrPath) -> dict[str, Any]:
    """What a `dataset.json` says, if it is of the form that coldstart writes.

    Args:
        content: of the file.
        place: where it lies, for messages.

    Raises:
        InputError: it isn't readable, is of another version or form, or contradicts itself.
    """
    try:
        about = parsed(content)
    except ValueError as error:
        raise InputError(f"{place}: not readable JSON ({error})") from error
    version = about.get("version") if isinstance(about, dict) else None
    if version not in (None, VERSION):
        raise InputError(
            f"{place}: shards of version {version}; this coldstart reads version {VERSION}"
        )
    remedy = "shard, or upload, again"
    must_have_form(about, DATASET, place, remedy)
    must_have_form(about, lambda value: _disagreement(**value), place, remedy)
    return dict(about)


def _disagreement(splits: dict[str, Any], modalities: dict[str, Any], **_: Any) -> str:
    """Of two parts of a `dataset.json` that contradict each other, what is wrong; else ""."""
    for name, info in modalities.items():
        if not all(_matches(info["shards"], *split) for split in splits.items()):
            return f".modalities.{name}.shards: of other shards than 'splits'"
        if not _agree(info):
            return f".modalities.{name}: facts that don't match each other in number"
    return ""


def _agree(info: dict[str, Any]) -> bool:
    """Whether a modality's facts about its columns, and about its nets, are of one length each."""
    columns = {len(info[key]) for key in ("names", "mean", "std") if key in info}
    nets = {len(info[key]) for key in ("runs", "weights") if info.get(key)}
    units = info.get("units", {}).keys() <= set(info.get("names", ()))
    return len(columns) <= 1 and len(nets) <= 1 and units


def _matches(counts: dict[str, list[int]], split: str, sizes: list[int]) -> bool:
    """Whether a modality's counts belong to a split of these sizes."""
    if split == NEW:
        return len(counts.get(NEW, [])) <= len(sizes)
    return len(counts.get(split, [])) == len(sizes)
