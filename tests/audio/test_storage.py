"""Spectrograms in the shards: stored, resumed, fitted from and recommended from."""

import contextlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import soundfile
import torch
from helpers import SAMPLE_RATE, World, music

from coldstart.audio.spectra import frames_of
from coldstart.commands.fit import fit
from coldstart.commands.shard import shard
from coldstart.errors import InputError
from coldstart.retrieval.hearing import hear
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run
from coldstart.shards import jobs
from coldstart.shards.reading import Shards
from coldstart.shards.writing import write_tar
from coldstart.training.lightning_module import load

OPTIONS: dict[str, Any] = {
    "sample_rate": SAMPLE_RATE,
    "bins": 36,
    "fmin": 110.0,
    "frame_hop": 256,
    "shard_size": 8,
}


@pytest.fixture(scope="module")
def spectral_world(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny world, with spectrograms instead of FLACs."""
    root = tmp_path_factory.mktemp("spectral_world")
    table = tiny_world.catalogue / "tracks.parquet"
    shard(table, out=root / "shards", splits=tiny_world.splits, store="cqt", workers=1, **OPTIONS)
    return tiny_world._replace(root=root, shards=root / "shards")


def test_the_dataset_says_what_is_stored(spectral_world: World) -> None:
    made = Shards(spectral_world.shards)
    assert set(made.modalities) == {"cqt", "genres"}
    info = made.info("cqt")
    assert info["fields"] == {"cqt.npy": "frames"}
    expected = {"transform": "cqt", "sample_rate": SAMPLE_RATE, "frame_hop": 256, "bins": 36}
    assert {key: info[key] for key in expected} == expected
    assert (info["fmin"], info["dtype"], info["step_db"]) == (110.0, "uint8", 0.5)
    found = [s["cqt.npy"] for s in made.samples("train", 0, ["cqt.npy"])]
    assert len(found) == 8
    assert all(len(frames_of(content, 36, "uint8")) > 100 for content in found)


def test_a_store_is_added_beside_the_flacs(tiny_world: World, tmp_path: Path) -> None:
    table = tiny_world.catalogue / "tracks.parquet"
    pl.read_parquet(table).head(12).with_columns(
        audio=pl.lit(f"{tiny_world.catalogue}/") + pl.col("audio")
    ).write_parquet(tmp_path / "tracks.parquet")
    options = {**OPTIONS, "modalities": ["audio"], "out": tmp_path / "out", "shard_size": 4}
    shard(tmp_path / "tracks.parquet", workers=1, **options)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("audio/*.tar")}
    made = shard(tmp_path / "tracks.parquet", store="mel", bits=16, workers=1, **options)
    assert set(made.modalities) == {"audio", "mel"}
    assert {path: path.read_bytes() for path in before} == before
    again = shard(tmp_path / "tracks.parquet", store="mel", bits=16, **options)
    assert again.about == made.about
    with pytest.raises(InputError, match="'mel' is already there, made from something else"):
        shard(tmp_path / "tracks.parquet", store="mel", bits=8, **options)


def test_an_interrupted_store_goes_on_and_counts_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{i}.wav" for i in range(6)]
    for i, name in enumerate(names):
        soundfile.write(tmp_path / name, music(2, i), SAMPLE_RATE)
    (tmp_path / "3.wav").write_bytes(b"broken")
    columns = {"track_id": names, "title": names, "artist": names, "audio": names}
    pl.DataFrame(columns).write_csv(tmp_path / "tracks.csv")
    options = {**OPTIONS, "store": "cqt", "shard_size": 2, "workers": 1, "skip_broken": True}
    written: list[Path] = []

    def stops_at_the_second(path: Path, members: Any) -> int:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        return write_tar(path, members)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(jobs, "write_tar", stops_at_the_second)
        shard(tmp_path / "tracks.csv", out=tmp_path / "out", **options)
    assert not Shards(tmp_path / "out").modalities
    stamp = written[0].stat().st_mtime_ns
    made = shard(tmp_path / "tracks.csv", out=tmp_path / "out", **options)
    assert written[0].stat().st_mtime_ns == stamp
    assert sum(made.info("cqt")["shards"]["test"]) == 5
    broken = pl.read_csv(tmp_path / "out" / "broken.csv")
    assert broken["item"].to_list() == ["track '3.wav'"]
    assert "3.wav: not audio that can be decoded" in broken["reason"][0]


def test_a_fit_from_the_store_is_used_like_any_other(spectral_world: World) -> None:
    """A sound file gets the vector that its track in the shards gets."""
    overrides = {
        "data.shards": spectral_world.shards,
        "data.factors": spectral_world.factors,
        "data.workers": 1,
        "trainer.max_epochs": 2,
        "model.encoders.audio.patch_seconds": 4,
        "model.encoders.audio.dim": 16,
    }
    folder = fit("audio_cqt_small.yaml", run=str(spectral_world.root / "run"), overrides=overrides)
    run = open_run(folder)
    assert load(folder).facts["cqt"]["bins"] == 36
    predicted = predictions_of(run)
    table = pl.read_parquet(spectral_world.catalogue / "tracks.parquet").drop_nulls("audio")
    track, audio = table.select("track_id", "audio").row(3)
    vector = hear(run, spectral_world.catalogue / audio)
    expected = predicted.values[predicted.track_ids.index(track)]
    torch.testing.assert_close(vector, expected, atol=1e-4, rtol=1e-4)
