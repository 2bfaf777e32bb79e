"""Artist: the artist's other heard tracks, and nothing else."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from helpers import World

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.data.artist_tracks import ArtistTracks
from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards

QUICK = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"]


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
