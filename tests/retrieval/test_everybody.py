"""Lists for many listeners are those that each would get alone."""

import numpy as np
import polars as pl
import pytest
from planted import planted

from coldstart.errors import InputError
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.everybody import blocks
from coldstart.retrieval.picks import AS_SCORED, Mix
from coldstart.retrieval.query import answer, listener
from coldstart.retrieval.selection import select


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("mix", [AS_SCORED, Mix(per_artist=1), Mix(2, 0.3)])
@pytest.mark.parametrize("candidates", ["cold", "warm", "all"])
def test_a_batch_agrees_with_single_queries(mix: Mix, candidates: str, by_length: bool) -> None:
    catalogue = planted(by_length=by_length)
    selection = select(catalogue, candidates)
    batch = pl.concat(list(blocks(catalogue, None, selection, 5, mix, block_mb=1)))
    for user in catalogue.known_factors().user_ids[:-1]:
        alone = answer(catalogue, listener(catalogue, user), selection, 5, mix)
        rows = batch.filter(pl.col("user_id") == user)
        assert rows["track_id"].to_list() == [each.track_id for each in alone]
        assert rows["rank"].to_list() == [each.rank for each in alone]
        assert rows["by"].to_list() == [each.by for each in alone]
        np.testing.assert_allclose(rows["score"], [each.similarity for each in alone], atol=1e-4)


def test_nothing_that_was_played_is_recommended() -> None:
    catalogue = planted()
    batch = pl.concat(list(blocks(catalogue, None, select(catalogue, "all"), 40)))
    factors = catalogue.known_factors()
    for row, user in enumerate(factors.user_ids):
        played = {factors.track_ids[i] for i in factors.listens[row].indices}
        ids = set(batch.filter(pl.col("user_id") == user)["track_id"])
        assert ids == set(catalogue.track_ids) - played


def test_a_listener_without_taste_gets_what_people_like() -> None:
    catalogue = planted()
    selection = select(catalogue, "cold")
    batch = pl.concat(list(blocks(catalogue, ["u11", "u00"], selection, 3)))
    assert batch["user_id"].to_list() == ["u11"] * 3 + ["u00"] * 3
    assert batch["taste"].to_list() == ["average"] * 3 + ["own"] * 3
    mean = catalogue.users[:-1].mean(0)
    best = (catalogue.directions[20:] @ mean).argmax()
    assert batch["track_id"][0] == catalogue.track_ids[20 + int(best)]
    assert (
        pl.concat(list(blocks(catalogue, None, selection, 3, fallback=False)))["user_id"].n_unique()
        == 11
    )


def test_blocks_of_any_size_give_the_same() -> None:
    catalogue: Catalogue = planted(tracks=400, users=50)
    selection = select(catalogue, "all")
    whole = pl.concat(list(blocks(catalogue, None, selection, 7)))
    small = list(blocks(catalogue, None, selection, 7, block_mb=0))
    assert len(small) == 50
    assert pl.concat(small).drop("score").equals(whole.drop("score"))


def test_an_unknown_listener_is_named() -> None:
    catalogue = planted()
    with pytest.raises(InputError, match=r"no user 'x' in the factors \(1 of the 2"):
        list(blocks(catalogue, ["u00", "x"], select(catalogue), 3))
