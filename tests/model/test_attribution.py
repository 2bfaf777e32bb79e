"""Shapley values keep their axioms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart.model.attribution import shapley, subsets


def games(players: str) -> st.SearchStrategy[dict[frozenset[str], float]]:
    values = st.lists(st.floats(-1, 1), min_size=2 ** len(players), max_size=2 ** len(players))
    return values.map(lambda drawn: dict(zip(subsets(players), drawn, strict=True)))


@given(st.integers(1, 5).flatmap(lambda n: games("abcde"[:n])))
def test_shapley_values_add_up(game: dict[frozenset[str], float]) -> None:
    everyone = max(game, key=lambda some: len(some))
    added = game[everyone] - game[frozenset()]
    assert sum(shapley(game).values()) == pytest.approx(added, abs=1e-9)


@given(games("abcd"))
def test_who_changes_nothing_gets_nothing(game: dict[frozenset[str], float]) -> None:
    idle = {some: game[some - {"c"}] for some in game}
    assert shapley(idle)["c"] == pytest.approx(0, abs=1e-9)


@given(games("abcd"))
def test_who_does_the_same_gets_the_same(game: dict[frozenset[str], float]) -> None:
    swap = {"a": "b", "b": "a"}
    turned = {some: game[frozenset(swap.get(p, p) for p in some)] for some in game}
    alike = {some: game[some] + turned[some] for some in game}
    shares = shapley(alike)
    assert shares["a"] == pytest.approx(shares["b"], abs=1e-9)
