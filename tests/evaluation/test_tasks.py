"""Warm and cold candidates together, against a slow and obvious ranking."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers import World, data_for
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from coldstart.commands.factorize import factorize
from coldstart.commands.fit import fit
from coldstart.encoders.attributes import MGP
from coldstart.errors import InputError
from coldstart.evaluation.evaluate import evaluate
from coldstart.evaluation.metrics import expected_at_random, expected_of_users
from coldstart.evaluation.tables import caption, spread_caption, spread_table
from coldstart.evaluation.tasks import Lengths, mixed_task, ranking_task
from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions
from coldstart.shards.reading import Shards
from coldstart.training.lightning_cli import lightning_cli


@pytest.fixture(scope="module")
def withheld(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny world, a fifth of its training listens withheld."""
    out = tmp_path_factory.mktemp("withheld") / "factors"
    log = tiny_world.catalogue / "listens.parquet"
    factorize(log, out=out, splits=tiny_world.splits, factors=8, hold_out=0.2)
    return tiny_world._replace(factors=out)


@pytest.fixture(scope="module")
def predicted(withheld: World) -> Predictions:
    """Something near the folded-in vectors, of lengths of its own."""
    made = Factors.load(withheld.factors)
    ids = [track["track_id"] for track in Shards(withheld.shards).all_tracks(["test"])]
    rows = made.rows(ids)
    vectors = torch.from_numpy(np.where((rows >= 0)[:, None], made.tracks[rows], 0)).float()
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    return Predictions(ids, vectors * torch.rand(len(ids), 1) * 9 + 0.01 * noise)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = vectors.norm(dim=1, keepdim=True)
    return vectors / length


@pytest.mark.parametrize("lengths", ["unit", "typical", "own"])
def test_figures_are_those_of_an_obvious_ranking(
    withheld: World, predicted: Predictions, lengths: Lengths
) -> None:
    made, cold = Factors.load(withheld.factors), predicted.track_ids
    assert made.withheld is not None
    log = pl.read_parquet(withheld.catalogue / "listens.parquet")
    warm = [t for t, folded in zip(made.track_ids, made.folded, strict=True) if not folded]
    vectors, theirs = predicted.values, torch.from_numpy(made.tracks[~made.folded])
    if lengths == "unit":
        vectors, theirs = unit(vectors), unit(theirs)
    elif lengths == "typical":
        val = torch.from_numpy(made.tracks[made.split == "val"])
        vectors = unit(vectors) * val.norm(dim=1).median()
    score = dict(zip([*cold, *warm], torch.cat([vectors, theirs]), strict=True))
    trained = {
        (made.user_ids[u], made.track_ids[t]) for u, t in np.argwhere(made.listens.toarray() > 0)
    } & {(u, t) for u in made.user_ids for t in warm}
    heard = {(u, t) for u, t, _ in log.iter_rows()}
    task = mixed_task(made, cold, lengths)
    (scored,) = task.scored(predicted.values, [torch.arange(len(cold))])
    shown = dict.fromkeys(score, 0)
    for number, user in enumerate(task.user_ids):
        taste = task.users[number]
        mine = [track for track in score if (user, track) not in trained]
        points = {track: float(score[track] @ taste) for track in mine}
        ranked = sorted(mine, key=points.__getitem__, reverse=True)
        relevant = [(user, track) in heard for track in ranked]
        assert sum(relevant) == task.relevant[[number]].nnz
        first, n = relevant[:20], min(sum(relevant), 20)
        assert scored.by_user[0, number] == pytest.approx(sum(first) / n)
        for part, tracks in enumerate((cold, warm)):
            inside = [hit and t in tracks for hit, t in zip(relevant, ranked, strict=True)]
            gain = [hit / np.log2(i + 2) for i, hit in enumerate(inside[:20])]
            ideal = sum(1 / np.log2(i + 2) for i in range(min(sum(inside), 20)))
            found = scored.parts[part, 1, number]
            assert found == pytest.approx(sum(gain) / ideal, abs=1e-5) if ideal else found.isnan()
        for track in ranked[:20]:
            shown[track] += 1
    assert scored.exposure.tolist() == list(shown.values())
    assert task.counts["warm_candidates"] == len(warm) == len(score) - len(cold)


def test_cosine_leaves_lengths_out_and_own_lengths_do_not(
    withheld: World, predicted: Predictions
) -> None:
    made, cold = Factors.load(withheld.factors), predicted.track_ids
    for lengths, same in (("unit", True), ("typical", True), ("own", False)):
        task = mixed_task(made, cold, lengths)  # type: ignore[arg-type]
        figures = [task.figures(unit(predicted.values) * factor) for factor in (0.01, 100.0)]
        assert torch.equal(*figures) is same, lengths


