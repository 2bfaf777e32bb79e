"""A track between a tar and a batch, and the names of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coldstart.errors import InputError

Sample = dict[str, Any]
"""`track_id`, `shard`, and the raw bytes of each field that the track has.

Sound may be a `memoryview` of its tar instead of `bytes`, so that only the decoded part is read.
That of a file in no dataset may be samples (`audio.pcm.Pcm`), where a reader of ours takes them.
"""


class MalformedError(InputError):
    """A field that exists can't be used.

    Attributes:
        shard: its shard, such as `train/000000`.
        field: its name.
    """

    def __init__(self, message: str, shard: str = "", field: str = "") -> None:
        super().__init__(message)
        self.shard, self.field = shard, field


def malformed(sample: Mapping[str, Any], field: str, reason: object) -> MalformedError:
    """An error about a field that exists but can't be used (not for one that is missing).

    Of a track of a dataset, the data's side says in which dataset it is; see `Shards.malformed`.

    >>> str(malformed({"track_id": "a", "shard": "train/000000"}, "mgp.npy", "it is empty"))
    "shard train/000000, track 'a', field 'mgp.npy': it is empty"
    """
    shard = str(sample["shard"])
    message = f"shard {shard}, track {sample['track_id']!r}, field '{field}': {reason}"
    return MalformedError(message, shard, field)


def folder_of(field: str) -> str:
    """Name of the modality folder that holds a field.

    >>> folder_of("mgp.npy")
    'mgp'
    """
    return field.split(".", 1)[0]
