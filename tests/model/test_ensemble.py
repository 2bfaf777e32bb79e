"""An ensemble's numbers, the artists' levels, and the places that they give."""

import math

import numpy as np
import pytest
import torch
from planted import planted, planted_log
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import Axes, turned
from coldstart.model.ensemble import (
    DOUBT,
    Audience,
    Ensemble,
    EnsembleSettings,
    artist_levels,
    priors,
)
from coldstart.model.predictions import Predictions
from coldstart.model.space import track_places


@pytest.fixture(scope="module")
def audience() -> Audience:
    return Audience(planted_log().factors)


@pytest.mark.parametrize("strength", [0.0, -1.0, math.inf, math.nan])
def test_a_strength_is_above_zero(strength: float) -> None:
    with pytest.raises(InputError, match=r"ensemble\.strength is above 0, not"):
        EnsembleSettings(strength=strength)


@pytest.mark.parametrize("ahead", [0.0, -0.1, 1.01, math.inf, math.nan])
def test_a_share_ahead_is_above_zero_to_one(ahead: float) -> None:
    with pytest.raises(InputError, match=r"ensemble\.ahead is above 0 and at most 1, not"):
        EnsembleSettings(ahead=ahead)


def test_numbers_in_their_ranges_are_taken() -> None:
    assert EnsembleSettings(1e-3, 1.0) == EnsembleSettings(strength=0.001, ahead=1)
    assert EnsembleSettings() == EnsembleSettings(None, None)


def test_an_ensemble_is_read_from_plain_values_and_not_without_one() -> None:
    ensemble = Ensemble(scale=2, offset=-0.5)
    assert Ensemble.of(ensemble._asdict()) == ensemble
    assert Ensemble.of({**ensemble._asdict(), "later": "word"}) == ensemble
    for name in Ensemble._fields:
        values = ensemble._asdict()
        for wrong in (math.nan, math.inf, None, "much", [1]):
            with pytest.raises(InputError, match="describe no ensemble"):
                Ensemble.of({**values, name: wrong})
        del values[name]
        with pytest.raises(InputError, match="describe no ensemble"):
            Ensemble.of(values)


def test_levels_of_artists_are_what_was_planted(audience: Audience) -> None:
    """Of four tracks one artist made three: of levels 3, 1 and 2; the fourth's level is -6."""
    factors = planted_log().factors
    warm = np.flatnonzero(~factors.folded)
    wanted = np.zeros(len(warm))
    wanted[:4] = [3, 1, 2, -6]
    object.__setattr__(factors, "tracks", np.float32(np.outer(wanted + 7, audience.common)))
    artists = {"train000": "a", "train001": "a", "train002": "a", "train003": "b", "new": "a"}
    levels = artist_levels(
        Audience(factors), ["new", "train003", "train050", "other"], {**artists, "other": "c"}
    )
    np.testing.assert_allclose(levels, [6 / (3 + DOUBT), -6 / (1 + DOUBT), 0, 0], atol=1e-4)


def test_an_artist_of_many_tracks_has_about_their_mean_and_one_of_few_is_doubted() -> None:
    log = planted_log(seed=3)
    levels = log.factors.tracks[:100] @ Audience(log.factors).mean
    levels = levels - levels.mean()
    others = {track: f"alone {track}" for track in log.factors.track_ids[90:100]}
    many = dict.fromkeys(log.factors.track_ids[:90], "many")
    found = artist_levels(Audience(log.factors), ["n", "o"], {**many, **others, "n": "many"})
    assert found[0] == pytest.approx(levels[:90].mean() * 90 / 92, abs=1e-5)
    assert found[1] == 0
    once = artist_levels(Audience(log.factors), log.factors.track_ids[90:100], others)
    np.testing.assert_allclose(once, levels[90:] / 3, atol=1e-4)


def test_held_out_tracks_say_nothing_of_an_artist(audience: Audience) -> None:
    log = planted_log()
    only_new = dict.fromkeys([*log.ids["val"], *log.ids["test"]], "debut")
    assert not artist_levels(audience, log.ids["test"], only_new).any()
    assert not artist_levels(audience, log.ids["test"], {}).any()


