"""Vectors are added as a modality, as a whole or in parts."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import samples, sharded, times

from coldstart.shards.reading import Shards
from coldstart.shards.writing import add_vectors, npy_bytes


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
    broken: dict[str, Any] = {**vectors(ids, 2.0), ids[9]: "not a vector"}
    with pytest.raises(AttributeError):
        add_vectors(Shards(out), "mlg", broken, facts, 1)
    assert Shards(out).about == about
    assert samples(Shards(out), "mlg.npy") == before
    assert add_vectors(Shards(out), "mlg", vectors(ids, 2.0), facts, 1) == [0, 1]
    assert not list(out.rglob("*/.mlg*"))


def test_npy_bytes_are_float32(tmp_path: Path) -> None:
    assert np.load(io.BytesIO(npy_bytes(np.array([1, 2])))).dtype == np.float32