def test_without_anything_withheld_only_cold_tracks_are_relevant(
    tiny_world: World, predicted: Predictions
) -> None:
    made = Factors.load(tiny_world.factors)
    assert made.withheld is None
    task, alone = mixed_task(made, predicted.track_ids), ranking_task(made, predicted.track_ids)
    assert task.user_ids == alone.user_ids
    assert task.relevant.nnz == alone.relevant.nnz
    assert task.relevant[:, len(predicted.track_ids) :].nnz == 0
    among, by_themselves = task.figures(predicted.values), alone.figures(unit(predicted.values))
    assert (among[1] <= by_themselves[1] + 1e-6).all()


def test_a_track_that_was_factorised_is_not_cold(
    tiny_world: World, predicted: Predictions, tmp_path: Path
) -> None:
    log = tiny_world.catalogue / "listens.parquet"
    made = factorize(log, out=tmp_path, splits=tiny_world.splits, factors=8, strict=False)
    with pytest.raises(InputError, match="isn't cold"):
        mixed_task(made, predicted.track_ids)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 12), st.integers(0, 999))
def test_random_order_of_each_user_s_own_candidates(n: int, k: int, map_k: int, seed: int) -> None:
    truth = np.random.default_rng(seed).random((4, n)) < 0.4
    truth[:, 0] = True
    found = torch.from_numpy(truth.sum(1))
    exact = expected_at_random(found, torch.full((4,), n), k, map_k)
    other = expected_of_users(torch.zeros(n), csr_matrix(truth), k, map_k)
    torch.testing.assert_close(exact, other, rtol=0, atol=1e-9)


def test_the_mixed_table_has_its_floors_and_says_what_it_is(
    withheld: World, predicted: Predictions
) -> None:
    data = data_for(withheld, {"mgp": MGP(hidden=(4,))})
    about, rows, by_user = evaluate(
        predicted,
        None,
        lambda batch: batch.inputs["mgp"].values,
        data,
        "near truth",
        candidates="mixed",
    )
    named = {row.method.split(" (")[0]: row for row in rows}
    assert {"random", "popularity", "shuffled content", "ridge"} < set(named)
    assert len(by_user) == len(rows) * about["users"]
    ours, random, popular = rows[0], named["random"], named["popularity"]
    assert (ours.ndcg or 0) > (random.ndcg or 1)
    assert (ours.ndcg_cold or 0) > (named["shuffled content"].ndcg_cold or 1)
    assert ours.ndcg_head is None
    assert f"among {about['warm_candidates']} warm ones, by cosine" in caption(about)
    assert "left out of the ranking" in spread_caption(about)
    assert "NDCG@20 warm" in spread_table(rows)
    task = mixed_task(data.known_factors(), predicted.track_ids)
    drawn = []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        users = torch.randn(len(task.users), 400, generator=generator)
        own = torch.randn(task.relevant.shape[1], 400, generator=generator)
        assert task.warm is not None
        warm = task.warm._replace(vectors=own[len(predicted.track_ids) :], length=None)
        chance = task._replace(users=users, warm=warm)
        cold = own[: len(predicted.track_ids)]
        (scored,) = chance.scored(cold, [torch.arange(len(cold))])
        drawn.append([*scored.by_user.mean(1), *scored.parts[:, 1].nanmean(1)])
    mean = np.mean(drawn, axis=0)
    exact = [random.recall, random.ndcg, random.map, random.ndcg_cold, random.ndcg_warm]
    np.testing.assert_allclose(mean, np.array(exact, float), rtol=0.06)
    assert popular.cosine is None


def test_the_verb_writes_mixed_results_beside_the_others(withheld: World, tmp_path: Path) -> None:
    data = {"data.shards": withheld.shards, "data.factors": withheld.factors}
    run = fit("mgp.yaml", run=str(tmp_path / "run"), overrides={**data, "trainer.max_epochs": 1})
    lightning_cli("test", ["--run", str(run)])
    with pytest.raises(InputError, match="needs --candidates mixed"):
        lightning_cli("test", ["--run", str(run), "--lengths", "own"])
    flags = ["--candidates", "mixed", "--lengths", "typical", "--no-rivals"]
    lightning_cli("test", ["--run", str(run), *flags])
    cold, mixed = (
        json.loads((run / f"{name}.json").read_text()) for name in ("results", "results_mixed")
    )
    assert mixed["candidates"] == cold["candidates"] + mixed["warm_candidates"]
    assert mixed["lengths"] == "typical"
    assert "withheld" in mixed["protocol"]
    assert mixed["parts"]["warm"]["users"] > 0
    assert mixed["rows"][0]["ndcg_warm"] is not None
    for name, about in (("by_user", cold), ("results_mixed_by_user", mixed)):
        table = pl.read_parquet(run / f"{name}.parquet")
        ours = table.filter(method="coldstart")
        assert len(ours) == about["users"]
        assert ours["ndcg"].mean() == pytest.approx(about["rows"][0]["ndcg"], abs=1e-5)
