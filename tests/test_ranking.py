"""Ranking: the first places, and the order of equals."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from coldstart.evaluation.metrics import means, rank_and_score, score_users
from coldstart.ranking import dot_scores, top_k


def figures(scores: np.ndarray, relevant: np.ndarray, k: int, map_k: int) -> tuple[float, ...]:
    table = torch.from_numpy(scores)
    return tuple(rank_and_score(lambda rows: table[rows], csr_matrix(relevant), k, map_k))


def test_blocks_do_not_change_the_ranking() -> None:
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 8, generator=generator) for n in (300, 2000))
    score = dot_scores(users, items)
    whole = torch.cat([best for _, best in top_k(score, 300, 2000, 50, block_mb=100)])
    parts = torch.cat([best for _, best in top_k(score, 300, 2000, 50, block_mb=1)])
    expected = (users @ items.T).argsort(dim=1, descending=True)[:, :50]
    assert torch.equal(whole, parts)
    assert torch.equal(whole, expected)


def test_top_k_of_many_equal_scores_has_no_track_twice() -> None:
    coarse = torch.randint(0, 3, (20, 5000), generator=torch.Generator().manual_seed(1)).float()
    (_, best), *_ = top_k(lambda rows: coarse[rows], 20, 5000, 100)
    assert all(len(set(row.tolist())) == 100 for row in best)
    assert torch.equal(coarse.gather(1, best), coarse.sort(1, descending=True).values[:, :100])


@settings(deadline=None, max_examples=40)
@given(st.integers(100, 400), st.integers(1, 12), st.integers(2, 40), st.integers(0, 1000))
def test_equal_scores_stand_in_one_random_order_wherever_the_limit_cuts(
    tracks: int, k: int, levels: int, seed: int
) -> None:
    scores = torch.randint(0, levels, (7, tracks), generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(tracks, generator=torch.Generator().manual_seed(seed))
    naive = order[scores[:, order].argsort(dim=1, descending=True, stable=True)[:, :k]]
    table = scores.float()
    (_, best), *_ = top_k(lambda rows: table[rows], 7, tracks, k, seed=seed)
    assert torch.equal(best, naive)


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 200), st.integers(1, 4), st.integers(2, 60), st.integers(0, 1000))
def test_dealing_ranked_columns_is_ranking_dealt_ones(
    tracks: int, k: int, levels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (6, tracks), generator=generator).float()
    truth = torch.rand(6, tracks, generator=generator) < 0.1
    truth[:, 0] = True
    relevant = csr_matrix(truth.numpy())
    deals = [torch.randperm(tracks, generator=generator) for _ in range(3)]
    dealt = score_users(lambda rows: scores[rows], relevant, deals, k, k, seed)
    for deal, figures in zip(deals, map(means, dealt), strict=True):
        one = rank_and_score(scores[:, deal].__getitem__, relevant, k, k, seed)
        assert figures == one
