"""`default.yaml`: what a dataset has is what is read."""

from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from helpers import World

from coldstart import registry
from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.encoders.artist_id import ArtistId
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
    content = ["genres Genres", "heard Embedding", "lyrics Text", "mgp MGP", "tags MGP"]
    assert kinds == [*content, "artist_id ArtistId"]
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


Tracks = list[tuple[str, str, str | None]]


def listed(folder: Path, rows: Tracks, **more: list[object]) -> Shards:
    """Shards of tracks with genres, given the id, the side and the artist of each."""
    folder.mkdir()
    ids, sides, artists = (list(column) for column in zip(*rows, strict=True))
    pl.DataFrame({"track_id": ids, "split": sides}).write_parquet(folder / "splits.parquet")
    tracks = {"track_id": ids, "title": ids, "artist": ids, "artist_id": artists, **more}
    table = pl.DataFrame(tracks, schema_overrides={"artist_id": pl.String})
    table.with_columns(genres=["jazz"]).write_parquet(folder / "tracks.parquet")
    splits, out = folder / "splits.parquet", folder / "shards"
    shard(folder / "tracks.parquet", out=out, splits=splits, modalities=["genres"])
    return Shards(out)


TWO: Tracks = [("t1", "train", "a"), ("t2", "train", "a")]


@pytest.mark.parametrize(
    ("rows", "read"),
    [
        ([*TWO, ("t3", "train", "b"), ("v", "val", "a"), ("e", "test", "c")], True),
        (TWO, True),  # a live fit: nothing is held out
        ([*TWO, ("v", "val", None)], True),
        ([*TWO, ("v", "val", "b"), ("e", "test", "c")], False),  # artists are kept apart
        ([("t1", "train", "a"), ("t2", "train", "b"), ("v", "val", "a")], False),
        ([("t1", "train", None), ("t2", "train", None), ("v", "val", "a")], False),
    ],
)
def test_artists_are_read_where_training_tracks_share_one_and_held_out_tracks_may(
    rows: Tracks, read: bool, tmp_path: Path
) -> None:
    found = default_encoders(listed(tmp_path / "d", rows))
    assert list(found.encoders) == ["genres", *(["artist_id"] if read else [])]


class Label(ArtistId):
    """As a plugin would read another column."""

    fields = ("track.label",)


def test_a_plugin_reads_another_column_and_names_never_clash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: Tracks = [*TWO, ("v", "val", "a")]
    labels: list[object] = ["x", "y", "y"]
    usable = registry.usable

    def with_label(kind: registry.Kind) -> dict[str, type]:
        return {**usable(kind), "Label": Label}

    monkeypatch.setattr(registry, "usable", with_label)
    apart = listed(tmp_path / "apart", rows, label=labels)
    assert list(default_encoders(apart).encoders) == ["genres", "artist_id"]
    shared = listed(tmp_path / "shared", rows, label=["x", "x", "x"])
    assert list(default_encoders(shared).encoders) == ["genres", "artist_id", "label"]
    shared.modalities["label"] = {**shared.info("genres"), "fields": {"label.json": "json"}}
    assert list(default_encoders(shared).encoders) == ["genres", "artist_id", "label_"]


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
    assert "reads heard, artist_id" in said.out + said.err
    assert list(read_config(run)["model"]["encoders"]) == ["heard", "artist_id"]
    assert list(open_run(run).model.encoders) == ["heard", "artist_id"]
    assert main(["test", f"--run={run}", "--no-rivals"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["fit", "--config", "default.yaml", *where, "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert list(printed["model"]["encoders"]) == ["heard", "artist_id"]
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
    assert list(open_run(run).model.encoders) == ["genres", "artist_id"]
    (told,) = [line for line in caplog.messages if "Ballads" in line]
    assert "the encoders plugin 'Ballads' of ballad 1.0 fails to import" in told
    assert "there_is_no_such_module" in told
