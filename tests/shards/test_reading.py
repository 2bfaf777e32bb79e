"""The format, and reading: any id comes back, and what is damaged is named."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import World, samples, sharded
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.compat import WebDataset

from coldstart.encoders.attributes import VectorReader
from coldstart.errors import InputError
from coldstart.files import write_json
from coldstart.sample import folder_of
from coldstart.shards.format import key_of, track_of
from coldstart.shards.reading import Shards
from coldstart.shards.writing import write_dataset, write_tar

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
        found = list(WebDataset(str(tar), shardshuffle=False))
        assert [track_of(s["__key__"]) for s in found] == [
            t["track_id"] for t in shards.tracks("train", 0)
        ]
        assert all(set(s) - {"__key__", "__url__", "__local_path__"} == {field} for s in found)
        with tarfile.open(tar) as plain:
            assert len(plain.getnames()) == len(found)
    tar = tiny_world.shards / "train/mgp/000000.tar"
    dataset: Any = WebDataset(str(tar), shardshuffle=False)
    decoded = next(iter(dataset.decode()))
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


def test_a_copied_dataset_reads_the_same(tiny_world: World, tmp_path: Path) -> None:
    # Nothing in it knows where it lies, or what it was made from.
    shutil.copytree(tiny_world.shards, tmp_path / "copy")
    fields = ("mgp.npy", "genres.json")
    assert samples(Shards(tmp_path / "copy"), *fields) == samples(
        Shards(tiny_world.shards), *fields
    )
    assert str(tiny_world.root) not in (tmp_path / "copy" / "dataset.json").read_text()