def test_a_prior_is_scaled_content_and_its_artist_s_level(audience: Audience) -> None:
    content = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    levels = np.array([0.5, 0.0, -1.0])
    prior = priors(audience, content, levels, Ensemble(scale=2.0, artist=0.4))
    before = 2 * content @ audience.mean
    np.testing.assert_allclose(prior @ audience.mean, before + 0.4 * levels, atol=1e-5)
    np.testing.assert_allclose(prior[1], 2 * content[1], atol=1e-6)
    np.testing.assert_array_equal(priors(audience, content, levels, Ensemble()), content)


def test_a_lift_stretches_scores_and_adds_the_same_to_the_mean_listener_s(
    audience: Audience,
) -> None:
    vectors = torch.randn(4, 6)
    lifted = audience.lifted(vectors, Ensemble(length=1.5, offset=0.25))
    mean = torch.from_numpy(audience.mean).float()
    torch.testing.assert_close(lifted @ mean, 1.5 * vectors @ mean + 0.25)
    torch.testing.assert_close(audience.lifted(vectors, Ensemble()), vectors)


def test_a_track_is_moved_to_its_listeners_the_less_the_stronger_the_content(
    audience: Audience,
) -> None:
    log = planted_log()
    plays = audience.plays_of(log.ids["test"])
    prior = np.zeros((30, 6), np.float32)
    scores = []
    for strength in (1, 10, 100):
        moved = audience.joined(plays, prior, Ensemble(strength=strength, value=1.0))
        entries = plays.tocoo()
        users = log.factors.users[entries.col]
        scores.append(float((users * moved[entries.row]).sum(1).mean()))
    assert 1 > scores[0] > scores[1] > scores[2] > 0


def test_plays_of_listeners_without_taste_and_of_unknown_tracks_count_nothing() -> None:
    log = planted_log()
    listens = log.factors.listens.tolil()
    listens[199, 130] = 5  # a listener of one held-out track alone
    object.__setattr__(log.factors, "listens", csr_matrix(listens))
    track = log.factors.track_ids[130]
    plays = Audience(log.factors).plays_of([track, "unknown", log.ids["val"][0]])
    assert plays.shape == (3, 200)
    assert plays[0].nnz == planted_log().factors.listens[:, [130]].nnz
    assert plays[1].nnz == 0
    assert plays[2].nnz == log.factors.listens[:, [100]].nnz


def test_the_weight_of_a_play_reads_no_held_out_track(audience: Audience) -> None:
    factors = planted_log().factors
    listens = factors.listens.copy()
    listens.data[factors.folded[listens.indices]] = 1000.0
    object.__setattr__(factors, "listens", listens)
    assert Audience(factors).play == audience.play


def test_factors_that_lack_something_are_refused() -> None:
    factors = planted_log().factors
    about = {key: value for key, value in factors.about.items() if key != "regularization"}
    object.__setattr__(factors, "about", about)
    with pytest.raises(InputError, match="factorise again"):
        Audience(factors)
    object.__setattr__(factors, "about", {**factors.about, "regularization": 1, "axes": "scores"})
    with pytest.raises(InputError, match="factorise again"):
        Audience(factors)
    factors = planted_log().factors
    object.__setattr__(factors, "users", np.zeros_like(factors.users))
    with pytest.raises(InputError, match="no listener with a vector"):
        Audience(factors)


# Places.


ENSEMBLE = Ensemble(scale=1.5, artist=0.5, strength=4.0, length=1.2, offset=0.1)


def predictions_of(seed: int = 0) -> Predictions:
    """Of all but the factorised tracks of the log, and of two that nobody has played."""
    log = planted_log()
    ids = ["new 0", *log.ids["test"], *log.ids["val"], "new 1"]
    values = torch.randn(len(ids), 6, generator=torch.Generator().manual_seed(seed))
    return Predictions(ids, values)


