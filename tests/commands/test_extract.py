"""The verb `extract`: from sound to shards by its tables."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import World, samples

import coldstart as cs
from coldstart.cli import main

NAMES = ("musicnn", "mlg")


def test_its_tables_are_what_shard_takes(
    tiny_world: World, tmp_path: Path, weights_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_CACHE", str(weights_cache))
    tracks = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").head(6)
    audio = [str(tiny_world.catalogue / path) for path in tracks["audio"]]
    tracks.with_columns(audio=pl.Series(audio)).write_parquet(tmp_path / "tracks.parquet")
    done = cs.extract(
        "MusiCNN",
        audio=str(tmp_path / "tracks.parquet"),
        out=tmp_path / "heard",
        settings={"layer": "penultimate"},
    )
    assert (done.tracks, done.width, len(done.tags)) == (6, 200, 50)
    shards = cs.shard(
        tmp_path / "tracks.parquet",
        out=tmp_path / "shards",
        embeddings={"musicnn": str(done.folder / "vectors.parquet")},
        attributes={"mlg": str(done.folder / "tags.parquet")},
        modalities=[],
    )
    assert shards.modalities["mlg"]["names"] == list(done.tags)
    stored = samples(shards, "musicnn.npy", "mlg.npy")
    for track, vector in pl.read_parquet(done.folder / "vectors.parquet").iter_rows():
        fields = {name: np.load(io.BytesIO(stored[track][f"{name}.npy"])) for name in NAMES}
        assert np.allclose(fields["musicnn"], vector)
        assert fields["mlg"].shape == (50,)


def test_several_places_and_settings_on_the_command_line(
    tiny_world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((tiny_world.catalogue / "audio").iterdir())[:2]
    args = ["extract", "MFCC", f"--out={tmp_path / 'out'}", "--settings.coefficients=13"]
    places = [f"--audio={file}" for file in files]
    assert main([*args, *places]) == 0
    said = capsys.readouterr().out
    assert "vectors of 2 tracks, 52 wide; 0 tags" in said
    assert f"--embeddings.mfcc {tmp_path / 'out'}/vectors.parquet" in said
    assert main([*args, *places]) == 0
    assert "already there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["MFC"], "Did you mean 'MFCC'"),
        (["MFCC", "--wheel=x"], "MFCC has no setting 'wheel'; it has: coefficients"),
        (["MFCC", "--workers=0"], "workers is at least 1"),
        (["Onnx", "--onnx=x.onnx", "--settings.rate=16000"], "x.onnx: there is no such file"),
        (["MusiCNN", "--wheel=x.whl"], "--wheel x.whl: there is no such file; fetch it"),
    ],
)
def test_what_can_not_work_is_said_at_once(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["extract", *args, f"--audio={tmp_path}", f"--out={out}"]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_nothing_is_heard_where_nothing_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["extract", "MFCC", "--audio=x", f"--out={tmp_path / 'file' / 'out'}"]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
