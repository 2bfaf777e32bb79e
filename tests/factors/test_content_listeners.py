"""Listeners as content shows them: their vectors solved from what content predicts."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from variants import figures, fit_and_test

from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.commands.update import update
from coldstart.errors import InputError
from coldstart.factors.als import turned
from coldstart.factors.content_listeners import (
    PLAY,
    equations_of,
    mixed,
    solved,
    spread_ratio,
)
from coldstart.factors.factors import Factors
from coldstart.factors.listening import ContentListeners, Listening
from coldstart.factors.model_space import content_listeners, in_model_space, users_in
from coldstart.fusion.base import FoldListeners, InnerFold
from coldstart.fusion.choice import Among, Fitness, shares_by_ranking
from coldstart.fusion.kernel import Kernel
from coldstart.fusion.ridge import residuals, ridge
from coldstart.retrieval.recommender import Recommender
from coldstart.runs import listeners as stored
from coldstart.runs.run import open_run


def random_case(seed: int) -> tuple[csr_matrix, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    weights = csr_matrix(rng.random((7, 12)) * (rng.random((7, 12)) < 0.4), dtype=np.float32)
    return (
        weights,
        rng.normal(size=(12, 3)).astype(np.float32),
        rng.normal(size=(9, 3)).astype(np.float32),
    )


@given(st.integers(0, 50))
@settings(deadline=None, max_examples=15)
def test_a_vector_solves_the_equations_that_the_text_names(seed: int) -> None:
    weights, predicted, users = random_case(seed)
    predicted[3] = 0  # nothing is predicted of this one
    equations = equations_of(predicted, users)
    penalty = np.linalg.inv(users.T @ users / len(users))  # worth of the axes
    gram = predicted.T @ predicted
    penalty *= np.trace(gram @ users.T @ users / len(users)) / 3
    found = solved(weights, equations)
    for row, vector in zip(weights.toarray(), found, strict=True):
        played = np.flatnonzero((row > 0) & predicted.any(1))
        if not len(played):
            assert not vector.any()
            continue
        more = PLAY * row[played] / row[played].mean()
        left = gram + penalty + (predicted[played].T * more) @ predicted[played]
        right = ((1 + more)[:, None] * predicted[played]).sum(0)
        np.testing.assert_allclose(left @ vector, right, rtol=5e-3, atol=5e-3)


def test_scores_don_t_depend_on_the_axes() -> None:
    weights, predicted, users = random_case(1)
    turn = np.array([[2.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.1, 0.0, 0.5]])
    others = turned(predicted, turn), turned(users, np.linalg.inv(turn).T)
    scores = solved(weights, equations_of(predicted, users)) @ predicted.T
    found = solved(weights, equations_of(*others)) @ others[0].T
    np.testing.assert_allclose(found, scores, rtol=1e-3, atol=1e-3)


def test_more_axes_than_listeners_and_tracks_are_solved_too() -> None:
    rng = np.random.default_rng(0)
    wide, weights = rng.normal(size=(5, 64)), csr_matrix(np.ones((5, 4), np.float32))
    users = wide.astype(np.float32)
    predicted = (rng.normal(size=(4, 5)) @ wide).astype(np.float32)
    found = solved(weights, equations_of(predicted, users))
    assert np.isfinite(found).all()
    assert ((found @ predicted.T) > 0).all()  # they have played all of them
    assert not solved(weights, equations_of(0 * predicted, users)).any()


def test_both_parts_have_scores_of_one_spread() -> None:
    _, predicted, users = random_case(2)
    vectors = 5 * users[:, ::-1].copy()
    scale = spread_ratio(users, vectors, predicted)
    centred = predicted - predicted.mean(0)
    own, other = (users @ centred.T).std(), (scale * vectors @ centred.T).std()
    assert own == pytest.approx(other, rel=0.05)
    assert spread_ratio(users, np.zeros_like(users), predicted) == 0.0


def test_what_is_left_out_is_what_a_fit_without_the_group_misses() -> None:
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(9, 4)))
    kernel, truth = rows @ rows.T, torch.from_numpy(rng.normal(size=(9, 2)))
    group = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 5])
    inverse = torch.linalg.inv(kernel + 0.7 * torch.eye(9))
    fit = ridge(kernel, truth, [0.7], group)
    missed = residuals(fit.coefficients, group, lambda r: inverse[r[:, :, None], r[:, None, :]])
    for number in range(6):
        out = group == number
        some = torch.linalg.solve(
            kernel[~out][:, ~out] + 0.7 * torch.eye(int((~out).sum())), truth[~out]
        )
        torch.testing.assert_close(missed[out], truth[out] - kernel[out][:, ~out] @ some)
    assert float(missed.square().sum() / truth.square().sum()) == pytest.approx(fit.error)


def planted(noise: float) -> tuple[list[InnerFold], torch.Tensor]:
    """Tastes that content tells, and listeners' vectors that are theirs but for noise."""
    rng = np.random.default_rng(0)
    content = torch.from_numpy(rng.normal(size=(200, 6)))
    taste = rng.normal(size=(80, 6))
    played = torch.from_numpy((taste @ content.numpy().T) > 2.5)
    hidden = torch.arange(200) % 4 == 0
    vectors = content.float().clone()
    vectors[hidden] = 0
    plays = played.double()
    plays[:, hidden] = 0
    users = torch.from_numpy(taste + noise * rng.normal(size=taste.shape))

    def quality(scores: torch.Tensor) -> float:
        top = scores.topk(10, dim=1).indices
        return float(played[:, hidden].gather(1, top).double().mean())

    fold = InnerFold(hidden, vectors, lambda v: quality(users @ v.double().T))
    return [fold._replace(listeners=FoldListeners(users, plays, quality))], content @ content.T


