"""Vectors from a prior and plays: the normal equations in float64, row by row, are the judge."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors import posterior as module
from coldstart.factors.als import Axes, turned
from coldstart.factors.factorization import FactorizationSettings, confidence_of
from coldstart.factors.factors import Factors
from coldstart.factors.folding import half_step, settings_of
from coldstart.factors.posterior import Evidence, gram_of, posterior
from coldstart.model.ensemble import Audience, Ensemble

WIDTH = 5

Matrix = NDArray[np.float32]


def factorization(**options: Any) -> FactorizationSettings:
    about = {"algorithm": "implicit", "factors": WIDTH, "regularization": 0.1, "iterations": 1}
    return settings_of({**about, "seed": 0, **options})


KINDS = {
    "log": factorization(),
    "linear": factorization(weighting="linear", alpha=3.0),
    "less than one unseen": factorization(weighting="log", alpha=0.2),  # c < w
    "exactly one unseen": factorization(weighting="linear", alpha=0.0),  # c = w
    "explicit": factorization(algorithm="explicit"),
}


def plays_of(generator: np.random.Generator, rows: int, users: int) -> csr_matrix:
    """Rows without plays, with few, and with more than there are factors."""
    shares = generator.choice([0.0, 0.1, 0.3, 0.9], rows)[:, None]
    played = generator.random((rows, users)) < shares
    return csr_matrix(np.where(played, generator.integers(1, 9, played.shape), 0).astype(float))


def equations(
    plays: csr_matrix,
    other: Matrix,
    prior: NDArray[np.floating],
    evidence: Evidence,
    by: FactorizationSettings,
    gram: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The formula of the module, one row after the other."""
    strength, unseen, value = evidence
    users, width = other.astype(np.float64), other.shape[1]
    everyone = users.T @ users if gram is None else gram
    result = np.broadcast_to(prior, (plays.shape[0], width)).astype(np.float64)
    for row in np.flatnonzero(np.diff(plays.indptr)):
        entries = plays[[row]]
        p = users[entries.indices]
        if by.algorithm == "explicit":
            left, right = p.T @ p, entries.data.astype(np.float64) @ p
        else:
            c = confidence_of(entries, by).data.astype(np.float64)
            left, right = unseen * everyone + (p.T * (c - unseen)) @ p, value * (c @ p)
        left = left + strength * np.eye(width)
        result[row] = np.linalg.solve(left, right + strength * result[row])
    return result


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(sorted(KINDS)),
    st.floats(0.05, 100),
    st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1)),
    st.floats(0, 2),
    st.booleans(),
    st.sampled_from([1, 60, 1 << 27]),
)
def test_it_solves_the_normal_equations(
    seed: int, kind: str, strength: float, unseen: float, value: float, one: bool, block: int
) -> None:
    generator = np.random.default_rng(seed)
    plays = plays_of(generator, 12, 30)
    users = generator.normal(size=(30, WIDTH)).astype(np.float32)
    prior = generator.normal(size=(WIDTH,) if one else (12, WIDTH))
    evidence = Evidence(strength, unseen, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_BYTES", block)
        found = posterior(plays, users, prior, evidence, KINDS[kind])
    assert found.dtype == np.float32
    expected = equations(plays, users, prior, evidence, KINDS[kind])
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)
    silent = np.diff(plays.indptr) == 0
    np.testing.assert_array_equal(
        found[silent], np.broadcast_to(prior, (12, WIDTH)).astype(np.float32)[silent]
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_all_numbers_of_plays_from_none_to_all(kind: str) -> None:
    generator = np.random.default_rng(0)
    order = np.array([generator.permutation(30) for _ in range(31)])
    plays = csr_matrix((order < np.arange(31)[:, None]) * generator.integers(1, 9, (31, 30)))
    users = generator.normal(size=(30, WIDTH)).astype(np.float32)
    prior, evidence = generator.normal(size=(31, WIDTH)), Evidence(2.0, 0.4, 0.6)
    found = posterior(plays, users, prior, evidence, KINDS[kind])
    np.testing.assert_allclose(
        found, equations(plays, users, prior, evidence, KINDS[kind]), rtol=1e-4, atol=1e-5
    )


def test_whoever_else_was_asked_counts_by_the_gram_that_is_given() -> None:
    generator = np.random.default_rng(3)
    plays, more = plays_of(generator, 6, 30), generator.normal(size=(40, WIDTH))
    users = generator.normal(size=(30, WIDTH)).astype(np.float32)
    gram, evidence = more.T @ more, Evidence(1.0, 0.5)
    found = posterior(plays, users, np.ones(WIDTH), evidence, KINDS["log"], gram)
    expected = equations(plays, users, np.ones(WIDTH), evidence, KINDS["log"], gram)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [1, 1 << 27])
