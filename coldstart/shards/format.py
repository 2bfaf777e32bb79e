"""Shards: one folder a modality, one tar a shard. This is the format.

    shards/
      dataset.json                   version; tracks per shard; per modality fields and facts
      train/tracks/000000.json       the shard's tracks in order: track_id, title, artist, … all
                                     columns of the track table, but for the path of the sound
      train/audio/000000.tar         <key>.audio.flac     mono FLAC
      train/cqt/000000.tar           <key>.cqt.npy        spectrogram [frames, bins]
      train/mgp/000000.tar           <key>.mgp.npy        float32 vector
      train/genres/000000.tar        <key>.genres.json    list of names
      train/mlg/000000.tar           <key>.mlg.npy        written later, by a trained listener
      val/…  test/…
      new/…                          tracks that were added since, by `coldstart add`
      audio_report.parquet           what the files of sound were like; for people, read by no run

Each tar alone is an ordinary WebDataset tar. Shard 000007 holds the same tracks in the same order
in every folder, and a track without that modality is not in that folder's tar: no filler value
stands for it. A run reads only the folders that it selected; adding one never rewrites another.
Factors are not in the shards: they are joined when a batch is made. Keys are escaped track ids. No
pickle is ever read or written.

`dataset.json`:

    {"version": 1, "plan": "…",                      fingerprint of the tracks and their order
     "splits": {"train": [256, 224], …},             tracks per shard
     "modalities": {
       "mgp": {"fields": {"mgp.npy": "npy"},         tar member → codec
               "shards": {"train": [256, 220], …},   members per shard
               "source": "…",                        fingerprint of what it was made from
               "names": […], "mean": […], "std": […]}}}   facts, over the training tracks
                                                    (units: columns that are scaled by themselves)

Once tracks were added or removed, it has these, too:

     "splits": {…, "new": [10, 7]}                  learnt from and measured by nobody
     "current": {"a1": "new/000001"},               ids that are in the dataset twice or more → the
                                                    shard with the copy that counts
     "removed": ["b7"],                             ids that are recommended no more
     "additions": [{"job": "…", "shards": [0]}]     fingerprint of an `add`, and its shards of `new`

A modality's `shards` may list fewer shards of `new` than there are: the tracks of the others lack
it. Where a count of `new` is 0, there is no tar. Tars of `new` are never changed once they are
listed; an `add` that is killed leaves files that `dataset.json` doesn't list.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

VERSION = 1

Place = tuple[str, int]
"""A shard: its split and number."""

MAPPED = frozenset({"flac", "frames"})
"""Codecs of which a part can be decoded: their fields are views of the mapped tar, others bytes."""


def key_of(track_id: str) -> str:
    """Escape a track id for use as a tar key: reversible, without dots, slashes or spaces.

    >>> key_of("AC/DC - T.N.T. é")
    'AC%2FDC%20-%20T%2EN%2ET%2E%20%C3%A9'
    """
    return quote(track_id, safe="").replace(".", "%2E")


def track_of(key: str) -> str:
    """Undo `key_of`."""
    return unquote(key)


def place_of(split: str, shard: int) -> str:
    """A shard's name in the dataset.

    >>> place_of("new", 2)
    'new/000002'
    """
    return f"{split}/{shard:06d}"