def test_content_gets_a_share_where_it_knows_listeners_better() -> None:
    among = Among((1.0,), (), (0.2, 0.5, 1.0))
    group = torch.arange(200)
    folds, kernel = planted(noise=3.0)
    found = shares_by_ranking(folds, kernel, group, Fitness(0.0, 1.0), among)
    assert found.content == 1.0
    assert found.fitness.quality > folds[0].quality(kernel[::4][:, 1::4][:, :6] * 0) + 0.2
    folds, kernel = planted(noise=0.0)  # there is nothing to gain
    assert shares_by_ranking(folds, kernel, group, Fitness(0.5, 1.0), among).content == 0.0


class Tastes(NamedTuple):
    folder: Path
    taste: dict[str, np.ndarray]
    content: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> Tastes:
    """Content says all of what is liked, and listeners have played little: a factorisation knows
    their tastes badly.
    """
    folder = tmp_path_factory.mktemp("tastes")
    rng = np.random.default_rng(0)
    ids, users = [f"t{i:03d}" for i in range(400)], [f"u{u:03d}" for u in range(150)]
    content, taste = rng.normal(size=(400, 6)), rng.normal(size=(150, 6))
    odds = 1 / (1 + np.exp(6.0 - 1.5 * taste @ content.T))
    pairs = np.argwhere(rng.random(odds.shape) < odds)
    listens = {
        "user_id": [users[u] for u, _ in pairs],
        "track_id": [ids[t] for _, t in pairs],
        "plays": [1] * len(pairs),
    }
    pl.DataFrame(listens).write_parquet(folder / "listens.parquet")
    titles = [f"Song {i}" for i in range(400)]
    tracks = pl.DataFrame({"track_id": ids, "title": titles, "artist": titles})
    tracks.write_parquet(folder / "tracks.parquet")
    columns = {f"trait {j}": content[:, j] for j in range(6)}
    pl.DataFrame({"track_id": ids, **columns}).write_parquet(folder / "traits.parquet")
    split(folder / "tracks.parquet", out=folder / "splits.parquet", method="random")
    factorize(
        folder / "listens.parquet",
        out=folder / "factors",
        splits=folder / "splits.parquet",
        factors=32,
        axes="scores",
    )
    shard(
        folder / "tracks.parquet",
        out=folder / "shards",
        splits=folder / "splits.parquet",
        attributes={"mgp": str(folder / "traits.parquet")},
        modalities=[],
    )
    axes = "--model.fusion.axes=0"
    fit_and_test(folder, {"with": [axes], "without": [axes, "--model.fusion.content_shares=[]"]})
    return Tastes(
        folder,
        dict(zip(users, taste, strict=True)),
        dict(zip(ids, content, strict=True)),
    )


def test_new_tracks_are_ranked_better_where_content_knows_tastes(tastes: Tastes) -> None:
    better, plain = figures(tastes.folder / "with"), figures(tastes.folder / "without")
    assert better["coldstart"] > plain["coldstart"] + 0.002
    assert better["ridge"] == pytest.approx(plain["ridge"])  # rivals have the factors as they are
    assert open_run(tastes.folder / "without").model.listening.content is None


def content_of(run: Path) -> ContentListeners:
    content = open_run(run).model.listening.content
    assert content is not None
    assert 0 < content.share <= 1
    return content


def test_predictions_are_of_fits_that_have_not_seen_the_track(tastes: Tastes) -> None:
    content, factors = content_of(tastes.folder / "with"), Factors.load(tastes.folder / "factors")
    equations = content.equations
    known = equations.predicted.any(axis=1)
    assert int(known.sum()) > 300
    truth = factors.tracks[: len(equations.predicted)][known].astype(np.float64)
    truth -= truth.mean(0)
    # Back to the factors' axes: listeners' vectors go there by `back`, tracks' by its inverse.
    predicted = equations.predicted[known] @ np.linalg.pinv(equations.back).T
    missed = truth - (predicted - predicted.mean(0))
    explained = 1 - np.square(missed).sum() / np.square(truth).sum()
    assert 0.02 < explained < 0.9  # of what a fit has seen, it explains nearly all


