import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import webdataset
from conftest import World
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.commands.shard import shard
from coldstart.encoders.attributes import VectorReader
from coldstart.errors import InputError
from coldstart.files import write_json
from coldstart.sample import folder_of
from coldstart.shards import build
from coldstart.shards.format import key_of, track_of
from coldstart.shards.reading import Shards
from coldstart.shards.writing import add_vectors, npy_bytes, write_dataset, write_tar

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
FIELDS = ("mgp.npy", "Mood.npy", "genres.json")


def dataset(folder: Path, ids: list[str], has: dict[str, list[bool]]) -> Shards:
    """One training shard of `ids`; `has` says which tracks have which field."""
    write_json(folder / "train/tracks/000000.json", [{"track_id": track} for track in ids])
    modalities = {}
    for field, mask in has.items():
        name = folder_of(field)
        members = [
            (t, {field: f"{field} of {t}".encode()}) for t, m in zip(ids, mask, strict=True) if m
        ]
        count = write_tar(folder / f"train/{name}/000000.tar", members)
        modalities[name] = {"fields": {field: "npy"}, "shards": {"train": [count]}, "source": "x"}
    about = {"version": 1, "splits": {"train": [len(ids)]}, "modalities": modalities}
    write_dataset(folder, about)
    return Shards(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.tar")}


def samples(shards: Shards, *fields: str) -> dict[str, dict[str, Any]]:
    """Track id → its fields, over the whole dataset."""
    found = [
        sample
        for split in ("train", "val", "test")
        for number in range(len(shards.shard_sizes(split)))
        for sample in shards.samples(split, number, fields)
    ]
    assert len({sample["track_id"] for sample in found}) == len(found)
    return {sample["track_id"]: sample for sample in found}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with tables of 20 tracks and short files of sound; some lack some of it."""
    folder = tmp_path / "source"
    folder.mkdir()
    wave = 0.1 * np.sin(np.arange(8000, dtype=np.float32))
    rows = []
    for i in range(20):
        soundfile.write(folder / f"{i}.wav", wave * (1 + i / 20), 8000)
        rows.append(
            (f"t/{i}", f"T{i}", f"A{i % 7}", f"{i}.wav" if i % 4 else "", "a|b" if i % 3 else "")
        )
    columns = ["track_id", "title", "artist", "audio", "genres"]
    pl.DataFrame(rows, columns, orient="row").write_csv(folder / "tracks.csv")
    sides = ["train"] * 14 + ["val"] * 3 + ["test"] * 3
    pl.DataFrame({"track_id": [r[0] for r in rows], "split": sides}).write_csv(
        folder / "splits.csv"
    )
    generator = np.random.default_rng(0)
    for name in ("mgp", "mood"):
        grades = {f"{name}{k}": generator.random(18) for k in range(3)}
        pl.DataFrame({"track_id": [r[0] for r in rows[:18]], **grades}).write_csv(
            folder / f"{name}.csv"
        )
    return folder


def sharded(source: Path, out: Path, *attributes: str, **options: Any) -> Shards:
    options = {
        "sample_rate": 8000,
        "shard_size": 4,
        "workers": 1,
        "splits": source / "splits.csv",
    } | options
    tables = {name: str(source / f"{name}.csv") for name in attributes}
    return shard(source / "tracks.csv", out=out, attributes=tables, **options)


# Keys and the format


@given(IDS)
def test_any_track_id_survives_being_a_key(track: str) -> None:
    key = key_of(track)
    assert track_of(key) == track
    assert not set(key) & set("./ \\")
    assert key.isascii()


@given(st.lists(IDS, min_size=1, max_size=6, unique=True))
@settings(max_examples=50)
def test_any_track_id_survives_a_tar(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    made = dataset(tmp_path_factory.mktemp("ids"), ids, {"mgp.npy": [True] * len(ids)})
    got = made.samples("train", 0, ["mgp.npy"])
    assert [(s["track_id"], s["mgp.npy"].decode()) for s in got] == [
        (t, f"mgp.npy of {t}") for t in ids
    ]


def test_a_tar_is_an_ordinary_webdataset_tar(tiny_world: World) -> None:
    shards = Shards(tiny_world.shards)
    for field in ("mgp.npy", "genres.json", "audio.flac"):
        tar = shards.tar(folder_of(field), "train", 0)
        found = list(webdataset.WebDataset(str(tar), shardshuffle=False))
        assert [track_of(s["__key__"]) for s in found] == [
            t["track_id"] for t in shards.tracks("train", 0)
        ]
        assert all(set(s) - {"__key__", "__url__", "__local_path__"} == {field} for s in found)
        with tarfile.open(tar) as plain:
            assert len(plain.getnames()) == len(found)
    decoded = next(
        iter(
            webdataset.WebDataset(
                str(tiny_world.shards / "train/mgp/000000.tar"), shardshuffle=False
            ).decode()
        )
    )
    assert decoded["mgp.npy"].dtype == np.float32


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8))
@settings(max_examples=50)
def test_modalities_join_whatever_is_missing(
    tmp_path_factory: pytest.TempPathFactory, pattern: list[tuple[bool, bool, bool]]
) -> None:
    ids = [f"t.{i}" for i in range(len(pattern))]
    has = dict(zip(FIELDS, map(list, zip(*pattern, strict=True)), strict=True))
    got = list(dataset(tmp_path_factory.mktemp("join"), ids, has).samples("train", 0, FIELDS))
    assert [s["track_id"] for s in got] == ids
    for sample, mask in zip(got, pattern, strict=True):
        expected = {
            f: f"{f} of {sample['track_id']}".encode()
            for f, m in zip(FIELDS, mask, strict=True)
            if m
        }
        assert {f: sample[f] for f in FIELDS if f in sample} == expected


def test_every_track_comes_with_what_its_source_says(source: Path, tmp_path: Path) -> None:
    shards = sharded(source, tmp_path / "shards", "mgp")
    got = samples(shards, "audio.flac", "genres.json", "mgp.npy")
    assert set(got) == {f"t/{i}" for i in range(20)}
    grades = pl.read_csv(source / "mgp.csv").drop("track_id").to_numpy().astype(np.float32)
    for i in range(20):
        sample = got[f"t/{i}"]
        assert ("audio.flac" in sample) == bool(i % 4)
        assert json.loads(sample.get("genres.json", b"[]")) == (["a", "b"] if i % 3 else [])
        assert ("mgp.npy" in sample) == (i < 18)
        if i < 18:
            np.testing.assert_array_equal(np.load(io.BytesIO(sample["mgp.npy"])), grades[i])
    info = shards.info("mgp")
    np.testing.assert_allclose(info["mean"], grades[:14].mean(0), rtol=1e-5)  # of training tracks
    np.testing.assert_allclose(info["std"], grades[:14].std(0), rtol=1e-5)
    assert shards.info("genres")["vocabulary"] == ["a", "b"]
    assert shards.about["splits"] == {"train": [4, 4, 4, 2], "val": [3], "test": [3]}
    assert {t["split"] for t in shards.all_tracks()} == {"train", "val", "test"}


# Damage


def test_a_tar_that_is_cut_anywhere_is_noticed_or_loses_nothing(tmp_path: Path) -> None:
    shards = dataset(tmp_path, ["a", "b", "c"], {"mgp.npy": [True] * 3})
    tar = shards.tar("mgp", "train", 0)
    content, whole = tar.read_bytes(), list(shards.samples("train", 0, ["mgp.npy"]))
    end = 3 * 1024  # a header and a block of content each; then only padding follows
    for cut in [*range(0, end, 128), 513, end - 1]:
        tar.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"000000\.tar: [^<>]*shard 'mgp' again"):
            list(shards.samples("train", 0, ["mgp.npy"]))
    for cut in range(end, len(content), 512):
        tar.write_bytes(content[:cut])
        assert list(shards.samples("train", 0, ["mgp.npy"])) == whole


def test_a_missing_tar_is_named(tmp_path: Path) -> None:
    shards = dataset(tmp_path, ["a"], {"mgp.npy": [True]})
    shards.tar("mgp", "train", 0).unlink()
    with pytest.raises(InputError, match=r"train/mgp/000000\.tar: missing, though"):
        list(shards.samples("train", 0, ["mgp.npy"]))


def test_a_tar_of_other_tracks_is_noticed(tmp_path: Path) -> None:
    shards = dataset(tmp_path, ["a", "b"], {"mgp.npy": [True, True], "mood.npy": [True, True]})
    tar = shards.tar("mgp", "train", 0)
    for order in (["b", "a"], ["a", "x"]):
        write_tar(tar, [(track, {"mgp.npy": b""}) for track in order])
        with pytest.raises(InputError, match="out of place"):
            list(shards.samples("train", 0, ["mgp.npy", "mood.npy"]))
    write_tar(tar, [(track, {"mgp.npy": b""}) for track in "abc"])
    with pytest.raises(InputError, match=r"holds 3 tracks, but dataset.json says 2|out of place"):
        list(shards.samples("train", 0, ["mgp.npy"]))


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"version": 1}', "\xff", "[[1"])
def test_a_dataset_json_of_garbage_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dataset.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"dataset\.json: not"):
        Shards(tmp_path)


def test_a_dataset_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"version": 2}')
    with pytest.raises(InputError, match="version 2; this coldstart reads version 1"):
        Shards(tmp_path)


def test_a_folder_without_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="coldstart shard TRACKS"):
        Shards(tmp_path)


@pytest.mark.parametrize("edit", ["splits", "modality", "tracks", "garbage"])
def test_a_dataset_json_that_contradicts_its_files_is_noticed(tmp_path: Path, edit: str) -> None:
    shards = dataset(tmp_path, ["a", "b"], {"mgp.npy": [True, True]})
    about = json.loads((tmp_path / "dataset.json").read_text())
    if edit == "splits":
        about["splits"]["train"] = [2, 2]
    elif edit == "modality":
        about["modalities"]["mgp"]["shards"]["train"] = [1]
    elif edit == "tracks":
        about["splits"]["train"] = [3]
    else:
        (shards.folder / "train/tracks/000000.json").write_text("[")
    write_json(tmp_path / "dataset.json", about)
    with pytest.raises(InputError, match=r"dataset\.json|000000\.json: not readable"):
        list(Shards(tmp_path).samples("train", 0, ["mgp.npy"]))


def test_an_unknown_modality_or_field_lists_what_there_is(tmp_path: Path) -> None:
    shards = dataset(tmp_path, ["a"], {"mgp.npy": [True], "mood.npy": [True]})
    with pytest.raises(InputError, match="no modality 'audio'; it has: mgp, mood"):
        shards.info("audio")
    with pytest.raises(InputError, match="no modality 'audio'; it has: mgp, mood"):
        list(shards.samples("train", 0, ["audio.flac"]))
    with pytest.raises(InputError, match=r"no field 'mgp\.txt'; there is: mgp\.npy"):
        list(shards.samples("train", 0, ["mgp.txt"]))


def test_a_pickle_inside_an_npy_is_refused_with_its_place(tmp_path: Path) -> None:
    shards = dataset(tmp_path, ["a", "b"], {"mgp.npy": [False, True]})
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"run": "me"}], dtype=object), allow_pickle=True)
    write_tar(shards.tar("mgp", "train", 0), [("b", {"mgp.npy": buffer.getvalue()})])
    with pytest.raises(InputError, match=r"shard train/000000, track 'b', field 'mgp\.npy'"):
        VectorReader("mgp.npy", 1)(list(shards.samples("train", 0, ["mgp.npy"])))


def test_nothing_in_a_dataset_is_a_pickle(source: Path, tmp_path: Path) -> None:
    shards = sharded(source, tmp_path / "shards", "mgp")
    assert (shards.folder / ".lock").stat().st_size == 0
    written = [p for p in shards.folder.rglob("*") if p.is_file() and p.name != ".lock"]
    assert {p.suffix for p in written} == {".json", ".tar"}
    got = samples(shards, "audio.flac", "mgp.npy", "genres.json").values()
    for sample in got:
        if "mgp.npy" in sample:
            assert np.load(io.BytesIO(sample["mgp.npy"]), allow_pickle=False).dtype == np.float32
        if "audio.flac" in sample:
            assert sample["audio.flac"][:4] == b"fLaC"
        json.loads(sample.get("genres.json", b"[]"))


# Writing: resumable, extendable, reproducible


def test_two_runs_and_two_workers_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        sharded(source, tmp_path / name, "mgp", workers=workers)
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")
    sharded(source, tmp_path / "d", "mgp", seed=1)
    assert files(tmp_path / "a") != files(tmp_path / "d")


def test_the_same_command_again_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharded(source, tmp_path / "out", "mgp")
    before, stamps = files(tmp_path / "out"), times(tmp_path / "out")
    capsys.readouterr()
    sharded(source, tmp_path / "out", "mgp", overwrite=True)
    assert "mgp: already there, from the same source" in capsys.readouterr().out
    assert (files(tmp_path / "out"), times(tmp_path / "out")) == (before, stamps)


def test_one_more_modality_leaves_the_others_untouched(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = sharded(source, out, "mgp").modalities
    stamps, content = times(out), files(out)
    after = sharded(source, out, "mood", modalities=[]).modalities
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"mood"}
    assert {path: stamp for path, stamp in times(out).items() if "/mood/" not in path} == stamps
    content.pop("dataset.json")
    assert {path: files(out)[path] for path in content} == content
    sharded(source, tmp_path / "at once", "mgp", "mood")
    assert files(tmp_path / "at once") == files(out)


def test_another_source_needs_overwrite(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", "mgp", "mood")
    stamps = times(tmp_path / "out")
    table = pl.read_csv(source / "mgp.csv").with_columns(mgp0=pl.lit(0.25))
    table.write_csv(source / "mgp.csv")
    with pytest.raises(InputError, match=r"'mgp' is already there, .* --overwrite"):
        sharded(source, tmp_path / "out", "mgp")
    assert times(tmp_path / "out") == stamps
    shards = sharded(source, tmp_path / "out", "mgp", "mood", overwrite=True)
    vector = np.load(io.BytesIO(samples(shards, "mgp.npy")["t/0"]["mgp.npy"]))
    assert vector[0] == 0.25
    changed = {path for path, stamp in times(tmp_path / "out").items() if stamps[path] != stamp}
    assert changed == {path for path in stamps if "/mgp/" in path}


@pytest.mark.parametrize("skip", [False, True])
def test_an_interrupted_job_goes_on_where_it_stopped(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: bool
) -> None:
    out, written = tmp_path / "out", []

    def stops_at_the_third(path: Path, members: Any) -> int:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        return write_tar(path, members)

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_tar", stops_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            sharded(source, out, modalities=["audio"])
    assert "audio" not in Shards(out).modalities  # a half-written modality is never read
    stamps = times(out)
    assert len(stamps) == 2
    (out / "train/audio/.000002.99.tar").write_bytes(b"as if it had been killed")
    shards = sharded(source, out, modalities=["audio"], skip_broken=skip)
    assert {path: times(out)[path] for path in stamps} == stamps
    assert len(times(out)) == 6
    assert len(samples(shards, "audio.flac")) == 20
    assert not list(out.rglob(".progress/*"))
    sharded(source, tmp_path / "at once", modalities=["audio"])
    assert files(out) == files(tmp_path / "at once")


def test_a_job_stopped_by_a_broken_file_goes_on_when_told_to_skip(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    order = [t["track_id"] for t in sharded(source, out, modalities=[]).all_tracks(["train"])]
    last = next(t for t in reversed(order) if int(t[2:]) % 4)
    (source / f"{last[2:]}.wav").write_bytes(b"broken")
    with pytest.raises(InputError, match=rf"track '{last}', field 'audio': {last[2:]}\.wav: not"):
        sharded(source, out, modalities=["audio"])
    stamps = times(out)
    assert len(stamps) == 3
    shards = sharded(source, out, modalities=["audio"], skip_broken=True)
    assert {path: times(out)[path] for path in stamps} == stamps
    assert "audio.flac" not in samples(shards, "audio.flac")[last]
    assert pl.read_csv(out / "broken.csv")["item"].to_list() == [f"track '{last}'"]


def test_tracks_are_fixed_when_a_dataset_is_made(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", modalities=[])
    before = files(tmp_path / "out")
    new = pl.read_csv(source / "tracks.csv").vstack(
        pl.DataFrame({"track_id": "new", "title": "", "artist": "", "audio": "", "genres": ""})
    )
    new.write_csv(source / "tracks.csv")
    with pytest.raises(InputError, match="track 'new' is not in this dataset"):
        sharded(source, tmp_path / "out", "mgp", splits=None)
    assert files(tmp_path / "out") == before
    with pytest.raises(InputError, match=r"1 tracks have no split \(the first is 'new'\)"):
        sharded(source, tmp_path / "other")


def test_splits_that_disagree_with_the_dataset_are_refused(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", modalities=[])
    table = pl.read_csv(source / "splits.csv")
    table.with_columns(split=pl.lit("test")).write_csv(source / "splits.csv")
    with pytest.raises(InputError, match="track 't/0' is in 'train' here, but in 'test' of"):
        sharded(source, tmp_path / "out", "mgp")


def test_a_subset_of_the_tracks_may_get_one_more_modality(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", modalities=[])
    pl.read_csv(source / "tracks.csv")[3:6].write_csv(source / "tracks.csv")
    shards = sharded(source, tmp_path / "out", "mgp", modalities=[], splits=None)
    got = samples(shards, "mgp.npy")
    assert len(got) == 20
    assert {t for t, s in got.items() if "mgp.npy" in s} == {"t/3", "t/4", "t/5"}


def test_without_splits_everything_is_to_be_recommended(source: Path, tmp_path: Path) -> None:
    shards = sharded(source, tmp_path / "out", splits=None)
    assert {split: sum(sizes) for split, sizes in shards.about["splits"].items()} == {
        "train": 0,
        "val": 0,
        "test": 20,
    }


def test_constant_attributes_are_warned_of_and_kept(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.read_csv(source / "mgp.csv").with_columns(mgp1=pl.lit(0.1)).write_csv(source / "mgp.csv")
    shards = sharded(source, tmp_path / "out", "mgp")
    assert "mgp.csv: 1 attributes are constant and tell nothing: mgp1" in capsys.readouterr().err
    assert shards.info("mgp")["names"] == ["mgp0", "mgp1", "mgp2"]
    assert shards.info("mgp")["std"][1] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_size": 0}, "shard_size is at least 1"),
        ({"sample_rate": 10}, "sample_rate 1,000 to"),
        ({"sample_rate": 10**9}, "sample_rate 1,000 to"),
        ({"modalities": ["video"]}, "can't shard 'video'.* it has: audio, genres"),
    ],
)
def test_options_out_of_range_are_refused(
    source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sharded(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["audio", "genres", "tracks", "factors", "a b", "a/b", "../x"])
def test_an_attribute_modality_cannot_take_any_name(
    source: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="can't be the name"):
        shard(
            source / "tracks.csv", out=tmp_path / "out", attributes={name: str(source / "mgp.csv")}
        )


def test_attributes_of_other_tracks_are_refused_or_counted(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pl.read_csv(source / "mgp.csv")
    pl.concat([table, table.with_columns(track_id=pl.lit("x/") + pl.col("track_id"))]).write_csv(
        source / "mgp.csv"
    )
    sharded(source, tmp_path / "out", "mgp")
    assert "left out 18 rows of tracks that aren't in the table" in capsys.readouterr().out
    table.with_columns(track_id=pl.lit("x/") + pl.col("track_id")).write_csv(source / "mood.csv")
    with pytest.raises(InputError, match=r"mood\.csv: none of its tracks is in the track table"):
        sharded(source, tmp_path / "out", "mood")


# Vectors written by a trained model


def vectors(ids: list[str], value: float) -> dict[str, np.ndarray]:
    return {track: np.array([value, len(track)], dtype=np.float32) for track in ids}


def test_vectors_come_in_parts(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ids = [t["track_id"] for t in sharded(source, out).all_tracks()]
    others = times(out)
    facts = {"names": ["x", "y"], "source": "listener"}
    assert add_vectors(Shards(out), "mlg", vectors(ids[:8], 1.0), facts, 0) == [0]
    assert add_vectors(Shards(out), "mlg", vectors(ids[8:15], 2.0), facts, 1) == [0, 1]
    shards = Shards(out)
    got = {
        t: np.load(io.BytesIO(s["mlg.npy"]))
        for t, s in samples(shards, "mlg.npy").items()
        if "mlg.npy" in s
    }
    assert list(got) == ids[:15]
    assert [vector[0] for vector in got.values()] == [1.0] * 8 + [2.0] * 7
    info = shards.info("mlg")
    assert info["parts"] == [0, 1]
    training = [got[t["track_id"]] for t in shards.all_tracks(["train"]) if t["track_id"] in got]
    np.testing.assert_allclose(info["mean"], np.mean(training, axis=0))
    assert {path: times(out)[path] for path in others} == others

    # The same part again replaces its tracks; another listener's vectors start anew.
    assert add_vectors(Shards(out), "mlg", vectors(ids[:8], 3.0), facts, 0) == [0, 1]
    assert np.load(io.BytesIO(samples(Shards(out), "mlg.npy")[ids[0]]["mlg.npy"]))[0] == 3.0
    assert add_vectors(Shards(out), "mlg", vectors(ids[:2], 4.0), {**facts, "source": "b"}, 1) == [
        1
    ]
    assert {t for t, s in samples(Shards(out), "mlg.npy").items() if "mlg.npy" in s} == set(ids[:2])


def test_vectors_as_a_whole_have_no_parts(source: Path, tmp_path: Path) -> None:
    ids = [t["track_id"] for t in sharded(source, tmp_path / "out").all_tracks()]
    facts = {"names": ["x", "y"], "source": "model"}
    assert add_vectors(Shards(tmp_path / "out"), "emb", vectors(ids, 1.0), facts, None) == []
    assert sum(map(sum, Shards(tmp_path / "out").info("emb")["shards"].values())) == 20


def test_an_interrupted_part_leaves_the_earlier_ones_as_they_were(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ids = [t["track_id"] for t in sharded(source, out).all_tracks()]
    facts = {"names": ["x", "y"], "source": "listener"}
    add_vectors(Shards(out), "mlg", vectors(ids, 1.0), facts, 0)
    about, before = Shards(out).about, samples(Shards(out), "mlg.npy")
    broken = {**vectors(ids, 2.0), ids[9]: "not a vector"}
    with pytest.raises(AttributeError):
        add_vectors(Shards(out), "mlg", broken, facts, 1)
    assert Shards(out).about == about
    assert samples(Shards(out), "mlg.npy") == before
    assert add_vectors(Shards(out), "mlg", vectors(ids, 2.0), facts, 1) == [0, 1]
    assert not list(out.rglob("*/.mlg*"))


def test_a_copied_dataset_reads_the_same(tiny_world: World, tmp_path: Path) -> None:
    # Nothing in it knows where it lies, or what it was made from.
    shutil.copytree(tiny_world.shards, tmp_path / "copy")
    fields = ("mgp.npy", "genres.json")
    assert samples(Shards(tmp_path / "copy"), *fields) == samples(
        Shards(tiny_world.shards), *fields
    )
    assert str(tiny_world.root) not in (tmp_path / "copy" / "dataset.json").read_text()


def test_npy_bytes_are_float32(tmp_path: Path) -> None:
    assert np.load(io.BytesIO(npy_bytes(np.array([1, 2])))).dtype == np.float32
