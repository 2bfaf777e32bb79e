"""How far a space has aged, and what a factorisation made anew would gain."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers import made_from, random_log
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.aging import (
    Age,
    Comparison,
    advice_of,
    age_of,
    compare_with_refit,
    expected_ndcg,
    ndcg_by_user,
    refitted,
)
from coldstart.factors.factors import Factors
from coldstart.factors.folding import fold_listens


def pairs(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame([(*r, 1.0) for r in rows], ["user_id", "track_id", "plays"], orient="row")


def test_what_came_since_is_counted(tmp_path: Path) -> None:
    log = random_log()
    base = made_from(tmp_path, log, None, hold_out=0.2)
    assert base.withheld is not None
    assert age_of(base, base).new_listens == 0
    known = log.row(0)[:2]
    folded = fold_listens(base, pairs(known, ("new", "also new"), ("new 2", "t00"))).factors
    assert age_of(base, folded) == Age(
        listens=len(log) + 2,
        new_listens=2,
        share=2 / (len(log) + 2),
        users=len(base.user_ids) + 2,
        new_users=2,
        users_without_vector=1,
        tracks=len(base.track_ids) + 1,
        new_tracks=1,
        tracks_without_vector=1,
    )


AGE = Age(1000, 50, 0.05, 10, 0, 0, 10, 0, 0)
COMPARISON = Comparison(20, 0, 500, 500, 100, 90, 800, 0.2, 0.2, 0.1, 0.01, 0.0, 0.01)


@pytest.mark.parametrize(
    ("share", "gain", "error", "refit", "reason"),
    [
        (0.05, None, 0, False, "5.0% of the listens came since the fit"),
        (0.11, None, 0, True, "11.0% of the listens came since the fit"),
        (0.05, 0.004, 0.001, False, "and a refit gains +0.4%"),
        (0.05, 0.04, 0.01, True, "a refit is ahead by 4.0% ± 1.0% in NDCG@20"),
        (0.05, 0.04, 0.03, False, "which 500 users can't tell from chance"),
        (0.11, 0.04, 0.03, True, "11.0% of the listens"),
    ],
)
def test_advice(share: float, gain: float | None, error: float, refit: bool, reason: str) -> None:
    comparison = None if gain is None else COMPARISON._replace(gain=gain, gain_error=error)
    advice = advice_of(AGE._replace(share=share), comparison)
    assert advice.refit == refit
    assert reason in advice.reason


def test_ndcg_leaves_out_what_was_played() -> None:
    scores = torch.tensor([[9.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    relevant = csr_matrix(np.array([[0, 0, 1, 0], [1, 0, 0, 1]], np.float32))
    played = csr_matrix(np.array([[5, 0, 0, 0], [0, 0, 0, 0]], np.float32))
    ndcg = ndcg_by_user(lambda rows: scores[rows].clone(), relevant, played, 2, 0)
    np.testing.assert_allclose(ndcg, [1 / np.log2(3), 1 / (1 + 1 / np.log2(3))])


def test_the_expectation_of_chance_is_the_mean_over_orders() -> None:
    generator = np.random.default_rng(0)
    relevant = csr_matrix(
        np.asarray(np.repeat([[1, 1, 0, 0, 0, 1, 0, 0, 0, 0]], 4000, 0), np.float32)
    )
    played = csr_matrix(
        np.asarray(np.repeat([[0, 0, 1, 1, 0, 0, 0, 0, 0, 0]], 4000, 0), np.float32)
    )
    scores = torch.from_numpy(generator.random((4000, 10)).astype(np.float32))
    mean = ndcg_by_user(lambda rows: scores[rows].clone(), relevant, played, 5, 0).mean()
    assert expected_ndcg(relevant, played, 5)[0] == pytest.approx(mean, abs=0.01)


def planted(blocks: int) -> pl.DataFrame:
    """60 users, each with one of some tastes, and 40 tracks of these."""
    generator = np.random.default_rng(0)
    same = np.arange(60)[:, None] % blocks == np.arange(40) % blocks
    chosen = generator.random(same.shape) < np.where(same, 0.8, 0.02)
    rows = [(f"u{u:02}", f"t{t:02}", 1) for u, t in np.argwhere(chosen)]
    return pl.DataFrame(rows, ["user_id", "track_id", "plays"], orient="row")


def test_a_space_that_lacks_a_taste_is_behind_a_refit(tmp_path: Path) -> None:
    log = planted(4).sample(fraction=1, shuffle=True, seed=0)
    last, before = log[:100], log[100:]
    options = {"factors": 4, "iterations": 15, "regularization": 1.0}
    # The factorisation knew two of four tastes: the others' users, folded in, are alike to it.
    old = before.filter(pl.col("track_id").str.slice(1).cast(pl.Int32) % 4 < 2)
    earlier = before.join(old, on=["user_id", "track_id"], how="anti")
    plays = pl.col("plays").cast(pl.Float64)
    base = made_from(tmp_path / "old", old, None, **options)
    aged = compare_with_refit(base, earlier.with_columns(plays), last.with_columns(plays))
    assert aged.refit > aged.folded * 1.05
    assert aged.gain == pytest.approx(aged.refit / aged.folded - 1)
    assert aged.random < aged.refit
    assert aged.popularity < aged.refit
    assert (aged.k, aged.seed, aged.candidates) == (20, 0, 40)
    assert aged.users == aged.users_of <= last["user_id"].n_unique()
    # One that was made of the very listens is level with it.
    base = made_from(tmp_path / "new", before, None, **options)
    fresh = compare_with_refit(base, before[:0].with_columns(plays), last.with_columns(plays))
    assert fresh.gain == 0
    assert fresh == compare_with_refit(
        base, before[:0].with_columns(plays), last.with_columns(plays)
    )
    assert fresh.listens == len(last)
    assert fresh.refit == pytest.approx(aged.refit, rel=0.1)


def test_a_refit_is_the_factorisation_of_all_listens(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        "track_id,split\n"
        + "".join(f"t{i:02},{'train' if i < 30 else 'test'}\n" for i in range(40))
    )
    log = planted(4)
    base = made_from(tmp_path / "old", log[:500], tmp_path / "s.csv")
    folded = fold_listens(base, log[500:].cast({"plays": pl.Float64})).factors
    refit = refitted(folded)
    made = made_from(tmp_path / "new", log, tmp_path / "s.csv")
    order = [made.row[track] for track in refit.track_ids]
    users = [made.user_ids.index(user) for user in refit.user_ids]
    scores = made.users[users] @ made.tracks[order].T
    # The random start is by place, so the vectors aren't the same; nearly the same are scores.
    ours = refit.users @ refit.tracks.T
    assert np.corrcoef(scores.ravel(), ours.ravel())[0, 1] > 0.98
    np.testing.assert_array_equal(made.folded[order], refit.folded)


def test_users_are_drawn_if_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coldstart.factors.aging.MAX_USERS", 10)
    log = planted(4).cast({"plays": pl.Float64}).sample(fraction=1, shuffle=True, seed=0)
    base = made_from(tmp_path, log[100:], None)
    figures = [compare_with_refit(base, log[:0], log[:100], seed) for seed in (0, 0, 1)]
    assert (figures[0].users, figures[0].users_of > 10) == (10, True)
    assert figures[0] == figures[1] != figures[2]


def test_nothing_to_compare_by_is_refused(tmp_path: Path) -> None:
    log = random_log()
    base: Factors = made_from(tmp_path, log, None)
    for last in (pairs(log.row(0)[:2]), pairs(("new", "t00")), pairs(("u00", "new"))):
        with pytest.raises(InputError, match="nothing to compare by"):
            compare_with_refit(base, last[:0], last)
