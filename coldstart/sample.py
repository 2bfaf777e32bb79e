"""A track between a tar and a batch, and the names of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldstart.errors import InputError

Sample = dict[str, Any]
"""`track_id`, `shard`, and the raw bytes of each field that the track has.

Sound may be a `memoryview` of its tar instead of `bytes`, so that only the decoded part is read.
"""


def malformed(sample: Mapping[str, Any], field: str, reason: object) -> InputError:
    """An error about a field that exists but can't be used (not for one that is missing).

    >>> str(malformed({"track_id": "a", "shard": "train/000000"}, "mgp.npy", "it is empty"))
    "shard train/000000, track 'a', field 'mgp.npy': it is empty"
    """
    return InputError(
        f"shard {sample['shard']}, track {sample['track_id']!r}, field '{field}': {reason}"
    )


def folder_of(field: str) -> str:
    """Name of the modality folder that holds a field.

    >>> folder_of("mgp.npy")
    'mgp'
    """
    return field.split(".", 1)[0]
