"""Ranking figures against slow and obvious versions of themselves."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from coldstart.evaluation.metrics import expected_figures, rank_and_score


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores [U, N] and relevance [U, N] with at least one relevant track a user."""
    users, tracks = draw(st.integers(1, 5)), draw(st.integers(2, 30))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    scores = np.stack([generator.permutation(tracks) for _ in range(users)]).astype(np.float32)
    relevant = generator.random((users, tracks)) < draw(st.floats(0.05, 0.9))
    relevant[np.arange(users), generator.integers(0, tracks, users)] = True
    return scores - tracks / 2, relevant


def obvious(scores: np.ndarray, relevant: np.ndarray, k: int, map_k: int) -> tuple[float, ...]:
    recalls, gains, precisions = [], [], []
    for s, r in zip(scores, relevant, strict=True):
        ranked = r[np.argsort(-s)]
        n = int(r.sum())
        recalls.append(ranked[:k].sum() / min(n, k))
        ideal = sum(1 / np.log2(i + 2) for i in range(min(n, k)))
        gains.append(sum(hit / np.log2(i + 2) for i, hit in enumerate(ranked[:k])) / ideal)
        hits = [ranked[: i + 1].mean() for i in range(min(map_k, len(s))) if ranked[i]]
        precisions.append(sum(hits) / min(n, map_k))
    return float(np.mean(recalls)), float(np.mean(gains)), float(np.mean(precisions))


def figures(scores: np.ndarray, relevant: np.ndarray, k: int, map_k: int) -> tuple[float, ...]:
    table = torch.from_numpy(scores)
    return tuple(rank_and_score(lambda rows: table[rows], csr_matrix(relevant), k, map_k))


@settings(deadline=None, max_examples=60)
@given(rankings(), st.integers(1, 12), st.integers(1, 40))
def test_figures_equal_the_obvious_computation(
    case: tuple[np.ndarray, np.ndarray], k: int, map_k: int
) -> None:
    np.testing.assert_allclose(figures(*case, k, map_k), obvious(*case, k, map_k), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(rankings(), st.sampled_from([-100.0, 7.0, 1000.0]))
def test_adding_a_constant_changes_nothing(
    case: tuple[np.ndarray, np.ndarray], constant: float
) -> None:
    scores, relevant = case
    shifted = (scores + np.float32(constant)).astype(np.float32)
    assert figures(scores, relevant, 5, 20) == figures(shifted, relevant, 5, 20)


@settings(deadline=None, max_examples=40)
@given(rankings())
def test_figures_lie_between_0_and_1_and_a_perfect_ranking_gets_1(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, relevant = case
    assert all(0 <= figure <= 1 for figure in figures(scores, relevant, 5, 20))
    perfect = figures(relevant.astype(np.float32), relevant, 5, 20)
    np.testing.assert_allclose(perfect, 1, atol=1e-6)


def test_a_constant_score_ranks_like_chance_wherever_the_relevant_tracks_are_stored() -> None:
    relevant = np.zeros((1, 1000), dtype=bool)
    relevant[0, :20] = True
    scores = np.zeros((1, 1000), dtype=np.float32)
    draws = [
        rank_and_score(
            lambda rows: torch.from_numpy(scores)[rows], csr_matrix(relevant), 20, 500, seed=seed
        ).recall
        for seed in range(50)
    ]
    assert 0.005 < np.mean(draws) < 0.05  # 20 of 1,000: 0.02 by chance


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=6),
    st.integers(1, 7),
    st.integers(1, 7),
    st.data(),
)
def test_expected_figures_are_the_mean_over_all_orders(
    levels: list[int], k: int, map_k: int, data: st.DataObject
) -> None:
    n = len(levels)
    subsets = st.sets(st.integers(0, n - 1), min_size=1)
    users = data.draw(st.lists(subsets, min_size=1, max_size=3))
    relevant = np.array([[i in user for i in range(n)] for user in users])
    level = np.array(levels)
    every = [
        obvious(np.tile(level + np.array(order) / n, (len(users), 1)), relevant, k, map_k)
        for order in permutations(range(n))
    ]
    exact = expected_figures(torch.from_numpy(level), csr_matrix(relevant), k, map_k)
    assert exact == pytest.approx(np.mean(every, axis=0), abs=1e-9)


def test_nobody_to_rank_for_has_no_figures() -> None:
    nobody = csr_matrix(np.zeros((0, 3), np.int8))
    assert np.isnan(expected_figures(torch.zeros(3), nobody)).all()
    assert np.isnan(rank_and_score(lambda rows: torch.zeros(0, 3), nobody)).all()
