"""Cold starts among the training tracks: what is hidden has no part in what it is ranked by."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import World
from scipy.sparse import csr_matrix

from coldstart.commands.factorize import factorize
from coldstart.factors.factors import Factors
from coldstart.training.inner_folds import FOLDS, MOST_DRAWS, inner_folds


@pytest.fixture(scope="module")
def factors(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Factors:
    out = tmp_path_factory.mktemp("inner") / "factors"
    listens = tiny_world.catalogue / "listens.parquet"
    factorize(listens, out=out, splits=tiny_world.splits, factors=4, shrinkage=0.15, axes="scores")
    return Factors.load(out)


def training(factors: Factors) -> list[str]:
    return [t for t, folded in zip(factors.track_ids, factors.folded, strict=True) if not folded]


def test_each_track_is_hidden_once_in_each_division_and_with_its_group(factors: Factors) -> None:
    ids = training(factors)
    group = torch.arange(len(ids)) // 2
    folds = inner_folds(factors, ids, group)
    assert len(folds) == FOLDS * MOST_DRAWS  # for there are few tracks
    hidden = torch.stack([fold.hidden for fold in folds])
    assert (hidden.view(MOST_DRAWS, FOLDS, -1).sum(1) == 1).all()
    assert not torch.equal(hidden[:FOLDS], hidden[FOLDS : 2 * FOLDS])
    assert all((h[::2][: len(h) // 2] == h[1::2]).all() for h in hidden)
    assert all(not fold.vectors[fold.hidden].any() for fold in folds)
    assert all(fold.vectors[~fold.hidden].any(1).all() for fold in folds)


def test_what_a_hidden_track_s_listeners_do_changes_no_vector(factors: Factors) -> None:
    ids = training(factors)
    group = torch.arange(len(ids))
    (fold, *_) = inner_folds(factors, ids, group)
    # Its listeners play it more often, which weighs more in a factorisation that sees it.
    track = factors.row[ids[int(fold.hidden.nonzero()[0])]]
    plays = factors.listens.tolil()
    plays[:, track] = 50 * plays[:, track].toarray()

    (again, *_) = inner_folds(replace(factors, listens=csr_matrix(plays)), ids, group)
    assert torch.equal(again.hidden, fold.hidden)
    assert torch.equal(again.vectors, fold.vectors)


def test_a_truer_prediction_is_ranked_better(factors: Factors) -> None:
    ids = training(factors)
    for fold in inner_folds(factors, ids, torch.arange(len(ids))):
        true = torch.from_numpy(factors.tracks[factors.rows(ids)])
        # In the axes of all tracks' factorisation, turned to the fold's.
        turn = torch.linalg.lstsq(true[~fold.hidden], fold.vectors[~fold.hidden]).solution
        good = (true @ turn)[fold.hidden]
        noise = torch.randn(good.shape, generator=torch.Generator().manual_seed(0))
        assert fold.quality(good) > fold.quality(noise)
        assert 0 <= fold.quality(noise) <= 1


def test_ratings_and_too_few_tracks_give_no_fold(factors: Factors) -> None:
    ids = training(factors)
    assert inner_folds(factors, ids[:20], torch.arange(20)) == []
    about = factors.about | {"algorithm": "explicit"}
    assert inner_folds(replace(factors, about=about), ids, torch.arange(len(ids))) == []
    few = csr_matrix(factors.listens.multiply(np.arange(factors.listens.shape[0])[:, None] < 10))
    few.eliminate_zeros()
    assert inner_folds(replace(factors, listens=few), ids, torch.arange(len(ids))) == []
