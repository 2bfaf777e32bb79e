"""Hidden plays that are shown step by step, and the curve that is measured with them."""

import json
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import PlantedLog, planted_log
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.evaluation import revelation, warm_up
from coldstart.evaluation.calibration import Calibration
from coldstart.evaluation.revelation import AGES, HiddenPlays, Revelation
from coldstart.evaluation.warm_up import WarmUp, caption, table
from coldstart.model.ensemble import Audience, Ensemble, artist_levels, priors
from coldstart.model.predictions import Predictions

ENSEMBLE = Ensemble(scale=0.43, artist=0.4, strength=8.0)
"""About what is best for the planted log."""
METHODS = [
    "ensemble",
    "content alone",
    "plays alone",
    "blend of both scores",
    "random",
]


@pytest.fixture(scope="module")
def log() -> PlantedLog:
    return planted_log(val=20, test=25, users=120, seed=1)


@pytest.fixture(scope="module")
def hidden(log: PlantedLog) -> HiddenPlays:
    return HiddenPlays(Audience(log.factors), log.ids["test"], seed=0)


def content_of(log: PlantedLog, noise: float = 0.4) -> Predictions:
    """Of the validation and the test tracks, more or less right."""
    ids = [*log.ids["val"], *log.ids["test"]]
    vectors = log.factors.tracks[log.factors.rows(ids)].astype(np.float64)
    vectors += noise * np.random.default_rng(0).normal(size=vectors.shape)
    return Predictions(ids, torch.from_numpy(vectors.astype(np.float32)))


def measured(log: PlantedLog, ensemble: Ensemble = ENSEMBLE, seed: int = 0) -> WarmUp:
    chosen = Calibration(ensemble, {"tracks": 20})
    return warm_up.warm_up(content_of(log), log.ids["test"], log.factors, chosen, log.artists, seed)


@pytest.fixture(scope="module")
def curve(log: PlantedLog) -> WarmUp:
    return measured(log)


def with_at_most(log: PlantedLog, plays: int) -> PlantedLog:
    """The same with so many listeners of each test track."""
    listens = log.factors.listens.toarray()
    for column in log.factors.rows(log.ids["test"]):
        listens[np.flatnonzero(listens[:, column])[plays:], column] = 0
    made = planted_log(val=20, test=25, users=120, seed=1)
    object.__setattr__(made.factors, "listens", csr_matrix(listens))
    return made


def dense(matrix: csr_matrix) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.asarray(matrix.toarray() != 0)


# What is shown.


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=25, max_size=25), st.integers(0, 5))
def test_what_is_shown_and_what_is_looked_for_are_all_plays(ages: list[int], seed: int) -> None:
    log = planted_log(val=20, test=25, users=120, seed=1)
    hidden = HiddenPlays(Audience(log.factors), log.ids["test"], seed)
    found = hidden.shown(np.array(ages))
    everything = dense(log.factors.listens[:, log.factors.rows(log.ids["test"])])
    counts = np.diff(found.shown.indptr)
    np.testing.assert_array_equal(counts, np.minimum(ages, everything.sum(0)))
    rows = [log.factors.user_ids.index(user) for user in found.user_ids]
    shown = dense(found.shown).T[rows]
    np.testing.assert_array_equal(dense(found.relevant) | shown, everything[rows])
    assert not (dense(found.relevant) & shown).any()  # what is shown isn't looked for
    np.testing.assert_array_equal(dense(found.hidden_from), shown)
    others = np.setdiff1d(np.arange(120), rows)  # of them, nothing is left to find
    assert not (everything[others] & ~dense(found.shown).T[others]).any()
    np.testing.assert_array_equal(found.users, log.factors.users[rows])


def test_who_is_shown_once_is_shown_later_on(hidden: HiddenPlays) -> None:
    shown = [dense(hidden.shown(age).shown) for age in (*AGES, 1000)]
    for earlier, later in pairwise(shown):
        assert (earlier <= later).all()
        assert earlier.sum() < later.sum()
    assert not hidden.shown(1000).user_ids


def test_the_order_of_a_track_s_plays_does_not_depend_on_the_other_tracks(log: PlantedLog) -> None:
    some = HiddenPlays(Audience(log.factors), log.ids["test"][5:9], seed=0)
    whole = HiddenPlays(Audience(log.factors), log.ids["test"], seed=0)
    for one, other in ((some.shown(3), whole.shown(3)), (some.mixture(1), whole.mixture(1))):
        np.testing.assert_array_equal(dense(one.shown), dense(other.shown)[5:9])
    again = HiddenPlays(Audience(log.factors), log.ids["test"], seed=1)
    assert (dense(again.shown(3).shown) != dense(whole.shown(3).shown)).any()


