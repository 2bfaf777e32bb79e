"""Artist: the artist's other heard tracks, and nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import World
from test_data import data_for

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.data.artist_tracks import ArtistTracks
from coldstart.encoders.artist import Artist
from coldstart.encoders.attributes import MGP
from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards

QUICK = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"]


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


def test_it_is_fitted_tested_and_recommends_in_two_stages(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_world.shards, tmp_path / "shards")
    config = tmp_path / "mgp_artist.yaml"
    config.write_text("model: {encoders: {mgp: {class_path: MGP}, artist: {class_path: Artist}}}")
    data = [f"--data.shards={tmp_path / 'shards'}", f"--data.factors={tiny_world.factors}"]
    run = tmp_path / "run"
    args = ["fit", f"--config={config}", f"--run={run}", *data, *QUICK, "--stage-folds=2"]
    assert main(args) == 0
    assert main(["test", f"--run={run}", "--drop-each"]) == 0
    rows = json.loads((run / "results.json").read_text())["rows"]
    assert {row["input"] for row in rows} >= {"mgp+artist"}
    capsys.readouterr()
    assert main(["recommend", f"--run={run}", "--user=u00000", "--k=2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_where_artists_are_on_one_side_it_knows_nothing_of_held_out_tracks(
    tiny_world: World, tmp_path: Path
) -> None:
    tracks = tiny_world.catalogue / "tracks.parquet"
    splits = tmp_path / "splits.parquet"
    assert main(["split", str(tracks), "--method=artist", f"--out={splits}"]) == 0
    factorize(
        tiny_world.catalogue / "listens.parquet", out=tmp_path / "f", splits=splits, factors=4
    )
    args = ["shard", str(tracks), f"--splits={splits}", f"--out={tmp_path / 's'}"]
    assert main([*args, "--modalities=[genres]"]) == 0
    look = ArtistTracks(Shards(tmp_path / "s"), Factors.load(tmp_path / "f"))
    sides = dict(pl.read_parquet(splits).iter_rows())
    assert all(look(track) is None for track, side in sides.items() if side != "train")
    assert any(look(track) is not None for track, side in sides.items() if side == "train")


def test_other_factors_than_those_trained_on_are_refused(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"--data.shards={tiny_world.shards}", f"--data.factors={tiny_world.factors}"]
    run = tmp_path / "artist"
    assert main(["fit", "--config=artist.yaml", f"--run={run}", *data, *QUICK]) == 0
    log = tiny_world.catalogue / "listens.parquet"
    factorize(log, out=tmp_path / "f", splits=tiny_world.splits, factors=8, seed=5)
    assert main(["test", f"--run={run}", f"--data.factors={tmp_path / 'f'}"]) == 2
    assert "these factors" in capsys.readouterr().err
