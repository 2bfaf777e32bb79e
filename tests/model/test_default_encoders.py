"""`default.yaml`: what a dataset has is what is read."""

from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from helpers import World

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.encoders.attributes import MGP, MachineListened
from coldstart.encoders.embedding import Embedding
from coldstart.errors import InputError
from coldstart.model.default_encoders import default_encoders
from coldstart.runs.config import read_config
from coldstart.runs.run import open_run
from coldstart.shards.reading import Shards


def made(world: World, out: Path, **content: object) -> Shards:
    """Shards of the tiny world with some of its content."""
    tracks = world.catalogue / "tracks.parquet"
    shard(tracks, out=out, splits=world.splits, **content)  # type: ignore[arg-type]
    return Shards(out)


@pytest.fixture(scope="module")
def vectors(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    ids = pl.read_parquet(tiny_world.catalogue / "tracks.parquet")["track_id"]
    values = torch.rand(len(ids), 5, generator=torch.Generator().manual_seed(0)).tolist()
    path = tmp_path_factory.mktemp("vectors") / "heard.parquet"
    pl.DataFrame({"track_id": ids, "vector": values}).write_parquet(path)
    return str(path)


def test_each_modality_that_can_be_read_as_it_is_has_its_encoder(
    tiny_world: World, vectors: str, tmp_path: Path
) -> None:
    mgp = str(tiny_world.catalogue / "mgp.parquet")
    ids = pl.read_parquet(vectors)["track_id"]
    lyrics = tmp_path / "lyrics.parquet"
    pl.DataFrame({"track_id": ids, "text": ["love and war"] * len(ids)}).write_parquet(lyrics)
    dataset = made(
        tiny_world,
        tmp_path / "shards",
        attributes={"mgp": mgp, "tags": mgp},
        embeddings={"heard": vectors},
        texts={"lyrics": str(lyrics)},
    )
    found = default_encoders(dataset)
    assert found.left == ["audio"]
    kinds = [f"{name} {about['class_path']}" for name, about in found.encoders.items()]
    assert kinds == ["genres Genres", "heard Embedding", "lyrics Text", "mgp MGP", "tags MGP"]
    assert found.encoders["tags"]["init_args"] == {"hidden": [], "modality": "tags"}
    assert found.encoders["heard"]["init_args"]["normalize"]


def test_a_machine_s_attributes_and_units_of_their_own_are_told_by_the_facts() -> None:

    table = {"names": ["joyful"], "mean": [0.5], "std": [1.0]}
    heard = {**table, "made_by": "abc"}
    assert (MGP.as_is("x", table) is None, MachineListened.as_is("x", table) is None) == (0, 1)
    assert (MGP.as_is("x", heard) is None, MachineListened.as_is("x", heard) is None) == (1, 0)
    vectors = {"mean": [0.0], "std": [1.0]}
    assert Embedding.as_is("x", table) is None
    assert Embedding.as_is("x", {**vectors, "runs": ["runs/a"]}) is None
    own = Embedding.as_is("x", {**vectors, "own_units": True})
    assert own == {"modality": "x", "standardize": True, "normalize": False}


def test_sound_alone_is_refused_with_what_makes_vectors_of_it(
    tiny_world: World, tmp_path: Path
) -> None:
    dataset = made(tiny_world, tmp_path / "shards", modalities=["audio"])
    with pytest.raises(InputError, match=r"it has: audio\. Of sound, an extractor makes vectors"):
        default_encoders(dataset)


def test_a_fit_reads_what_is_there_and_its_run_says_what_it_read(
    tiny_world: World, vectors: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No genres here; the same config that read genres elsewhere."""
    factors = tmp_path / "factors"
    factorize(
        tiny_world.catalogue / "listens.parquet",
        out=factors,
        splits=tiny_world.splits,
        factors=8,
        shrinkage=0.15,
        axes="scores",
    )
    table = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").drop("genres", "audio")
    table.write_parquet(tmp_path / "tracks.parquet")
    shard(
        tmp_path / "tracks.parquet",
        out=tmp_path / "shards",
        splits=tiny_world.splits,
        embeddings={"heard": vectors},
    )
    where = [f"--data.shards={tmp_path / 'shards'}", f"--data.factors={factors}"]
    run = tmp_path / "run"
    assert main(["fit", "--config", "default.yaml", *where, f"--run={run}"]) == 0
    said = capsys.readouterr()
    assert "reads heard" in said.out + said.err
    assert list(read_config(run)["model"]["encoders"]) == ["heard"]
    assert list(open_run(run).model.encoders) == ["heard"]
    assert main(["test", f"--run={run}", "--no-rivals"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["fit", "--config", "default.yaml", *where, "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert list(printed["model"]["encoders"]) == ["heard"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", "mgp.yaml", *where, "--print_config"])
    assert list(yaml.safe_load(capsys.readouterr().out)["model"]["encoders"]) == ["mgp"]


def test_somebody_else_s_broken_encoder_stops_no_fit(
    tiny_world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "ballad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ballad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[coldstart.encoders]\nBallads = ballad:Ballads\n")
    (tmp_path / "ballad.py").write_text("import there_is_no_such_module\n")
    made(tiny_world, tmp_path / "shards", modalities=["genres"])
    flags = [f"--data.shards={tmp_path / 'shards'}", f"--data.factors={tiny_world.factors}"]
    run = tmp_path / "run"
    assert main(["fit", "--config=default.yaml", f"--run={run}", *flags, "--data.workers=0"]) == 0
    assert list(open_run(run).model.encoders) == ["genres"]
    (told,) = [line for line in caplog.messages if "Ballads" in line]
    assert "the encoders plugin 'Ballads' of ballad 1.0 fails to import" in told
    assert "there_is_no_such_module" in told
