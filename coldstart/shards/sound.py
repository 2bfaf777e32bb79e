"""Sound of single tracks, as the dataset has it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from coldstart.shards.reading import Shards

FIELD = "audio.flac"


def has_sound(shards: Shards) -> bool:
    """Whether the dataset has sound that can be played: no spectrograms."""
    return FIELD in shards.modalities.get("audio", {}).get("fields", {})


def sounds_of(shards: Shards, track_ids: Collection[str]) -> Iterator[tuple[str, memoryview]]:
    """Id and FLAC of these tracks, of the copy that counts; those without sound are left out.

    Only the shards that hold any of them are read.
    """
    wanted = set(track_ids)
    if not has_sound(shards):
        return
    for split in shards.split_names:
        for shard in range(len(shards.shard_sizes(split))):
            ids = {track["track_id"] for track in shards.tracks(split, shard)} & wanted
            ids = {track for track in ids if shards.is_in_use(track, split, shard)}
            if not ids:
                continue
            for sample in shards.samples(split, shard, [FIELD]):
                if sample["track_id"] in ids and FIELD in sample:
                    wanted.discard(sample["track_id"])
                    yield sample["track_id"], memoryview(sample[FIELD])
