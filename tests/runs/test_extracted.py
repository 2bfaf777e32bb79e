"""What extractors make is a modality like others: of the dataset, of new tracks, of one file."""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers import World, samples

import coldstart as cs
from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.extractors.base import open_extractor, track_features
from coldstart.extractors.mfcc import MFCC
from coldstart.retrieval.hearing import hear
from coldstart.runs import extracted
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run
from coldstart.sample import Sample
from coldstart.shards.reading import Shards

CONFIG = """
model:
  encoders:
    mfcc: {class_path: Embedding, init_args: {modality: mfcc, normalize: false, hidden: [8]}}
"""


def vector(sample: Sample, field: str) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(sample[field])))


@pytest.fixture
def tables(tiny_world: World, tmp_path: Path) -> Path:
    """Tables of the tiny world's first tracks, and of three that are new."""
    tracks = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").sort("track_id")
    files = [str(tiny_world.catalogue / path) for path in tracks["audio"]]
    tracks = tracks.with_columns(audio=pl.Series(files))
    tracks.head(57).write_parquet(tmp_path / "tracks.parquet")
    tracks.tail(3).write_parquet(tmp_path / "new.parquet")
    return tmp_path


def sharded(tables: Path, world: World, *flags: str) -> Shards:
    out = tables / "shards"
    args = [f"--splits={world.splits}", f"--out={out}", "--modalities=[genres]", *flags]
    assert main(["shard", str(tables / "tracks.parquet"), *args]) == 0
    return Shards(out)


def test_from_files_to_lists(
    tables: Path,
    tiny_world: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards = sharded(tables, tiny_world, "--extract=MFCC", "--extractor.coefficients=13")
    facts = shards.modalities["mfcc"]
    assert facts["extractor"]["extractor"] == "MFCC"
    assert facts["opened_with"] == {"coefficients": 13}
    assert facts["made_by"] == open_extractor("MFCC", {"coefficients": 13}).identity()
    extractor = open_extractor("MFCC", {"coefficients": 13})
    stored = samples(shards, "mfcc.npy")
    tracks = pl.read_parquet(tables / "tracks.parquet")
    for track, file in tracks.select("track_id", "audio").head(4).iter_rows():
        own = track_features(extractor, file)[0].vectors[0].numpy()
        assert np.allclose(vector(stored[track], "mfcc.npy"), own, atol=1e-4)

    with monkeypatch.context() as patch:  # whatever is there isn't heard again
        patch.delattr(extracted, "extract_features")
        sharded(tables, tiny_world, "--extract=MFCC", "--extractor.coefficients=13")
    assert "MFCC: already there" in capsys.readouterr().out

    (tables / "mfcc.yaml").write_text(CONFIG)
    run = tables / "run"
    quick = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--data.workers=0"]
    flags = [f"--data.shards={shards.folder}", f"--data.factors={tiny_world.factors}"]
    config = f"--config={tables / 'mfcc.yaml'}"
    assert main(["fit", config, f"--run={run}", *quick, *flags, "--stages=1"]) == 0

    assert (
        main(["add", str(tables / "new.parquet"), f"--shards={shards.folder}", f"--run={run}"]) == 0
    )
    new = pl.read_parquet(tables / "new.parquet")
    opened = open_run(run)
    predictions = predictions_of(opened)
    for track, file in new.select("track_id", "audio").iter_rows():
        place = predictions.values[predictions.track_ids.index(track)]
        assert torch.allclose(hear(opened, file), place, atol=1e-3)
    assert len(cs.recommend(run=run, audio=new["audio"][0], k=3)) == 3
    assert not (shards.folder / ".extracted").exists()

    monkeypatch.setattr(MFCC, "version", "2")
    extracted._opened.cache_clear()
    with pytest.raises(
        InputError, match=r"MFCC isn't the one that made .*another version.*fit again"
    ):
        cs.recommend(run=run, audio=new["audio"][0])
    extracted._opened.cache_clear()


def test_new_tracks_are_heard_by_the_dataset_s_extractor_alone(
    tables: Path, tiny_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = sharded(tables, tiny_world, "--extract=MFCC")
    given = {"mfcc": str(tables / "vectors.parquet")}
    with pytest.raises(InputError, match=r"'mfcc' is made by MFCC, from sound.*leave its table"):
        cs.add(tables / "new.parquet", shards=shards.folder, embeddings=given)
    monkeypatch.setattr(MFCC, "version", "2")
    extracted._opened.cache_clear()
    with pytest.raises(InputError, match="another version"):
        cs.add(tables / "new.parquet", shards=shards.folder)
    extracted._opened.cache_clear()
    assert Shards(shards.folder).shard_sizes("new") == []
    without = pl.read_parquet(tables / "new.parquet").drop("audio")
    without.write_parquet(tables / "silent.parquet")
    monkeypatch.undo()
    assert cs.add(tables / "silent.parquet", shards=shards.folder).lacks["mfcc"] == 3


def test_what_cannot_be_heard_is_said_at_once(
    tables: Path, tiny_world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(tables / "tracks.parquet")
    out = f"--out={tables / 'shards'}"
    assert main(["shard", table, out, "--extract=Mfc"]) == 2
    assert "MFCC" in capsys.readouterr().err
    assert main(["shard", table, out, "--extractor.coefficients=13"]) == 2
    assert "--extractor is of --extract NAME" in capsys.readouterr().err
    vectors = tables / "vectors.parquet"
    ids = pl.read_parquet(table)["track_id"].to_list()
    pl.DataFrame({"track_id": ids, "vector": [[1.0, 2.0]] * 57}).write_parquet(vectors)
    args = ["shard", table, out, "--extract=MFCC", f"--embeddings.mfcc={vectors}"]
    assert main(args) == 2
    assert "two sources for 'mfcc'" in capsys.readouterr().err
    silent = tables / "silent.parquet"
    pl.read_parquet(table).drop("audio").write_parquet(silent)
    assert main(["shard", str(silent), out, "--extract=MFCC"]) == 2
    assert "has no column `audio`" in capsys.readouterr().err


def test_a_file_that_cannot_be_used_is_listed(tables: Path, tiny_world: World) -> None:
    tracks = pl.read_parquet(tables / "tracks.parquet")
    (tables / "broken.mp3").write_bytes(b"no sound")
    files = [str(tables / "broken.mp3"), *tracks["audio"][1:]]
    tracks.with_columns(audio=pl.Series(files)).write_parquet(tables / "tracks.parquet")
    args = [str(tables / "tracks.parquet"), f"--out={tables / 'shards'}", "--modalities=[genres]"]
    assert main(["shard", *args, "--extract=MFCC"]) == 2
    assert main(["shard", *args, "--extract=MFCC", "--skip-broken"]) == 0
    listed = pl.read_csv(tables / "shards" / "broken.csv")
    assert listed["item"].to_list() == [f"track '{tracks['track_id'][0]}'"]
    facts = json.loads((tables / "shards" / "dataset.json").read_text())["modalities"]["mfcc"]
    assert sum(map(sum, facts["shards"].values())) == 56