def test_the_listeners_that_are_shown_are_drawn_evenly(log: PlantedLog) -> None:
    """Over many seeds each listener of a track is its first about equally often."""
    ids = log.ids["test"]
    firsts = np.zeros((len(ids), 120))
    for seed in range(200):
        shown = HiddenPlays(Audience(log.factors), ids, seed).shown(1).shown
        assert set(np.diff(shown.indptr)) == {1}
        firsts += dense(shown)
    track = int(np.argmax((firsts > 0).sum(1)))
    counts = firsts[track][firsts[track] > 0]
    expected = 200 / len(counts)
    assert np.square(counts - expected).sum() / expected < 2 * len(counts)  # chi²


def test_plays_of_who_has_no_taste_are_neither_shown_nor_looked_for(log: PlantedLog) -> None:
    made = planted_log(val=20, test=25, users=120, seed=1)
    listens = made.factors.listens.tolil()
    listens[119, 130] = 3
    object.__setattr__(made.factors, "listens", csr_matrix(listens))
    found = HiddenPlays(Audience(made.factors), made.ids["test"]).shown(100)
    assert not found.user_ids
    assert found.shown[:, [119]].nnz == 0


def test_a_mixture_has_tracks_of_all_ages(hidden: HiddenPlays) -> None:
    counts = np.diff(hidden.mixture(0).shown.indptr)
    assert set(counts.tolist()) & set(AGES) >= {0, 1, 10}
    assert (np.diff(hidden.mixture(1).shown.indptr) != counts).any()


def test_nobody_is_recommended_what_they_are_shown_to_have_played(hidden: HiddenPlays) -> None:
    """Whoever is ranked first by all, NDCG is that of the rest in this order."""
    found = hidden.shown(5)
    loud = torch.where(torch.from_numpy(dense(found.hidden_from)), 1e6, 0.0)
    quiet = torch.randn(loud.shape, generator=torch.Generator().manual_seed(0))
    one = found.ndcg_by(lambda rows: quiet[rows] + loud[rows])
    other = found.ndcg_by(lambda rows: quiet[rows] - loud[rows])
    torch.testing.assert_close(one, other)
    perfect = torch.from_numpy(dense(found.relevant)).float()
    whole = found.ndcg_by(lambda rows: perfect[rows] + loud[rows])
    torch.testing.assert_close(whole, torch.ones(len(whole)))


def test_a_sample_has_some_of_the_listeners_with_all_that_is_theirs(hidden: HiddenPlays) -> None:
    found = hidden.shown(3)
    few = found.sample(7)
    assert len(few.user_ids) == len(few.users) == 7
    rows = [found.user_ids.index(user) for user in few.user_ids]
    vectors = np.random.default_rng(0).normal(size=(25, 6))
    torch.testing.assert_close(few.ndcg(vectors), found.ndcg(vectors)[rows])
    assert found.sample(len(found.user_ids)) is found
    nobody = hidden.shown(1000)
    assert isinstance(nobody.sample(3), Revelation)
    assert len(nobody.ndcg(vectors)) == 0


# The curve.


def test_there_is_a_row_for_each_age_and_method(curve: WarmUp) -> None:
    assert list(curve.rows[0]._fields) == [
        "plays",
        "method",
        "ndcg",
        "ndcg_low",
        "ndcg_high",
        "ensemble_ahead",
        "ahead_low",
        "ahead_high",
        "users",
    ]
    assert [(row.plays, row.method) for row in curve.rows] == [
        (age, method) for age in curve.about["ages"] for method in METHODS
    ]
    assert curve.about["ages"] == list(AGES)
    for row in curve.rows:
        assert 0 <= row.ndcg_low <= row.ndcg <= row.ndcg_high <= 1
        if row.method == "ensemble":
            assert row.ensemble_ahead is row.ahead_low is row.ahead_high is None
            continue
        assert row.ensemble_ahead is not None
        assert row.ahead_low is not None
        assert row.ahead_high is not None
        assert row.ahead_low <= row.ensemble_ahead <= row.ahead_high
    json.dumps(curve.about, allow_nan=False)


def test_the_rows_are_the_means_of_the_listeners(curve: WarmUp) -> None:
    assert curve.by_user.columns == ["user_id", "plays", "method", "ndcg"]
    at = {(row.plays, row.method): row for row in curve.rows}
    for (age, method), part in curve.by_user.group_by("plays", "method"):
        row = at[age, str(method)]
        assert row.users == len(part) == part["user_id"].n_unique()
        assert row.ndcg == pytest.approx(part["ndcg"].mean(), abs=1e-6)
    assert curve.by_user["ndcg"].is_between(0, 1).all()
    wide = curve.by_user.pivot("method", index=["user_id", "plays"], values="ndcg")
    assert not wide.null_count().sum_horizontal().item()  # the same listeners for all methods
    gap = wide.filter(plays=3).select(pl.col("ensemble") - pl.col("plays alone")).mean().item()
    assert at[3, "plays alone"].ensemble_ahead == pytest.approx(gap, abs=1e-6)


def test_listeners_are_those_who_have_a_play_that_isn_t_shown(
    log: PlantedLog, curve: WarmUp
) -> None:
    audience = Audience(log.factors)
    hidden = [HiddenPlays(audience, log.ids["test"], seed) for seed in range(warm_up.DRAWS)]
    for age in AGES:
        users = {user for each in hidden for user in each.shown(age).user_ids}
        part = curve.by_user.filter(plays=age, method="ensemble")
        assert set(part["user_id"]) == users


