"""Who is recommended: against hand-made cases, and expectations against all or many orders."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from coldstart.evaluation.exposure import Exposure, expected_exposure, exposure, thirds
from coldstart.evaluation.metrics import expected_parts, score_parts


def obvious_gini(times: list[int]) -> float:
    differences = [abs(a - b) for a in times for b in times]
    return sum(differences) / (2 * len(times) * sum(times))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any))
def test_gini_is_the_mean_difference_over_twice_the_mean(times: list[int]) -> None:
    made = exposure(torch.tensor(times))
    assert made.gini == pytest.approx(obvious_gini(times))
    assert made.coverage == pytest.approx(sum(t > 0 for t in times) / len(times))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any), st.randoms())
def test_thirds_go_by_share_and_not_by_how_tracks_are_stored(listens: list[int], random) -> None:  # type: ignore[no-untyped-def]
    counts = np.array(listens)
    part = thirds(counts).numpy()
    total = counts.sum()
    for number, track in enumerate(counts):
        above = counts[counts > track].sum()
        assert part[number] == int(above * 3 >= total) + int(above * 3 >= 2 * total)
    order = list(range(len(listens)))
    random.shuffle(order)
    assert thirds(counts[order]).tolist() == part[order].tolist()
    assert part[counts.argmax()] == 0


def test_a_planted_curve_is_cut_where_it_should_be() -> None:
    # 10 tracks with 100 listens, 100 with 10, 1,000 with 1: each kind has a third.
    curve = np.repeat([100, 10, 1], [10, 100, 1000])
    assert np.bincount(thirds(curve)).tolist() == [10, 100, 1000]
    assert thirds(np.zeros(3, int)).tolist() == [2, 2, 2]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 5))
def test_expected_exposure_is_the_mean_over_all_sets_of_first_places(
    levels: list[int], users: int, k: int
) -> None:
    n, k = len(levels), min(k, len(levels))
    cut = sorted(levels, reverse=True)[k - 1]
    one = [  # what may stand in one user's first k, each equally likely
        chosen
        for chosen in product((0, 1), repeat=n)
        if sum(chosen) == k
        and all(c for c, level in zip(chosen, levels, strict=True) if level > cut)
        and not any(c for c, level in zip(chosen, levels, strict=True) if level < cut)
    ]
    every = [
        exposure(torch.tensor(all_of_them).sum(0)) for all_of_them in product(one, repeat=users)
    ]
    exact = expected_exposure(torch.tensor(levels), users, k)
    assert exact.coverage == pytest.approx(np.mean([made.coverage for made in every]))
    assert exact.gini == pytest.approx(np.mean([made.gini for made in every]))


def test_expected_exposure_of_many_users_is_what_draws_give() -> None:
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(40):
        first = np.argpartition(generator.random((300, 80)), 20, axis=1)[:, :20]
        drawn.append(exposure(torch.from_numpy(np.bincount(first.ravel(), minlength=80))))
    exact = expected_exposure(torch.zeros(80), 300, 20)
    assert exact.gini == pytest.approx(np.mean([made.gini for made in drawn]), rel=0.03)
    assert expected_exposure(torch.zeros(100_000), 200_000, 20).coverage == pytest.approx(1)
    assert expected_exposure(torch.zeros(3), 0, 20) == Exposure(None, None)


def test_a_method_that_shows_everybody_the_hits_finds_the_head_alone() -> None:
    # Users 0–5 like the one hit, 6–8 each a track of the tail; hits are shown to all of them.
    relevant = csr_matrix(np.eye(4, dtype=int)[[0, 0, 0, 0, 0, 0, 1, 2, 3]])
    part = thirds(np.asarray(relevant.sum(0)).ravel())
    assert part.tolist() == [0, 2, 2, 2]
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0]).expand(9, 4)
    (made,) = score_parts(lambda rows: scores[rows], relevant, [torch.arange(4)], part, 3, k=1)
    head, middle, tail = made.parts.nanmean(2)
    assert head.tolist() == [1, 1]
    assert middle.isnan().all()
    assert tail.tolist() == [0, 0]
    assert made.parts[0].isnan().any(0).tolist() == [False] * 6 + [True] * 3
    assert made.exposure.tolist() == [9, 0, 0, 0]
    assert exposure(made.exposure) == Exposure(0.25, 0.75)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 8), st.integers(0, 10_000))
def test_parts_of_all_candidates_are_the_whole(n: int, users: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(users, n, generator=generator)
    truth = torch.rand(users, n, generator=generator) < 0.3
    truth[:, 0] = True
    relevant, deal = csr_matrix(truth.numpy()), torch.randperm(n, generator=generator)
    part = torch.zeros(n, dtype=torch.int64)
    made = score_parts(lambda rows: scores[rows], relevant, [deal], part, 2, k, k, seed)[0]
    assert torch.equal(made.parts[0], made.by_user[:2])
    assert made.parts[1].isnan().all()
    assert made.exposure.sum() == users * min(k, n)
    floor = expected_parts(torch.zeros(n), relevant, part, 2, k)
    assert ((floor[0] >= 0) & (floor[0] <= 1 + 1e-6)).all()
    assert floor[1].isnan().all()