def test_places_without_some_tracks_are_those_of_the_others() -> None:
    log, predictions = planted_log(), predictions_of()
    artists = {**log.artists, "new 1": "artist 3"}
    whole = track_places(predictions, log.factors, ENSEMBLE, artists)
    removed = frozenset(["new 0", "train000", "train050", log.ids["test"][3], log.ids["val"][29]])
    left = whole.without(removed)
    assert (whole.warm, left.warm) == (100, 98)
    assert left.track_ids == [track for track in whole.track_ids if track not in removed]
    assert whole.without(frozenset()) is whole
    assert whole.joined is not None
    assert left.joined is not None
    for track in left.track_ids:
        old, new = whole.track_ids.index(track), left.track_ids.index(track)
        assert whole.vectors[old].equal(left.vectors[new])
        torch.testing.assert_close(whole.scoring[old], left.scoring[new])
        if new >= left.warm:
            old, new = old - whole.warm, new - left.warm
            assert whole.joined.levels[old] == left.joined.levels[new]
            assert whole.joined.listeners[old] == left.joined.listeners[new]
            one, other = whole.joined.plays[[old]], left.joined.plays[[new]]
            np.testing.assert_array_equal(one.toarray(), other.toarray())
    # And they fit: the places follow from the plays and levels that stand beside them.
    at = {track: row for row, track in enumerate(predictions.track_ids)}
    rows = [at[track] for track in left.track_ids[left.warm :]]
    again = left.joined.places(predictions.values[rows].numpy())
    np.testing.assert_allclose(left.vectors[left.warm :], again, atol=1e-5)


def test_without_plays_or_artist_a_place_is_scaled_content() -> None:
    log, predictions = planted_log(), predictions_of()
    places = track_places(predictions, log.factors, ENSEMBLE)
    cold = places.track_ids.index("new 0")
    torch.testing.assert_close(places.vectors[cold], 1.5 * predictions.values[0])
    played = places.track_ids.index(log.ids["test"][0])
    assert not torch.allclose(places.vectors[played], 1.5 * predictions.values[1], atol=0.01)
    assert places.vectors[: places.warm].equal(torch.from_numpy(log.factors.tracks[:100]))
    assert places.scoring[: places.warm].equal(places.vectors[: places.warm])


@pytest.mark.parametrize("algorithm", ["implicit", "explicit"])
def test_scores_do_not_depend_on_the_axes(algorithm: str) -> None:
    """But along which direction a level is added; what it adds to the mean listener's score."""
    log, predictions = planted_log(algorithm=algorithm), predictions_of()
    other = planted_log(algorithm=algorithm).factors
    matrix = np.random.default_rng(1).normal(size=(6, 6)) + 2 * np.eye(6)
    axes = Axes(matrix, np.linalg.inv(matrix).T.astype(np.float64))
    for name, value in {
        "axes": axes,
        "tracks": turned(other.tracks, axes.tracks),
        "users": turned(other.users, axes.users),
    }.items():
        object.__setattr__(other, name, value)
    values = torch.from_numpy(turned(predictions.values.numpy(), axes.tracks))
    ensemble = ENSEMBLE._replace(artist=0.0, offset=0.0)
    plain = track_places(predictions, log.factors, ensemble)
    moved = track_places(predictions._replace(values=values), other, ensemble)
    one = log.factors.users @ plain.scoring.numpy().T
    np.testing.assert_allclose(other.users @ moved.scoring.numpy().T, one, atol=2e-3)
    levels = artist_levels(Audience(log.factors), log.ids["test"], log.artists)
    again = artist_levels(Audience(other), log.ids["test"], log.artists)
    np.testing.assert_allclose(again, levels, atol=1e-3)
    content = np.zeros((len(levels), 6), np.float32)
    prior = priors(Audience(other), content, levels, ENSEMBLE)
    np.testing.assert_allclose(prior @ Audience(other).mean, 0.5 * levels, atol=1e-4)


def test_a_catalogue_says_by_what_a_place_is_known() -> None:
    catalogue = planted()
    assert catalogue.sources.tolist() == [0] * 20 + [1] * 20