def test_the_first_plays_help_as_planted(log: PlantedLog, curve: WarmUp) -> None:
    at = {(row.method, row.plays): row.ndcg for row in curve.rows}
    # Without plays: the ensemble is its prior, and plays alone are a ranking by chance.
    assert at["plays alone", 0] == pytest.approx(at["random", 0], abs=0.05)
    content, ids = content_of(log), log.ids["test"]
    audience = Audience(log.factors)
    values = content.values[len(log.ids["val"]) :].numpy()
    prior = priors(audience, values, artist_levels(audience, ids, log.artists), ENSEMBLE)
    expected = HiddenPlays(audience, ids).shown(0).ndcg(prior)
    assert at["ensemble", 0] == pytest.approx(float(expected.mean()), abs=1e-5)
    # With them: plays alone get better, and the ensemble is above both throughout.
    assert at["plays alone", 10] > at["plays alone", 1] > at["plays alone", 0] + 0.05
    for age in (1, 2, 3, 5):
        assert at["ensemble", age] > at["content alone", age]
        assert at["ensemble", age] > at["plays alone", age]
    assert at["random", 20] < at["content alone", 20]


def test_without_artist_the_ensemble_begins_as_content(log: PlantedLog) -> None:
    curve = measured(log, Ensemble(scale=2.0))
    at = {(row.method, row.plays): row for row in curve.rows}
    assert at["ensemble", 0].ndcg == at["content alone", 0].ndcg == at["blend of both scores", 0][2]
    assert at["content alone", 0].ensemble_ahead == 0


def test_a_strength_beyond_all_plays_stays_with_the_content(log: PlantedLog) -> None:
    curve = measured(log, Ensemble(strength=1e9))
    at = {(row.method, row.plays): row for row in curve.rows}
    assert max(abs(at["content alone", age].ensemble_ahead or 0.0) for age in AGES) < 1e-3


def test_the_same_seed_measures_the_same(log: PlantedLog, curve: WarmUp) -> None:
    again = measured(log)
    assert again.rows == curve.rows
    assert again.about == curve.about
    assert again.by_user.equals(curve.by_user)
    assert measured(log, seed=5).rows != curve.rows


def test_ages_that_no_track_reaches_are_left_out(log: PlantedLog) -> None:
    curve = measured(with_at_most(log, 4))
    assert curve.about["ages"] == [0, 1, 2, 3]
    assert {row.plays for row in curve.rows} == {0, 1, 2, 3}
    ages = [line.split()[0] for line in table(curve.rows).split("\n\n")[1].splitlines()[2:]]
    assert ages == ["0", "1", "2", "3"]
    alone = measured(with_at_most(log, 1))
    assert alone.about["ages"] == [0]
    assert alone.about["tracks_with_plays"] == 25


def test_tracks_that_nobody_played_have_no_curve(log: PlantedLog) -> None:
    with pytest.raises(InputError, match="none of the 25 test tracks was played"):
        measured(with_at_most(log, 0))


def test_without_validation_tracks_the_blend_is_the_most_careful(log: PlantedLog) -> None:
    content = content_of(log)
    of_test = Predictions(content.track_ids[20:], content.values[20:])
    chosen = Calibration(Ensemble(), {"note": "nothing: too few validation tracks"})
    curve = warm_up.warm_up(of_test, log.ids["test"], log.factors, chosen)
    assert curve.about["blend"] == min(warm_up.BLENDS)
    assert "chosen on nothing: too few validation tracks" in caption(curve.about, curve.rows)


def test_the_table_has_a_line_an_age_and_the_gaps(curve: WarmUp) -> None:
    text = table(curve.rows)
    assert max(map(len, text.splitlines())) <= 100
    title, figures, gaps = text.split("\n\n")
    assert title == "NDCG@20 after so many plays"
    assert all(name in figures.splitlines()[0] for name in METHODS)
    assert "ensemble beside content alone" in gaps.splitlines()[0]
    for part in (figures, gaps):
        assert [line.split()[0] for line in part.splitlines()[2:]] == [str(age) for age in AGES]
    text = caption(curve.about, curve.rows)
    assert "25 test tracks (25 with plays)" in text
    assert "content counts as much as the plays of 8 listeners" in text
    assert "artist's level × 0.4" in text
    assert "chosen on 20 validation tracks" in text
    assert "seed 0" in text


def test_the_curve_rises_from_the_pieces_it_names(log: PlantedLog) -> None:
    """At 0 plays each of these is the same, whatever was drawn."""
    assert revelation.AGES[0] == 0
    curves = [measured(log, seed=seed) for seed in (0, 9)]
    first = [{row.method: row.ndcg for row in curve.rows if not row.plays} for curve in curves]
    for method in ("ensemble", "content alone"):
        assert first[0][method] == pytest.approx(first[1][method], abs=1e-6)
