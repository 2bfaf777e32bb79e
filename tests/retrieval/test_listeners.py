"""Whom a track suits, beside the lists themselves."""

import numpy as np
import pytest
from helpers import Fitted

import coldstart as cs
from coldstart.errors import InputError


@pytest.fixture(scope="module")
def recommender(mgp_genres: Fitted) -> cs.Recommender:
    return cs.Recommender(mgp_genres.run, placement="either")


def test_a_listener_s_place_is_that_of_their_own_list(recommender: cs.Recommender) -> None:
    catalogue = recommender.catalogue
    factors = catalogue.known_factors()
    track = catalogue.track_ids[catalogue.warm]
    found = recommender.listeners(track, k=1000, candidates="all")
    known = [factors.user_ids[row] for row in np.flatnonzero(catalogue.has_taste)]
    assert sorted(listener.user_id for listener in found) == sorted(known)
    order = [(listener.place, -listener.score) for listener in found]
    assert order == sorted(order)
    column = factors.rows([track])[0]
    for listener in (found[0], found[len(found) // 2], found[-1]):
        row = catalogue.user_row[listener.user_id]
        scores = catalogue.scoring @ catalogue.users[row]
        assert listener.place == 1 + int((scores > scores[catalogue.row[track]]).sum())
        assert listener.heard == bool(column >= 0 and factors.listens[row, column])


def test_the_choice_of_candidates_counts_and_blocks_do_not(
    recommender: cs.Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = recommender.catalogue.track_ids[-1]
    among_all = recommender.listeners(track, k=5, candidates="all")
    assert len(among_all) == 5
    alone = recommender.listeners(track, k=5, candidates=[track])
    assert {listener.place for listener in alone} == {1}
    monkeypatch.setattr("coldstart.retrieval.listeners.BLOCK_MB", 1e-6)  # a listener at a time
    one_by_one = recommender.listeners(track, k=5, candidates="all")
    assert [each[:2] for each in one_by_one] == [each[:2] for each in among_all]


def test_what_cannot_be_asked_is_refused(recommender: cs.Recommender) -> None:
    with pytest.raises(InputError, match="no track 'nope'"):
        recommender.listeners("nope")
    with pytest.raises(InputError, match="k is at least 1"):
        recommender.listeners(recommender.catalogue.track_ids[0], k=0)
