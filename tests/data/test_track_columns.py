"""Columns of the track list, joined to samples: of the row itself, wherever it lies."""

import json
import pickle
import shutil
from pathlib import Path

import polars as pl
import pytest
import torch
from helpers import World, data_for, small_audio

import coldstart as cs
from coldstart.cli import main
from coldstart.encoders.artist_id import ArtistId, code_of
from coldstart.encoders.attributes import MGP
from coldstart.encoders.base import Encoder
from coldstart.encoders.text import Text
from coldstart.shards.reading import Shards
from coldstart.tables.splits import IN_USE

Both = dict[str, Encoder]


def encoders() -> Both:
    return {"mgp": MGP(hidden=(4,)), "artist_id": ArtistId(dim=32)}


@pytest.fixture
def own(tiny_world: World, tmp_path: Path) -> World:
    """Its shards may be changed."""
    shards = Path(shutil.copytree(tiny_world.shards, tmp_path / "shards"))
    return tiny_world._replace(shards=shards)


def without_artist(shards: Path, track_id: str, value: str | None) -> None:
    for path in shards.glob("*/tracks/*.json"):
        rows = json.loads(path.read_text())
        for row in rows:
            if row["track_id"] == track_id:
                row["artist_id"] = value
        path.write_text(json.dumps(rows))


@pytest.mark.parametrize("value", [None, "", "  "])
def test_batches_have_each_track_s_own_artist_and_say_where_there_is_none(
    own: World, value: str | None
) -> None:
    tracks = {t["track_id"]: t["artist_id"] for t in Shards(own.shards).all_tracks()}
    lacking = next(t["track_id"] for t in Shards(own.shards).all_tracks(["test"]))
    without_artist(own.shards, lacking, value)
    seen = 0
    for batch in data_for(own, encoders()).batches(["train", "val", "test"]):
        values, present = batch.inputs["artist_id"]
        for row, track in enumerate(batch.track_ids):
            assert bool(present[row]) == (track != lacking)
            code = torch.zeros(32)
            if track != lacking:
                code = torch.from_numpy(code_of(tracks[track], 32))
            assert torch.equal(values[row], code)
            seen += 1
    assert seen == len(tracks)


def test_streamed_batches_have_it_too(tiny_world: World) -> None:
    both: Both = {"audio": small_audio(), "artist_id": ArtistId(dim=8)}
    data = data_for(tiny_world, both, workers=2)
    assert all(batch.inputs["artist_id"].present.all() for batch in data.batches(["test"]))
    pipeline = pickle.loads(pickle.dumps(data.pipeline(training=True)))
    assert isinstance(next(pipeline.samples(("train", 0)))["track.artist_id"], str)


def test_an_added_track_and_a_replaced_one_have_the_artist_of_the_copy_that_counts(
    own: World, tmp_path: Path
) -> None:
    train = Shards(own.shards).all_tracks(["train"])
    old, other = train[0], next(t for t in train if t["artist_id"] != train[0]["artist_id"])
    rows = {"n1": old["artist_id"], "n2": "never heard of", "n3": None, old["track_id"]: None}
    rows[old["track_id"]] = other["artist_id"]
    table = {"track_id": list(rows), "title": ["x"] * 4, "artist": ["y"] * 4}
    new = pl.DataFrame({**table, "artist_id": list(rows.values())}).with_columns(genres=["jazz"])
    new.write_parquet(tmp_path / "new.parquet")
    add = ["add", str(tmp_path / "new.parquet"), f"--shards={own.shards}", "--replace=true"]
    assert main(add) == 0
    data = data_for(own, encoders())
    found: dict[str, torch.Tensor | None] = {}
    for batch in data.batches(IN_USE):
        values, present = batch.inputs["artist_id"]
        found |= {
            track: values[row] if present[row] else None
            for row, track in enumerate(batch.track_ids)
        }
    for track, artist in rows.items():
        expected = None if artist is None else torch.from_numpy(code_of(artist, 32))
        got = found[track]
        assert (got is None) == (expected is None)
        assert got is None or expected is None or torch.equal(got, expected)
    (of_training,) = (
        batch.inputs["artist_id"].values[row]
        for batch in data.batches(["train"])
        for row, track in enumerate(batch.track_ids)
        if track == old["track_id"]
    )  # what was learnt from stays
    assert torch.equal(of_training, torch.from_numpy(code_of(old["artist_id"], 32)))


def test_missing_content_leaves_the_artist_and_drop_takes_it(tiny_world: World) -> None:
    some = data_for(tiny_world, encoders(), missing=0.5)
    present = [batch.inputs for batch in some.batches(["train"])]
    assert 0.2 < torch.cat([p["mgp"].present for p in present]).float().mean() < 0.8
    assert torch.cat([p["artist_id"].present for p in present]).all()
    none = data_for(tiny_world, encoders(), drop=["artist_id"])
    assert not any(batch.inputs["artist_id"].present.any() for batch in none.batches(["train"]))
    assert all(batch.inputs["mgp"].present.all() for batch in none.batches(["train"]))


def test_a_fit_that_reads_artists_is_refused_where_nobody_has_one(
    own: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for track in Shards(own.shards).all_tracks(["train"]):
        without_artist(own.shards, track["track_id"], None)
    config = tmp_path / "who.yaml"
    config.write_text("model: {encoders: {who: {class_path: ArtistId}}}")
    flags = [f"--data.shards={own.shards}", f"--data.factors={own.factors}"]
    assert main(["fit", f"--config={config}", f"--run={tmp_path / 'run'}", *flags]) == 2
    assert "no training track has 'artist_id' in the track list" in capsys.readouterr().err


def test_a_modality_of_that_name_is_still_read_from_tars(tiny_world: World, tmp_path: Path) -> None:
    """A dataset may have called one `track` before."""
    table = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").drop("audio", "genres")
    table.write_parquet(tmp_path / "tracks.parquet")
    texts = pl.DataFrame({"track_id": table["track_id"], "text": ["love and war"] * len(table)})
    texts.write_parquet(tmp_path / "texts.parquet")
    args = ["shard", str(tmp_path / "tracks.parquet"), f"--splits={tiny_world.splits}"]
    shards = tmp_path / "shards"
    assert main([*args, f"--texts.track={tmp_path / 'texts.parquet'}", f"--out={shards}"]) == 0
    sample = next(Shards(shards).samples("train", 0, ["track.txt", "track.artist_id"]))
    assert sample["track.txt"] == b"love and war"
    assert isinstance(sample["track.artist_id"], str)
    both: Both = {"track": Text("track"), "artist_id": ArtistId(dim=8)}
    model = cs.ColdStart(both)
    data = cs.ColdStartData(str(shards), str(tiny_world.factors))
    model.build(data.info, data.training_samples)
    data.lend(model.lend())
    batch = next(iter(data.batches(["test"])))
    assert batch.inputs["track"].present.all()
    assert batch.inputs["artist_id"].present.all()
