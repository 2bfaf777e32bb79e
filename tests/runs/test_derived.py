"""Modalities that nets have made: the nets are found again, and make them for added tracks."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Listened

from coldstart.errors import InputError
from coldstart.model.checkpoint import best_checkpoint
from coldstart.model.net import Net, load
from coldstart.runs.derived import (
    complete_new,
    derivation_of,
    derive,
    derived_modalities,
    in_order,
    open_source_net,
    open_source_nets,
    outputs_of,
)
from coldstart.shards.reading import Shards
from coldstart.tables.splits import NEW


def added(listened: Listened, folder: Path, shards: int = 1) -> Shards:
    """The dataset with its first training shard once more as an added one, without estimates."""
    shutil.copytree(listened.shards, folder)
    about = json.loads((folder / "dataset.json").read_bytes())
    size = about["splits"]["train"][0]
    about["splits"][NEW] = [size] * shards
    for number in range(shards):
        for name in ("tracks", "audio"):
            (folder / NEW / name).mkdir(parents=True, exist_ok=True)
            kind = "json" if name == "tracks" else "tar"
            source = folder / "train" / name / f"000000.{kind}"
            shutil.copy(source, folder / NEW / name / f"{number:06d}.{kind}")
    about["modalities"]["audio"]["shards"][NEW] = [size] * shards
    for name in ("mgp", "genres"):
        about["modalities"][name]["shards"][NEW] = [0] * shards
    about["current"] = {
        track["track_id"]: f"{NEW}/{shards - 1:06d}" for track in Shards(folder).tracks("train", 0)
    }
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return Shards(folder)


def expected(dataset: Shards, track: str) -> np.ndarray:
    """The mean over both listeners, each by itself."""
    vectors = []
    for run in dataset.info("mlg")["runs"]:
        net = open_source_net(run, dataset)
        predictions = outputs_of(net.model, net.data.batches(["train"], only=[track]), "attributes")
        assert predictions is not None
        vectors.append(predictions.values[0])
    return torch.stack(vectors).mean(0).numpy()


def test_added_tracks_get_the_mean_of_all_listeners(listened: Listened, tmp_path: Path) -> None:
    dataset = added(listened, tmp_path / "shards")
    ids = [track["track_id"] for track in dataset.tracks(NEW, 0)]
    vectors = derive(dataset, "mlg")
    assert set(vectors) == set(ids)
    np.testing.assert_allclose(vectors[ids[0]], expected(dataset, ids[0]), atol=1e-5)
    assert set(derive(dataset, "mlg", ids[:2])) == set(ids[:2])
    assert derive(dataset, "mlg", []) == {}
    with pytest.raises(InputError, match="none of those that were added"):
        derive(dataset, "mlg", ["nobody"])


def test_a_dataset_is_completed_once(listened: Listened, tmp_path: Path) -> None:
    """Of two copies of a track, the one that counts."""
    dataset = added(listened, tmp_path / "shards", shards=2)
    assert complete_new(dataset, ["mgp"]) == []
    assert complete_new(dataset) == ["mlg"]
    dataset = Shards(dataset.folder)
    stored = [
        {s["track_id"]: s.get("mlg.npy") for s in dataset.samples(NEW, number, ["mlg.npy"])}
        for number in (0, 1)
    ]
    assert all(content is not None for content in stored[1].values())
    track, content = next(iter(stored[1].items()))
    assert content is not None
    vector = np.load(io.BytesIO(content), allow_pickle=False)
    np.testing.assert_allclose(vector, expected(dataset, track), atol=1e-5)
    assert complete_new(dataset) == []


def test_nets_that_moved_with_the_dataset_are_found(listened: Listened, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    shutil.copytree(listened.root, old)
    about = json.loads((old / "shards" / "dataset.json").read_bytes())
    facts = about["modalities"]["mlg"]
    facts["runs"] = [str(old / "listener" / f"fold{fold}") for fold in (0, 1)]
    facts["at"] = str(old / "shards")
    (old / "shards" / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    old.rename(new)
    dataset = Shards(new / "shards")
    derivation = derivation_of(dataset, "mlg")
    assert derivation.runs == tuple(str(new / "listener" / f"fold{fold}") for fold in (0, 1))
    assert len(open_source_nets(derivation, dataset)) == 2
    shutil.rmtree(new / "listener" / "fold1")
    with pytest.raises(InputError, match="one of the nets that made 'mlg' isn't at"):
        derivation_of(dataset, "mlg")


def test_nets_that_were_fitted_anew_are_noticed(listened: Listened, tmp_path: Path) -> None:
    dataset = Shards(listened.shards)
    derivation = derivation_of(dataset, "mlg")
    other = derivation._replace(weights=("0" * 16, *derivation.weights[1:]))
    with pytest.raises(InputError, match="was fitted anew since it made 'mlg'"):
        open_source_nets(other, dataset)
    other = derivation._replace(weights=(), made_by="other settings")
    with pytest.raises(InputError, match="was fitted anew"):
        open_source_nets(other, dataset)
    load(best_checkpoint(derivation.runs[0]), Net)


def test_a_modality_whose_nets_nobody_named_says_what_to_do(listened: Listened) -> None:
    dataset = Shards(listened.shards)
    assert derived_modalities(dataset) == ["mlg"]
    del dataset.modalities["mlg"]["runs"]
    assert derived_modalities(dataset) == []
    with pytest.raises(InputError, match="coldstart listen --write mlg"):
        derivation_of(dataset, "mlg")


def test_a_modality_comes_after_those_that_its_nets_read(
    listened: Listened, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = {"a": {"b", "c"}, "b": {"c"}, "c": {"audio"}}
    monkeypatch.setattr("coldstart.runs.derived._inputs_of", lambda dataset, name: reads[name])
    assert in_order(Shards(listened.shards), ["a", "b", "c"]) == ["c", "b", "a"]
