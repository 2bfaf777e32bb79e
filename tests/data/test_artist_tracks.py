"""Which of an artist's tracks are looked at, and how batches come by them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import World, data_for

from coldstart.commands.factorize import factorize
from coldstart.data.artist_tracks import ArtistTracks
from coldstart.encoders.artist import Artist
from coldstart.encoders.attributes import MGP
from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards


@pytest.mark.parametrize("strict", [True, False])
def test_only_other_training_tracks_of_the_artist_are_looked_at(
    strict: bool, tiny_world: World, tmp_path: Path
) -> None:
    log = tiny_world.catalogue / "listens.parquet"
    factorize(log, out=tmp_path / "f", splits=tiny_world.splits, factors=8, strict=strict)
    shards, factors = Shards(tiny_world.shards), Factors.load(tmp_path / "f")
    look = ArtistTracks(shards, factors)
    tracks = {track["track_id"]: track for track in shards.all_tracks()}
    some = 0
    for name, track in tracks.items():
        others = [
            other
            for other, about in tracks.items()
            if about["artist_id"] == track["artist_id"]
            and about["split"] == "train"
            and other != name
            and other in factors.row
        ]
        got = look(name)
        if got is None:
            assert not others
            continue
        some += 1
        others.sort(key=lambda other: -factors.plays[factors.row[other]])
        plays = [factors.plays[factors.row[other]] for other in others]
        assert plays == sorted(plays, reverse=True)
        assert {tuple(v) for v in got} == {tuple(factors.tracks[factors.row[o]]) for o in others}
        own = factors.row.get(name)
        assert own is None or not any(np.array_equal(v, factors.tracks[own]) for v in got)
    assert some > 20


def test_batches_join_it_beside_what_lies_in_the_shards(tiny_world: World) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,)), "artist": Artist(most=3)})
    look = ArtistTracks(data.shards, data.known_factors())
    for batch in data.batches(["test"]):
        values, present = batch.inputs["artist"]
        assert values.shape == (len(batch.track_ids), 3, 8)
        for i, track in enumerate(batch.track_ids):
            vectors = look(track)
            assert bool(present[i]) == (vectors is not None)
            if vectors is not None:
                shown = torch.from_numpy(vectors[:3])
                torch.testing.assert_close(values[i, : len(shown)], shown)
                assert not values[i, len(shown) :].any()
