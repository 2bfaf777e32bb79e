"""Batches: every track once, every rank alike, and nothing that training must not see."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import World, data_for, ids_of, small_audio

from coldstart.commands.factorize import factorize
from coldstart.commands.split import split
from coldstart.data.datamodule import ColdStartData
from coldstart.data.epochs import TrainLoader
from coldstart.data.folds import fold_of
from coldstart.data.streams import InMemory, TrainStream
from coldstart.encoders.attributes import MGP
from coldstart.encoders.base import Encoder
from coldstart.encoders.genres import Genres
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.shards.reading import Shards
from coldstart.targets.track_factors import FACTORS


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_evaluation_streams_say_every_track_and_no_window_twice(
    tiny_world: World, workers: int
) -> None:
    data = data_for(tiny_world, {"audio": small_audio(hop=1.0)}, workers=workers, batch_size=7)
    seen = Counter(t for b in data.batches(["train", "test"]) for t in b.track_ids)
    assert sorted(seen) == ids_of(tiny_world, "train", "test")
    alone = data_for(tiny_world, {"audio": small_audio(hop=1.0)}, workers=0, batch_size=1)
    assert seen == Counter(t for b in alone.batches(["train", "test"]) for t in b.track_ids)


def test_a_training_epoch_of_one_worker_goes_through_every_track_once(tiny_world: World) -> None:
    data = data_for(tiny_world, {"audio": small_audio()}, workers=0, batch_size=5)
    known = set(Factors.load(tiny_world.factors).track_ids)
    usable = [t for t in ids_of(tiny_world, "train") if t in known]
    loader = data.batches(["train"], training=True)
    for _ in range(3):
        assert sorted(t for b in loader for t in b.track_ids) == usable


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["in memory", "streamed", "fixed patches"])
def test_a_training_batch_hangs_on_its_key_alone(
    tiny_world: World, kind: str, workers: int
) -> None:
    """Whatever was loaded before it, also the windows that are drawn at random."""
    torch.manual_seed(3)
    encoders: dict[str, Callable[[], Encoder]] = {
        "in memory": lambda: MGP(hidden=(4,)),
        "streamed": small_audio,
        "fixed patches": lambda: small_audio(patches=3),
    }
    encoder = encoders[kind]()
    data = data_for(tiny_world, {"x": encoder}, workers=workers, batch_size=4, shuffle_buffer=6)
    loader = data.batches(["train"], training=True)
    assert isinstance(loader, TrainLoader)
    whole = [list(loader) for _ in range(2)]
    before = torch.get_rng_state(), random.getstate()
    for first in (1, 4, 7):
        loader.position = lambda first=first: (1, first)  # type: ignore[misc]
        rest = list(loader)
        assert [b.track_ids for b in rest] == [b.track_ids for b in whole[1][first:]]
        for a, b in zip(rest, whole[1][first:], strict=True):
            assert torch.equal(a.inputs["x"].values, b.inputs["x"].values)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    loader.close()


def test_epochs_are_shuffled_differently_and_reproducibly(tiny_world: World) -> None:
    def orders(seed: int) -> list[list[str]]:
        torch.manual_seed(seed)
        data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))}, batch_size=8)
        loader = data.batches(["train"], training=True)
        return [[t for b in loader for t in b.track_ids] for _ in range(2)]

    first, second = orders(0)
    assert first != second
    assert sorted(first) == sorted(second)
    assert orders(0) == [first, second]
    assert orders(1) != [first, second]


def test_what_was_passed_over_is_not_read(tiny_world: World, tmp_path: Path) -> None:
    shutil.copytree(tiny_world.shards, tmp_path / "shards")
    world = tiny_world._replace(shards=tmp_path / "shards")
    data = data_for(world, {"audio": small_audio()}, workers=0, batch_size=4, shuffle_buffer=2)
    loader = data.batches(["train"], training=True)
    assert isinstance(loader, TrainLoader)
    *_, last = loader
    place = {t["track_id"]: t["shard"] for t in shard_of_each(world)}
    for tar in (world.shards / "train" / "audio").glob("*.tar"):
        if int(tar.stem) not in {place[track] for track in last.track_ids}:
            tar.unlink()
    loader.position = lambda: (0, len(loader) - 1)
    (again,) = loader
    assert again.track_ids == last.track_ids


def shard_of_each(world: World) -> list[dict[str, object]]:
    shards = Shards(world.shards)
    numbers = range(len(shards.shard_sizes("train")))
    return [{**track, "shard": n} for n in numbers for track in shards.tracks("train", n)]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_rank_does_the_same_number_of_steps(tiny_world: World, world: int) -> None:
    data = data_for(tiny_world, {"audio": small_audio()}, workers=0)
    pipeline = data.pipeline(training=True, needs_target=True, folded=True)
    places = [("train", i) for i in range(len(data.shards.shard_sizes("train")))]
    steps = []
    for rank in range(world):
        stream = TrainStream(pipeline, places, 4, 8, 0, rank, world)
        steps.append([len(stream[0, number].track_ids) for number in range(3)])
    assert steps == [[4, 4, 4]] * world


def test_ranks_in_memory_share_the_tracks_out(tiny_world: World) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))}, batch_size=4)
    whole = data.batches(["train"])
    assert isinstance(whole, InMemory)
    tracks = len(whole.everything.track_ids)
    for training in (True, False):
        parts = [InMemory(whole.everything, 4, training, 0, rank, 3) for rank in range(3)]
        seen = [[t for b in part for t in b.track_ids] for part in parts]
        assert set().union(*seen) == set(whole.everything.track_ids)
        if training:
            assert len({len(part) for part in seen}) == 1
        else:
            assert sum(map(len, seen)) == tracks


def test_streamed_and_kept_in_memory_are_the_same_values(tiny_world: World) -> None:
    encoders: dict[str, Encoder] = {"mgp": MGP(hidden=(4,)), "genres": Genres(hidden=(4,))}
    kept = data_for(tiny_world, encoders, batch_size=1000)
    streamed = data_for(
        tiny_world,
        {"mgp": MGP(hidden=(4,)), "genres": Genres(hidden=(4,))},
        batch_size=1000,
        memory_mb=0,
        workers=0,
    )
    (a,), (b,) = kept.batches(["test"]), streamed.batches(["test"])
    assert a.track_ids == b.track_ids
    assert all(torch.equal(a.inputs[name].values, b.inputs[name].values) for name in encoders)
    assert torch.equal(a.target.values, b.target.values)


def test_training_never_sees_a_folded_in_vector(tiny_world: World) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))})
    made = Factors.load(tiny_world.factors)
    folded = {made.track_ids[i] for i in np.flatnonzero(made.folded)}
    assert folded
    known, all_of_them = (data.pipeline(training=t).joined[FACTORS] for t in (True, False))
    assert all(known(track) is None for track in folded)
    assert all(all_of_them(track) is not None for track in folded)


def test_targets_are_the_track_s_own_factors(tiny_world: World) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))}, batch_size=16)
    made = Factors.load(tiny_world.factors)
    for batch in data.batches(["train"], training=True):
        for track, vector in zip(batch.track_ids, batch.target.values, strict=True):
            np.testing.assert_array_equal(vector.numpy(), made.tracks[made.row[track]])


def test_a_held_out_fold_is_in_neither_training_nor_validation(tiny_world: World) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))}, folds=2, fold=1)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        assert {fold_of(t, 2) for b in loader for t in b.track_ids} == {0}
    assert {fold_of(t, 2) for b in data.predict_dataloader() for t in b.track_ids} == {0, 1}


def test_fixed_patches_come_as_often_as_asked_for(tiny_world: World) -> None:
    data = data_for(tiny_world, {"audio": small_audio(patches=3)}, workers=0, batch_size=6)
    loader = data.batches(["train"], training=True)
    vector = data.pipeline(training=True).joined[FACTORS]
    usable = {t for t in ids_of(tiny_world, "train") if vector(t) is not None}
    pieces = [t for b in loader for t in b.track_ids]
    assert len(pieces) >= 3 * len(usable)


def test_splits_that_disagree_would_leak_and_are_refused(tiny_world: World, tmp_path: Path) -> None:
    split(tiny_world.catalogue / "tracks.parquet", out=tmp_path / "other.parquet", seed=9)
    factorize(
        tiny_world.catalogue / "listens.parquet",
        out=tmp_path / "factors",
        splits=tmp_path / "other.parquet",
        factors=4,
    )
    with pytest.raises(InputError, match="would leak"):
        ColdStartData(str(tiny_world.shards), str(tmp_path / "factors"))


@pytest.mark.parametrize("wrong", [{"folds": 3}, {"folds": 2, "fold": 2}, {"batch_size": 0}])
def test_wrong_options_are_refused(tiny_world: World, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        ColdStartData(str(tiny_world.shards), str(tiny_world.factors), **wrong)  # type: ignore[arg-type]
