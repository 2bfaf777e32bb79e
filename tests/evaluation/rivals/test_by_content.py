"""Rivals by content, ours and other packages', find a planted taste."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers import USERS, planted_taste
from scipy.sparse import csr_matrix

from coldstart.evaluation.metrics import rank_and_score
from coldstart.evaluation.rivals import packages
from coldstart.evaluation.rivals.by_content import (
    CONTENT_RIVALS,
    ListenerSpace,
    Matrix,
    Problem,
    Rival,
    item_neighbours,
    matrix_scores,
    nearest,
    profile,
)
from coldstart.evaluation.rivals.features import features


class Planted(NamedTuple):
    """A problem, and the truth of its candidates."""

    problem: Problem
    relevant: csr_matrix


@pytest.fixture(scope="module")
def taste() -> Planted:
    tags, plays = planted_taste()
    train, val, test = slice(0, 80), slice(80, 100), slice(100, 120)
    rows = np.flatnonzero((plays[:, val] > 0).any(1))

    def quality(users: Matrix, items: Matrix) -> float:
        return rank_and_score(matrix_scores(users[rows], items), csr_matrix(plays[rows, val])).ndcg

    content = torch.from_numpy(tags)
    problem = Problem(
        csr_matrix(plays[:, train].astype(np.float32)),
        content[train],
        content[val],
        content[test],
        quality,
        True,
    )
    return Planted(problem, csr_matrix(plays[:, test] > 0))


def reached(space: ListenerSpace, relevant: csr_matrix) -> float:
    rows = np.flatnonzero(np.diff(relevant.indptr))
    return rank_and_score(
        matrix_scores(space.users[rows], space.test), relevant[rows], k=5, seed=1
    ).ndcg


def finds_the_taste(rival: Rival, taste: Planted) -> ListenerSpace:
    space = rival(taste.problem, 0)
    lots = torch.randn(USERS, 20, generator=torch.Generator().manual_seed(0))
    by_chance = reached(ListenerSpace(lots, torch.eye(20), None, ""), taste.relevant)
    assert reached(space, taste.relevant) > by_chance + 0.2
    assert space.warm is not None
    assert space.warm.shape == (80, space.test.shape[1])
    assert space.chosen
    again = rival(taste.problem, 0)
    assert reached(again, taste.relevant) == reached(space, taste.relevant)
    return space


@pytest.mark.parametrize("name", CONTENT_RIVALS)
def test_content_rivals_find_a_planted_taste(name: str, taste: Planted) -> None:
    finds_the_taste(CONTENT_RIVALS[name][1], taste)


@pytest.mark.parametrize("name", packages.OTHERS)
def test_other_people_s_rivals_find_it_too(name: str, taste: Planted) -> None:
    pytest.importorskip(packages.OTHERS[name].module)
    space = finds_the_taste(packages.OTHERS[name].rival, taste)
    assert isinstance(space.users, torch.Tensor)
    assert space.users.isfinite().all()


def test_all_neighbours_are_one_dot_product(taste: Planted) -> None:
    known = torch.nn.functional.normalize(taste.problem.train, dim=1)
    asked = torch.nn.functional.normalize(taste.problem.test, dim=1)
    listens = csr_matrix(taste.problem.listens)
    near = matrix_scores(listens, nearest(known, asked, len(known)))(slice(0, 9))
    users = torch.from_numpy(listens @ known.numpy())
    torch.testing.assert_close(near, matrix_scores(users, asked)(slice(0, 9)))


def test_a_feature_that_all_tracks_have_weighs_nothing() -> None:
    both = torch.tensor([[1.0, 1.0], [3.0, 0.0], [torch.nan, 0.0], [2.0, 0.0]])
    idf = features(both + 1, both)["idf"]
    assert idf[0][:, 1].tolist() == pytest.approx([np.log(5 / 2), 0, 0, 0])
    assert all(part.isfinite().all() for part in idf)
    everywhere = features(torch.tensor([[0.0], [1.0], [1.0], [1.0]]))["idf"]
    assert everywhere[0].max() == pytest.approx(np.log(5 / 4))


def test_listens_without_content_and_content_without_listens_do_no_harm(taste: Planted) -> None:
    content = taste.problem.train.clone()
    content[::2] = torch.nan
    listens = csr_matrix(taste.problem.listens)
    listens[3] = 0
    listens.eliminate_zeros()
    problem = taste.problem._replace(train=content, listens=listens)
    for rival in (profile, item_neighbours):
        scores = matrix_scores(rival(problem, 0).users, rival(problem, 0).test)
        assert scores(slice(0, USERS)).isfinite().all()
