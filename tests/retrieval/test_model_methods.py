"""Models in Python: fitted with a plain trainer, then asked for vectors and tracks."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import PythonRun, World, new_model, new_trainer

import coldstart as cs
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run


def test_a_checkpoint_of_a_plain_trainer_reloads_without_unpickling(
    tiny_world: World, tmp_path: Path
) -> None:
    model, data = new_model(), cs.ColdStartData(str(tiny_world.shards), str(tiny_world.factors))
    trainer = new_trainer(tmp_path)
    trainer.fit(model, data)
    (path,) = tmp_path.rglob("*.ckpt")
    assert torch.load(path, weights_only=True)["coldstart"]["facts"]
    assert cs.load(path).embed(data.shards).values.equal(model.embed(data.shards).values)


def test_a_run_s_folder_stands_for_its_best_checkpoint(python_run: PythonRun) -> None:
    by_path = cs.load(python_run.run / "checkpoints" / "best.ckpt")
    for name, value in python_run.model.state_dict().items():
        assert value.equal(by_path.state_dict()[name])
    with pytest.raises(cs.InputError, match=r"best\.ckpt is missing"):
        cs.load(python_run.world.shards)


def test_verbs_and_methods_agree(tiny_world: World, tmp_path: Path) -> None:
    data = {"data.shards": tiny_world.shards, "data.factors": tiny_world.factors}
    run = cs.fit(
        "mgp_genres.yaml",
        run=str(tmp_path / "run"),
        overrides={**data, "trainer.max_epochs": 1, "stages": 1},
    )
    model = cs.load(run)
    embedded, kept = model.embed(tiny_world.shards), predictions_of(open_run(run))
    assert embedded.track_ids == kept.track_ids
    assert embedded.values.equal(kept.values)
    where = (tiny_world.shards, tiny_world.factors)
    like, user = kept.track_ids[0], cs.Factors.load(tiny_world.factors).user_ids[0]
    verb = partial(cs.recommend, run=run, placement="either")  # a model alone has no ensemble
    assert model.recommend(*where, like=like) == verb(like=like)
    assert model.recommend(*where, user=user, k=3) == verb(user=user, k=3)


def test_a_fit_without_our_data_is_explained(tmp_path: Path) -> None:
    with pytest.raises(cs.InputError, match="ColdStartData"):
        new_trainer(tmp_path).fit(new_model(), [1])


def test_embedding_gives_every_track_a_direction(python_run: PythonRun) -> None:
    made = python_run.model.embed(cs.Shards(python_run.world.shards))
    assert len(set(made.track_ids)) == 60
    assert made.values.shape == (60, 8)
    torch.testing.assert_close(made.values.norm(dim=1), torch.ones(60))


def test_named_tracks_come_in_the_order_named(python_run: PythonRun) -> None:
    shards, everyone = python_run.world.shards, python_run.model.embed(python_run.world.shards)
    rows = [40, 3, 17]
    named = [everyone.track_ids[row] for row in rows]
    made = python_run.model.embed(shards, [*named, named[0]])
    assert made.track_ids == named
    torch.testing.assert_close(made.values, everyone.values[rows])
    assert python_run.model.embed(shards, named[1]).track_ids == [named[1]]
    with pytest.raises(cs.InputError, match="no track 'nobody'"):
        python_run.model.embed(shards, [*named, "nobody"])


def test_a_track_without_any_input_is_left_out(python_run: PythonRun, tmp_path: Path) -> None:
    names = cs.Shards(python_run.world.shards).info("mgp")["names"]
    tracks, mgp, shards = (tmp_path / name for name in ("tracks.csv", "mgp.csv", "shards"))
    tracks.write_text("track_id,title,artist,genres\na,A,X,rock\nb,B,X,\nc,C,X,\n")
    mgp.write_text(f"track_id,{','.join(names)}\nc,{','.join('1' for _ in names)}\n")
    cs.shard(tracks, out=shards, attributes={"mgp": str(mgp)}, workers=1)
    assert sorted(python_run.model.embed(shards).track_ids) == ["a", "c"]
    assert python_run.model.embed(shards, ["b", "c"]).track_ids == ["c"]
    with pytest.raises(cs.InputError, match="any of what the model reads"):
        python_run.model.embed(shards, "b")
    with pytest.raises(cs.InputError, match="nothing is known of track 'b'"):
        python_run.model.recommend(shards, like="b")


def test_embedding_is_without_dropout_and_leaves_the_model_in_its_mode(
    python_run: PythonRun,
) -> None:
    evaluating = python_run.model.embed(python_run.world.shards).values
    try:
        python_run.model.train()
        assert python_run.model.embed(python_run.world.shards).values.equal(evaluating)
        assert python_run.model.training
    finally:
        python_run.model.eval()


def test_a_model_that_is_not_fitted_says_so(tiny_world: World, tmp_path: Path) -> None:
    for use in (
        lambda: new_model().embed(tiny_world.shards),
        lambda: new_model().recommend(tiny_world.shards, like="t000000"),
        lambda: new_model().save_pretrained(tmp_path),
    ):
        with pytest.raises(cs.InputError, match="no layers yet"):
            use()


def test_a_vector_finds_its_track_and_a_track_not_itself(python_run: PythonRun) -> None:
    shards, embedded = python_run.world.shards, python_run.model.embed(python_run.world.shards)
    here: dict[str, Any] = {"embedded": embedded, "k": 60}
    track = embedded.track_ids[5]
    for vector in (embedded.values[5], embedded.values[5].numpy(), embedded.values[5].tolist()):
        first = python_run.model.recommend(shards, vector=vector, **here)[0]
        assert (first.rank, first.track_id, first.similarity) == (1, track, 1)
    found = python_run.model.recommend(shards, like=track, **here)
    assert len(found) == 59
    assert track not in {row.track_id for row in found}
    assert [row.rank for row in found] == list(range(1, 60))
    assert [row.similarity for row in found] == sorted((r.similarity for r in found), reverse=True)


def test_candidates_may_be_named(python_run: PythonRun) -> None:
    where = (python_run.world.shards, python_run.world.factors)
    ids = python_run.model.embed(python_run.world.shards).track_ids
    found = python_run.model.recommend(*where, like=ids[0], candidates=ids[:5])
    assert {row.track_id for row in found} == set(ids[1:5])
    with pytest.raises(cs.InputError, match="no track 'nobody'"):
        python_run.model.recommend(*where, like=ids[0], candidates=[ids[1], "nobody"])
    with pytest.raises(cs.InputError, match="no track of those named"):
        python_run.model.recommend(*where, like=ids[0], candidates=ids[:1])


def test_factors_tell_warm_from_cold_and_what_was_played(python_run: PythonRun) -> None:
    factors = cs.Factors.load(python_run.world.factors)
    warm = {t for t, folded in zip(factors.track_ids, factors.folded, strict=True) if not folded}
    user = factors.user_ids[0]
    played = {factors.track_ids[i] for i in factors.listens[0].indices} & warm
    for given in (factors, python_run.world.factors):
        cold = python_run.model.recommend(python_run.world.shards, given, user=user, k=60)
        assert cold
        assert not {row.track_id for row in cold} & warm
        known = python_run.model.recommend(
            python_run.world.shards, given, user=user, k=60, candidates="warm"
        )
        assert {row.track_id for row in known} == warm - played


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "name one query"),
        ({"like": "t000000", "user": "u00000"}, "name one query"),
        ({"like": "nobody"}, "no track 'nobody'"),
        ({"user": "u00000"}, "no user 'u00000' in the factors"),
        ({"vector": [1.0, 2.0]}, "needed are 8 finite numbers"),
        ({"vector": [float("nan")] * 8}, "needed are 8 finite numbers"),
        ({"vector": [0.0] * 8}, "needed are 8 finite numbers"),
        ({"like": "t000000", "k": 0}, "k is at least 1"),
        ({"like": "t000000", "candidates": "cool"}, "'cool' is none of"),
        ({"like": "t000000", "candidates": "warm"}, "no warm track"),
    ],
)
def test_recommend_says_what_is_wrong(
    python_run: PythonRun, question: dict[str, Any], message: str
) -> None:
    with pytest.raises(cs.InputError, match=message):
        python_run.model.recommend(python_run.world.shards, **question)


def test_other_factors_are_refused(python_run: PythonRun, tmp_path: Path) -> None:
    world = python_run.world
    listens = world.catalogue / "listens.parquet"
    other = cs.factorize(listens, out=tmp_path, splits=world.splits, factors=8, seed=7)
    with pytest.raises(cs.InputError, match="not those that the model was trained on"):
        python_run.model.recommend(world.shards, other, user=other.user_ids[0])
