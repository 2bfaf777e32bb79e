"""A dataset that a server on loopback serves."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_inputs.hosts import (
    Host,
    npy,
)

from coldstart.addresses import transfer
from coldstart.files import write_json
from coldstart.shards import remote
from coldstart.shards.writing import write_dataset, write_tar


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three shards, with two modalities of all tracks."""
    folder = tmp_path_factory.mktemp("dataset")
    sizes = {"train": [8, 8], "val": [4], "test": []}
    modalities = {
        name: {"fields": {f"{name}.{codec}": codec}, "shards": sizes, "source": "x"}
        for name, codec in (("mgp", "npy"), ("genres", "json"))
    }
    for split, counts in sizes.items():
        for number, count in enumerate(counts):
            ids = [f"{split}/{number}/{i}" for i in range(count)]
            tracks = [{"track_id": track, "title": "T" * 40, "artist": "A"} for track in ids]
            write_json(folder / split / f"tracks/{number:06d}.json", tracks)
            vectors = [(track, {"mgp.npy": npy(i)}) for i, track in enumerate(ids)]
            write_tar(folder / split / f"mgp/{number:06d}.tar", vectors)
            names = [(track, {"genres.json": b'["rock"]'}) for track in ids]
            write_tar(folder / split / f"genres/{number:06d}.tar", names)
    write_dataset(folder, {"version": 1, "plan": "x", "splits": sizes, "modalities": modalities})
    return folder


@pytest.fixture
def host(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "PATIENCE", 10)  # more than a busy machine takes
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.02, 0.04))
    monkeypatch.setattr(remote, "LARGEST_JSON", 1 << 20)
    monkeypatch.setattr(remote, "TRACK", 1 << 18)
    # An address that were taken for a path would make a folder in the current one.
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    shutil.copytree(dataset, tmp_path / "there")
    host = Host(tmp_path / "there")
    yield host
    host.close()
    assert not list((tmp_path / "current").iterdir())