def test_each_door_answers_from_the_same_vectors(tastes: Tastes) -> None:
    recommender = Recommender(tastes.folder / "with")
    user = next(iter(tastes.taste))
    best = recommender.for_user(user, k=5, why=True)
    for one in best:
        assert one.why is not None
        assert one.why.score == pytest.approx(one.similarity, abs=2e-3)
    (table,) = recommender.for_users([user], k=5)
    assert table["track_id"].to_list() == [one.track_id for one in best]
    taste = tastes.taste[user]
    assert np.mean([tastes.content[one.track_id] @ taste for one in best]) > 1


def test_who_likes_tracks_is_told_by_their_content_too(tastes: Tastes) -> None:
    recommender = Recommender(tastes.folder / "with")
    warm = recommender.catalogue.track_ids[: recommender.catalogue.warm]
    taste = next(iter(tastes.taste.values()))
    liked = sorted(warm, key=lambda track: -(tastes.content[track] @ taste))[:8]
    found = recommender.for_liked(liked, k=5)
    assert np.mean([tastes.content[one.track_id] @ taste for one in found]) > 1
    plain = Recommender(tastes.folder / "without").for_liked(liked, k=5)
    assert [one.similarity for one in found] != [one.similarity for one in plain]


def test_a_listener_who_comes_later_is_seen_by_content_too(tastes: Tastes, tmp_path: Path) -> None:
    factors = shutil.copytree(tastes.folder / "factors", tmp_path / "factors")
    known = Factors.load(factors)
    train = [t for t, split in zip(known.track_ids, known.split, strict=True) if split == "train"]
    taste = next(iter(tastes.taste.values()))
    played = sorted(train, key=lambda track: -(tastes.content[track] @ taste))[:10]
    events = pl.DataFrame({"user_id": ["newcomer"] * len(played), "track_id": played})
    stamped = events.with_columns(time=pl.lit("2026-01-01"), plays=pl.lit(1))
    stamped.write_parquet(tmp_path / "events.parquet")
    update(factors, listens=tmp_path / "events.parquet")
    found = Recommender(tastes.folder / "with", factors=str(factors)).for_user("newcomer", k=5)
    assert np.mean([tastes.content[one.track_id] @ taste for one in found]) > 1


def test_what_held_out_tracks_listeners_do_changes_nothing(tastes: Tastes) -> None:
    factors = Factors.load(tastes.folder / "factors")
    warm = int((~factors.folded).sum())
    predicted = factors.tracks[:warm] * np.float32(0.3)
    content = content_listeners(factors, predicted, 0.4)
    plays = factors.listens.toarray()
    plays[:, factors.folded] *= 50
    others = replace(factors, listens=csr_matrix(plays))
    again = content_listeners(others, predicted, 0.4)
    assert content.scale == again.scale
    both = Listening(None, content)
    np.testing.assert_array_equal(users_in(factors, both), users_in(others, both))


def test_a_share_mixes_both_vectors(tastes: Tastes) -> None:
    factors = Factors.load(tastes.folder / "factors")
    warm = int((~factors.folded).sum())
    content = content_listeners(factors, factors.tracks[:warm], 0.4)
    seen = in_model_space(factors, Listening(None, content))
    assert seen.narrow is factors
    alone = users_in(factors, Listening(None, content._replace(share=1.0)))
    np.testing.assert_allclose(seen.users, 0.6 * factors.users + 0.4 * alone, atol=1e-5)
    np.testing.assert_allclose(
        mixed(content._replace(share=0.0), factors.users, alone), factors.users
    )


def test_factors_of_other_tracks_are_refused(tastes: Tastes) -> None:
    factors = Factors.load(tastes.folder / "factors")
    content = content_listeners(factors, factors.tracks[: int((~factors.folded).sum())], 0.4)
    fewer = content.equations._replace(predicted=content.equations.predicted[:-1])
    with pytest.raises(InputError, match="don't belong together"):
        users_in(factors, Listening(None, content._replace(equations=fewer)))


def test_vectors_that_take_long_are_stored_once(
    tastes: Tastes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tastes.folder, tmp_path / "copy")
    run, factors = open_run(folder / "with"), Factors.load(folder / "factors")
    plain = stored.space_of(run, factors)
    assert not (folder / "with" / stored.FOLDER).exists()
    monkeypatch.setattr(stored, "LONG", 0.0)
    np.testing.assert_array_equal(stored.space_of(run, factors).users, plain.users)
    (file,) = (folder / "with" / stored.FOLDER).iterdir()
    monkeypatch.setattr(stored, "users_in", None)  # it isn't solved again
    np.testing.assert_array_equal(stored.space_of(run, factors).users, plain.users)
    monkeypatch.undo()
    monkeypatch.setattr(stored, "LONG", 0.0)
    file.write_bytes(b"damaged")
    np.testing.assert_array_equal(stored.space_of(run, factors).users, plain.users)
    more = replace(factors, listens=csr_matrix(factors.listens * 2))
    assert not np.array_equal(stored.space_of(run, more).users, plain.users)
    (other,) = (folder / "with" / stored.FOLDER).iterdir()  # of the log as it is now, alone
    assert other.name != file.name


def test_shares_must_be_shares() -> None:
    with pytest.raises(InputError, match="content_shares"):
        Kernel(content_shares=[0.0])
