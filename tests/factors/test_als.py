"""ALS: what it solves, checked against the equations."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from helpers import Log, cosines, made_from
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from coldstart.factors.als import (
    explicit_als,
    fold_in,
    implicit_als,
    noise_level,
    score_axes,
    turned,
)

ALGORITHMS = ["implicit", "explicit"]
plays = pl.col("plays")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_do_not_change_a_bit(tmp_path: Path, algorithm: str) -> None:
    generator = np.random.default_rng(0)
    dense = np.where(generator.random((300, 400)) < 0.05, generator.random((300, 400)), 0)
    matrix = csr_matrix(dense.astype(np.float32))
    options: dict[str, Any] = {"factors": 16, "regularization": 0.1, "iterations": 3, "seed": 0}
    als = implicit_als if algorithm == "implicit" else explicit_als
    made = []
    for threads in (1, 2, None):
        with threadpool_limits(threads):
            made.append([part.tobytes() for part in als(matrix, **options)])
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_folding_in_a_training_track_gives_its_factorised_vector(
    tiny_log: Log, tmp_path: Path, algorithm: Literal["implicit", "explicit"]
) -> None:
    log, splits, _ = tiny_log
    made = made_from(
        tmp_path, log, splits, algorithm=algorithm, iterations=50, regularization=0.5, alpha=1.0
    )
    rows = made.listens[:, ~made.folded].T.tocsr()
    if algorithm == "implicit":
        rows.data = 1 + np.log1p(rows.data)
    again = fold_in(rows, made.users, 0.5, algorithm)
    assert (np.diag(cosines(again, made.tracks[~made.folded])) > 0.99).all()


@pytest.mark.parametrize("weighting", ["log", "linear"])
def test_a_folded_vector_solves_the_paper_s_normal_equations(
    tiny_log: Log, tmp_path: Path, weighting: str
) -> None:
    log, splits, _ = tiny_log
    made = made_from(tmp_path, log, splits, weighting=weighting, alpha=3.0, regularization=0.2)
    y = made.users.astype(np.float64)
    for row in np.flatnonzero(made.folded):
        r = made.listens[:, [row]].toarray().ravel().astype(np.float64)
        weight = 3.0 * (1 + np.log1p(r)) if weighting == "log" else 1 + 3.0 * r
        c, p = np.where(r > 0, weight, 1.0), (r > 0).astype(float)
        expected = np.linalg.solve((y.T * c) @ y + 0.2 * np.eye(made.dim), y.T @ (c * p))
        np.testing.assert_allclose(made.tracks[row], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tracks_of_one_block_of_listeners_lie_together(tmp_path: Path, algorithm: str) -> None:
    # Two fifths of the plays inside a block are missing; half the tracks of each are held out.
    generator = np.random.default_rng(0)
    users, tracks, blocks = 60, 40, 4
    same = np.arange(users)[:, None] % blocks == np.arange(tracks) % blocks
    rows = [
        (f"u{u:02}", f"t{t:02}", 5 if same[u, t] else 1)
        for u, t in np.argwhere(generator.random(same.shape) < np.where(same, 0.6, 0.05))
    ]
    log = pl.DataFrame(rows, ["user_id", "track_id", "plays"], orient="row")
    sides = pl.DataFrame({"track_id": [f"t{t:02}" for t in range(tracks)]}).with_columns(
        split=pl.Series(["train"] * (tracks // 2) + ["test"] * (tracks // 2))
    )
    sides.write_csv(tmp_path / "splits.csv")
    made = made_from(
        tmp_path, log, tmp_path / "splits.csv", algorithm=algorithm, factors=4, iterations=20
    )
    block = np.array([int(track[1:]) % blocks for track in made.track_ids])
    near = cosines(made.tracks, made.tracks)
    np.fill_diagonal(near, -2)
    assert near.shape == (40, 40)
    assert (block[near.argmax(1)] == block).mean() > 0.95


def test_explicit_als_recovers_a_low_rank_matrix_from_a_part_of_it() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(80, 3)) @ generator.normal(size=(60, 3)).T
    seen = generator.random(truth.shape) < 0.4
    assert (truth[seen] < 0).any()
    ratings = csr_matrix(np.where(seen, truth, 0).astype(np.float32))
    tracks, users = explicit_als(ratings, factors=3, regularization=1e-4, iterations=60, seed=0)
    error = (users @ tracks.T - truth)[~seen]
    assert np.sqrt((error**2).mean()) < 0.02 * truth.std()


def test_a_rating_of_zero_was_observed(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": list("aabb"), "track_id": list("xyxy"), "plays": [0, 1, 2, -1]})
    made = made_from(tmp_path, log, None, algorithm="explicit", factors=2, regularization=1e-6)
    assert made.listens.nnz == 4
    np.testing.assert_allclose(made.users @ made.tracks.T, [[0, 1], [2, -1]], atol=0.02)


def test_explicit_regularisation_counts_once_for_every_rating() -> None:
    # One user, one factor, tracks fixed: p = Σ q r / (Σ q² + n λ).
    users = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    ratings = csr_matrix(np.array([[2.0, 0.0, -1.0]], dtype=np.float32))
    (vector,) = fold_in(ratings, users, 0.5, "explicit")
    assert vector == pytest.approx((1 * 2 - 3 * 1) / (1 + 9 + 2 * 0.5))


@given(st.integers(0, 10_000))
def test_score_axes_keep_scores_and_make_distances_those_of_scores(seed: int) -> None:
    generator = np.random.default_rng(seed)
    tracks = generator.normal(size=(5, 3)).astype(np.float32)
    users = (generator.normal(size=(9, 3)) * [1, 5, 0.1]).astype(np.float32)
    axes = score_axes(users)
    new, by = turned(tracks, axes.tracks), turned(users, axes.users)
    np.testing.assert_allclose(by @ new.T, users @ tracks.T, rtol=1e-3, atol=1e-3)
    differ = users @ (tracks[0] - tracks[1])
    np.testing.assert_allclose(
        np.square(new[0] - new[1]).sum(), np.square(differ).mean(), rtol=1e-3
    )


def test_axes_that_no_user_has_become_zero() -> None:
    users = np.array([[1, 0], [2, 0]], np.float32)
    axes = score_axes(users)
    new, by = turned(np.array([[1, 7]], np.float32), axes.tracks), turned(users, axes.users)
    assert new[0, 1] == 0
    np.testing.assert_allclose(by @ new.T, [[1], [2]], rtol=1e-5)


def test_the_noise_level_is_that_of_random_signs() -> None:
    generator = np.random.default_rng(0)
    confidence = csr_matrix(np.where(generator.random((400, 300)) < 0.2, 3.0, 0.0))
    signed = confidence.copy()
    signed.data *= generator.choice([-1, 1], signed.nnz)
    largest = np.linalg.svd(signed.toarray(), compute_uv=False)[0]
    assert noise_level(confidence) == pytest.approx(largest, rel=0.1)