def test_the_gram_is_the_same_in_any_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", block)
    users = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    wide = users.astype(np.float64)
    np.testing.assert_allclose(gram_of(users), wide.T @ wide)
    assert not gram_of(np.zeros((0, 3), np.float32)).any()


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_without_a_prior_it_is_the_library_s_own_step(kind: str) -> None:
    generator = np.random.default_rng(2)
    plays = plays_of(generator, 12, 30)
    users = generator.normal(size=(30, WIDTH)).astype(np.float32)
    model = AlternatingLeastSquares(factors=WIDTH, regularization=0.1)
    model.user_factors = users
    expected = model.recalculate_item(np.arange(12), confidence_of(plays, KINDS[kind]))
    found = posterior(plays, users, np.zeros(WIDTH), Evidence(0.1), KINDS[kind])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_strong_prior_stays_and_a_weak_one_gives_way_to_many_plays() -> None:
    generator = np.random.default_rng(4)
    plays = csr_matrix(generator.integers(0, 3, (8, 200)))
    users = generator.normal(size=(200, WIDTH)).astype(np.float32)
    prior = 3 * generator.normal(size=(8, WIDTH))
    strong = posterior(plays, users, prior, Evidence(1e9), KINDS["log"])
    np.testing.assert_allclose(strong, prior, atol=1e-5)
    weak = posterior(plays, users, prior, Evidence(1e-4), KINDS["log"])
    folded = half_step(plays, users, factorization(regularization=1e-4))
    np.testing.assert_allclose(weak, folded, atol=1e-4)
    between = [
        np.linalg.norm(posterior(plays, users, prior, Evidence(s), KINDS["log"]) - prior)
        for s in (1, 10, 100, 1000)
    ]
    assert between == sorted(between, reverse=True)  # the stronger, the nearer to the prior


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_regularization_of_zero_determines_nothing(kind: str) -> None:
    users, plays = np.ones((4, WIDTH), np.float32), csr_matrix(np.ones((2, 4)))
    with pytest.raises(InputError, match="larger --regularization"):
        posterior(plays, users, np.zeros(WIDTH), Evidence(0.0, 0.0), KINDS[kind])
    # Where nothing was played, nothing has to be solved.
    nothing = posterior(csr_matrix((2, 4)), users, np.ones(WIDTH), Evidence(0.0), KINDS[kind])
    assert (nothing == 1).all()


# In the axes of the vectors, which may be others than those of the factorisation.


def audience(algorithm: str, with_axes: bool, seed: int = 0) -> Audience:
    """Six factorised tracks and 30 listeners, of whom the last has no taste."""
    generator = np.random.default_rng(seed)
    users = generator.normal(size=(30, WIDTH)).astype(np.float32)
    users[-1] = 0
    tracks = generator.normal(size=(6, WIDTH)).astype(np.float32)
    axes = None
    if with_axes:
        matrix = generator.normal(size=(WIDTH, WIDTH)) + 3 * np.eye(WIDTH)
        axes = Axes(matrix, np.linalg.inv(matrix).T.astype(np.float64))
        tracks, users = turned(tracks, axes.tracks), turned(users, axes.users)
    about = {"algorithm": algorithm, "factors": WIDTH, "regularization": 0.1, "iterations": 1}
    return Audience(
        Factors(
            track_ids=[f"t{i}" for i in range(6)],
            user_ids=[f"u{i}" for i in range(30)],
            tracks=tracks,
            users=users,
            folded=np.zeros(6, bool),
            split=np.full(6, "train"),
            listens=csr_matrix((generator.random((30, 6)) < 0.4).astype(np.float32)),
            about={**about, "seed": 0, "id": "planted", "axes": "scores" if axes else "als"},
            axes=axes,
        )
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["implicit", "explicit"]),
    st.booleans(),
    st.floats(0.5, 50),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_a_score_is_linear_in_the_prior(
    seed: int, algorithm: str, with_axes: bool, strength: float, unseen: float
) -> None:
    """What the explanation stands on: score(prior) = score(0) + weight · prior."""
    generator = np.random.default_rng(seed)
    listeners = audience(algorithm, with_axes, seed)
    ensemble = Ensemble(strength=strength, unseen=unseen, value=0.8)
    plays = plays_of(generator, 1, 30)
    if algorithm == "explicit":  # ratings of 0 and below are ratings
        plays.data -= 2
    prior = generator.normal(size=(1, WIDTH)).astype(np.float32)
    query = generator.normal(size=WIDTH).astype(np.float32)
    weight = listeners.content_weight(plays, query, ensemble)
    moved = listeners.joined(plays, prior, ensemble)[0] @ query
    nothing = listeners.joined(plays, 0 * prior, ensemble)[0] @ query
    assert moved == pytest.approx(nothing + weight @ prior[0], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("algorithm", ["implicit", "explicit"])
def test_scores_do_not_depend_on_the_axes(algorithm: str) -> None:
    generator = np.random.default_rng(5)
    plain, turned_ones = audience(algorithm, False), audience(algorithm, True)
    axes = turned_ones.factors.axes
    assert axes is not None
    plays = plays_of(generator, 9, 30)
    prior = generator.normal(size=(9, WIDTH)).astype(np.float32)
    one = plain.joined(plays, prior, Ensemble()) @ plain.factors.users.T
    other = turned_ones.joined(plays, turned(prior, axes.tracks), Ensemble())
    np.testing.assert_allclose(other @ turned_ones.factors.users.T, one, atol=1e-4)
    assert turned_ones.play == pytest.approx(plain.play, rel=1e-4)
