"""What lists are like: cases that can be counted by hand, and the same by plain loops."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from coldstart.evaluation.lists import (
    SMOOTHING,
    ListFigures,
    ListTraits,
    list_traits,
    mean_figures,
)
from coldstart.evaluation.tasks import ranking_task, with_traits
from coldstart.factors.factors import VERSION, Factors

Genres = Mapping[str, list[str]]
NAMES = ("folk", "jazz", "rock")
GENRES: Genres = {
    "a": ["rock"],
    "b": ["jazz", "rock"],
    "x": ["rock"],
    "y": ["jazz"],
    "z": ["folk", "jazz"],
}


def factors(listens: Sequence[Sequence[int]], training: int = 2) -> Factors:
    """Of tracks a, b, …, x, y, z, of which the first ones are training tracks."""
    tracks = [*"ab"[:training], *"xyzw"[: len(listens[0]) - training]]
    return Factors(
        track_ids=tracks,
        user_ids=[f"u{row}" for row in range(len(listens))],
        tracks=np.ones((len(tracks), 2), np.float32),
        users=np.ones((len(listens), 2), np.float32),
        folded=np.arange(len(tracks)) >= training,
        split=np.where(np.arange(len(tracks)) >= training, "test", "train"),
        listens=csr_matrix(np.array(listens, np.float32)),
        about={"version": VERSION, "factors": 2, "protocol": "strict"},
    )


def traits(
    made: Factors,
    cold: Sequence[str] = ("x", "y", "z"),
    k: int = 1,
    genres: Mapping[str, list[str]] = GENRES,
) -> ListTraits:
    users = np.arange(len(made.user_ids))
    return list_traits(made, made.rows(list(cold)), list(cold), users, genres, k)


# a b | x y z: 4, 1 and no listeners of 4.
LOG = [[1, 0, 1, 1, 0], [1, 3, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 0, 0]]


def test_novelty_popularity_and_serendipity_are_those_of_the_tracks_shown() -> None:
    found = traits(factors(LOG))
    assert found.surprise.tolist() == [0.0, 2.0, 2.0]  # nobody counts as one listener
    first, hits = torch.tensor([[0, 1], [1, 2], [0, 2]]), torch.tensor([[1, 1], [0, 0], [1, 0]]) > 0
    shown = torch.tensor([[1, 1], [1, 1], [1, 0]]) > 0
    novelty, popularity, _, _, serendipity = found.figures(first, hits, shown, slice(0, 3)).tolist()
    assert novelty == [1.0, 2.0, 0.0]
    assert popularity == pytest.approx([5 / 2 / (5 / 3), 1 / 2 / (5 / 3), 4 / (5 / 3)])
    assert serendipity == [0.5, 0.0, 0.0]  # x is the most played one


def test_diversity_is_the_distance_between_genres_of_which_some_are_unknown() -> None:
    found = traits(factors([[1, 1, 1, 1, 1, 1]]), "xyzw")
    first = torch.tensor([[0, 1, 2], [1, 2, 3], [0, 3, 3]])
    shown = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]]) > 0
    again = found._replace(tastes=csr_matrix(found.tastes.toarray().repeat(3, 0)))
    diversity = again.figures(first, shown, shown, slice(0, 3))[2]
    half = 1 - 2**-0.5  # between jazz, and folk with jazz
    assert diversity[:2].tolist() == pytest.approx([(1 + 1 + half) / 3, half])
    assert diversity[2].isnan()


def test_a_list_of_the_user_s_genres_is_calibrated() -> None:
    found = traits(factors([[1, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]))
    assert found.tastes.toarray().tolist() == [[0, 0, 1], [0, 0.25, 0.75], [0, 0, 0]]
    first = torch.tensor([[0], [1], [0]])
    every = torch.ones(3, 1, dtype=torch.bool)
    missed = found.figures(first, every, every, slice(0, 3))[3]
    assert missed[0] == pytest.approx(0, abs=1e-6)
    p, q = np.array([0.25, 0.75]), 0.99 * np.array([1.0, 0.0]) + SMOOTHING * np.array([0.25, 0.75])
    assert missed[1] == pytest.approx((p * np.log2(p / q)).sum(), rel=1e-5)
    assert missed[2].isnan()  # nobody knows what they like


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6))
def test_the_figures_are_those_of_plain_loops(seed: int, k: int, users: int) -> None:
    generator = np.random.default_rng(seed)
    names = ["a", "b", "x", "y", "z", "w"]
    genres = {
        track: list(generator.choice(NAMES, generator.integers(1, 4), False))
        for track in names
        if generator.random() < 0.8
    }
    made = factors(generator.integers(0, 2, (users, 6)).tolist())
    cold = names[2:]
    found = traits(made, cold, k, genres)
    k = min(k, 4)
    first = torch.tensor(np.array([generator.permutation(4)[:k] for _ in range(users)]))
    hits = torch.from_numpy(generator.random((users, k)) < 0.5)
    shown = torch.from_numpy(np.arange(k) < generator.integers(1, k + 1, (users, 1)))
    got = found.figures(first, hits, shown, slice(0, users))
    plays = made.listens.toarray() > 0
    for user in range(users):
        tracks = [cold[i] for i, there in zip(first[user], shown[user], strict=True) if there]
        known = [set(genres[track]) for track in tracks if track in genres]
        pairs = [1 - len(a & b) / (len(a) * len(b)) ** 0.5 for a, b in combinations(known, 2)]
        expected = np.mean(pairs) if pairs else np.nan
        assert float(got[2, user]) == pytest.approx(expected, abs=1e-6, nan_ok=True)
        liked = [genres[t] for t in ("a", "b") if t in genres and plays[user, names.index(t)]]
        p, q = (
            {
                g: sum(g in each and 1 / len(each) for each in lists) / len(lists)
                for g in ("rock", "jazz", "folk")
            }
            if lists
            else {}
            for lists in (liked, [genres[t] for t in tracks if t in genres])
        )
        divergence = np.nan
        if p and q:
            divergence = sum(
                p[g] * np.log2(p[g] / (0.99 * q[g] + SMOOTHING * p[g])) for g in p if p[g]
            )
        assert float(got[3, user]) == pytest.approx(divergence, abs=1e-5, nan_ok=True)
        listeners = [plays[:, names.index(track)].sum() for track in tracks]
        surprise = [-np.log2(max(count, 1) / users) for count in listeners]
        assert float(got[0, user]) == pytest.approx(np.mean(surprise), abs=1e-5)


def test_a_ranking_measures_its_lists_and_nobody_s_lists_have_no_figures() -> None:
    made = factors(LOG)
    task = with_traits(ranking_task(made, ["x", "y", "z"]), made, ["x", "y", "z"], GENRES)
    scored = task.scored(torch.tensor([[3.0, 0], [2, 0], [1, 0]]), [torch.arange(3)])[0]
    assert scored.lists.shape == (5, 3)  # of the users with a training listen
    assert mean_figures(scored.lists).popularity == pytest.approx(1.0)  # all three are shown
    assert task.sample(1).traits is None
    assert mean_figures(torch.zeros(0, 4)) == ListFigures()
    assert mean_figures(torch.full((5, 2), torch.nan)) == ListFigures()
