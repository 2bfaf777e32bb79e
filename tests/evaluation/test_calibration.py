"""The numbers of an ensemble, chosen where the right ones are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from planted import PlantedLog, planted_log
from scipy.sparse import csr_matrix

from coldstart.evaluation import calibration as module
from coldstart.evaluation.calibration import (
    CONTENT_ALONE,
    FEWEST,
    Calibration,
    KnownScores,
    calibrate,
    lifted,
)
from coldstart.factors.factors import Factors
from coldstart.model.ensemble import Audience, Ensemble, EnsembleSettings
from coldstart.model.predictions import Predictions

Array = NDArray[np.floating]


@pytest.fixture(autouse=True)
def few_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The defaults, and both ends of what is tried: each choice costs time."""
    monkeypatch.setattr(module, "STRENGTHS", (5.0, 10.0, 80.0))
    monkeypatch.setattr(module, "VALUES", (0.7, 1.0))
    monkeypatch.setattr(module, "UNSEEN", (0.1,))


@pytest.fixture(scope="module")
def log() -> PlantedLog:
    return planted_log(val=24, test=6)


def predictions_of(log: PlantedLog, content: Array, side: str = "val") -> Predictions:
    return Predictions(log.ids[side], torch.from_numpy(content.astype(np.float32)))


def chosen(log: PlantedLog, content: Array, **options: object) -> Calibration:
    found = calibrate(predictions_of(log, content), log.factors, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def gains(found: Calibration) -> dict[object, float]:
    about = found.about
    return dict(zip(about["plays_shown"], about["gain_in_ndcg"], strict=True))


def noise(log: PlantedLog, seed: int = 0) -> Array:
    """Content that says nothing."""
    return np.random.default_rng(seed).normal(size=(len(log.ids["val"]), 6))


def with_plays(factors: Factors, change: NDArray[np.bool_]) -> Factors:
    """The same with other plays of some tracks: those of a track by everybody else."""
    listens = factors.listens.toarray()
    listens[:, change] = 3 - listens[:, change]
    return replace(factors, listens=csr_matrix(listens))


def test_content_that_is_right_counts_much_and_plays_do_no_harm(log: PlantedLog) -> None:
    found = chosen(log, log.truth[log.factors.rows(log.ids["val"])])
    assert found.ensemble.strength >= 80  # or content alone
    assert min(gains(found).values()) > -0.01
    assert max(gains(found).values()) < 0.02
    assert found.about["content_ndcg"] > 0.7


def test_where_content_says_nothing_plays_are_listened_to(log: PlantedLog) -> None:
    found = chosen(log, noise(log))
    assert found.ensemble.strength == 5
    assert gains(found)[1] > 0.05
    assert gains(found)[10] > 0.2
    assert gains(found)[10] > gains(found)[1]
    assert found.about["content_ndcg"] < 0.5
    assert abs(found.ensemble.scale) < 0.3  # little is left of it
    right = chosen(log, log.vectors("val"))
    assert gains(right)[10] < 0.02


@pytest.mark.parametrize("algorithm", ["implicit", "explicit"])
def test_predictions_that_are_too_short_are_stretched(algorithm: str) -> None:
    log = planted_log(val=24, test=2, algorithm=algorithm)
    true = log.vectors("val")
    short, long = chosen(log, 0.3 * true), chosen(log, true)
    assert short.ensemble.scale == pytest.approx(1 / 0.3, rel=1e-4)
    assert long.ensemble.scale == pytest.approx(1, rel=1e-4)
    one, other = short.ensemble._asdict(), long.ensemble._asdict()
    del one["scale"], other["scale"]
    assert one == pytest.approx(other, abs=0.01)  # the rest follows from the stretched ones


def test_content_against_the_truth_keeps_its_length(log: PlantedLog) -> None:
    assert chosen(log, -log.vectors("val")).ensemble.scale == 1.0
    assert chosen(log, 0 * log.vectors("val")).ensemble.scale == 1.0


def test_artists_count_where_their_tracks_are_alike(log: PlantedLog) -> None:
    """In the log an artist's tracks are equally popular; of random artists nothing is known."""
    content = 0.5 * log.truth[log.factors.rows(log.ids["val"])]
    content /= np.linalg.norm(content, axis=1, keepdims=True)  # popularity is missing
    assert chosen(log, content, artists=log.artists).ensemble.artist > 0
    assert chosen(log, content).ensemble.artist == 0
    names = list(log.artists.values())
    generator = np.random.default_rng(0)
    shuffled = dict(zip(log.artists, generator.permutation(names).tolist(), strict=True))
    assert chosen(log, log.vectors("val"), artists=shuffled).ensemble.artist == 0


def test_of_too_few_tracks_nothing_is_chosen(log: PlantedLog) -> None:
    predictions = predictions_of(log, log.vectors("val"))
    few = Predictions(predictions.track_ids[: FEWEST - 1], predictions.values[: FEWEST - 1])
    assert calibrate(few, log.factors) is None
    listens = log.factors.listens.toarray()
    listens[:, log.factors.rows(log.ids["val"][: 25 - FEWEST])] = 0  # not enough with plays
    assert calibrate(predictions, replace(log.factors, listens=csr_matrix(listens))) is None
    test = predictions_of(log, log.vectors("test"), "test")
    assert calibrate(test, log.factors) is None


def test_of_tracks_that_nobody_likes_nothing_is_chosen() -> None:
    log = planted_log(val=24, test=0, users=100, algorithm="explicit")
    listens = log.factors.listens.copy()
    listens.data[log.factors.folded[listens.indices]] = -1.0
    disliked = replace(log.factors, listens=listens)
    assert calibrate(predictions_of(log, log.vectors("val")), disliked) is None


@pytest.mark.parametrize("listeners", [1, 2, 12])
def test_where_few_plays_are_left_to_rank_for_the_defaults_stay(listeners: int) -> None:
    """At 10 or 20 plays shown nobody is left, at one listener a track also at 1."""
    log = planted_log(val=24, test=0, users=100)
    listens = log.factors.listens.toarray()
    for column in log.factors.rows(log.ids["val"]):
        listens[np.flatnonzero(listens[:, column])[listeners:], column] = 0
    factors = replace(log.factors, listens=csr_matrix(listens))
    found = chosen(log._replace(factors=factors), log.vectors("val"))
    assert np.isfinite(list(found.ensemble)).all()
    json.dumps(found.about, allow_nan=False)
    assert gains(found)[20] == 0
    if listeners == 1:
        assert found.ensemble.strength in (Ensemble().strength, CONTENT_ALONE)
        assert found.ensemble._replace(scale=1.0, strength=10.0) == Ensemble()


def test_a_given_strength_is_not_chosen(log: PlantedLog) -> None:
    found = chosen(log, noise(log), settings=EnsembleSettings(strength=33.0, ahead=0.5))
    assert (found.ensemble.strength, found.ensemble.ahead) == (33.0, 0.5)


def test_the_same_seed_chooses_the_same(log: PlantedLog) -> None:
    content = log.vectors("val") + 0.3 * noise(log)
    one, other = chosen(log, content), chosen(log, content)
    assert one == other
    shown = chosen(log, content, seed=7)
    assert (shown.about["seed"], one.about["seed"]) == (7, 0)
    assert gains(shown) != gains(one)


def test_nothing_of_test_tracks_or_of_what_was_withheld_is_read(log: PlantedLog) -> None:
    content = log.vectors("val") + 0.3 * noise(log)
    test = log.factors.folded & (log.factors.split == "test")
    warm = np.repeat([True, False], [100, len(test) - 100])

    def withholding(seed: int) -> Factors:
        pairs = np.random.default_rng(seed).random(log.factors.listens.shape) < 0.05
        count = np.flatnonzero(pairs & warm)[:500]  # as many, whichever
        matrix = np.zeros(pairs.size, np.float32)
        matrix[count] = seed + 1
        return replace(log.factors, withheld=csr_matrix(matrix.reshape(pairs.shape)))

    base = withholding(0)
    before = chosen(log._replace(factors=base), content, artists=log.artists)
    assert before.ensemble.ahead == pytest.approx(500 / (500 + base.listens[:, :100].nnz))
    other = with_plays(withholding(1), test)
    other = replace(other, tracks=np.where(test[:, None], 9.0, other.tracks).astype(np.float32))
    assert chosen(log._replace(factors=other), content, artists=log.artists) == before
    val = with_plays(base, log.factors.split == "val")  # which are asked
    assert chosen(log._replace(factors=val), content, artists=log.artists) != before


# What scores of known tracks say.


def test_scores_of_any_size_are_lifted_alike() -> None:
    log = planted_log(val=24, test=0)
    known, true = KnownScores(Audience(log.factors)), log.vectors("val")
    fair = known.lift(true, log.ids["val"], Ensemble())
    for times in (0.03, 0.5, 4.0, 13.0, 40.0):
        found = known.lift((times * true).astype(np.float32), log.ids["val"], Ensemble())
        assert found.length * times == pytest.approx(fair.length, rel=0.05)
        assert found.offset == pytest.approx(fair.offset, abs=0.02)


def test_scores_that_are_too_low_are_lifted() -> None:
    log = planted_log(val=24, test=0)
    known = KnownScores(Audience(log.factors))
    assert known.reliability is not None
    assert (np.diff(known.reliability.scores) > 0).all()
    assert (np.diff(known.reliability.log_odds) >= 0).all()
    true = log.vectors("val")
    lengths = []
    for shrunk in (1.0, 0.5, 0.25):
        found = known.lift((shrunk * true).astype(np.float32), log.ids["val"], Ensemble())
        lengths.append(found.length)
    assert lengths[0] == pytest.approx(1, abs=0.35)
    assert 1 < lengths[1] < lengths[2]
    assert lengths[1] == pytest.approx(2 * lengths[0], rel=0.2)
    assert lengths[2] == pytest.approx(4 * lengths[0], rel=0.2)


def test_equal_scores_of_new_and_known_tracks_say_the_same_after_the_lift() -> None:
    """Of the pairs whose lifted score is high, as many are played as such scores promise."""
    log = planted_log(val=40, test=0, users=300)
    audience = Audience(log.factors)
    known = KnownScores(audience)
    assert known.reliability is not None
    vectors = (0.3 * log.vectors("val")).astype(np.float32)
    ensemble = known.lift(vectors, log.ids["val"], Ensemble())
    rows = log.factors.rows(log.ids["val"])
    plays = (log.factors.listens[:, rows].toarray() > 0)[:-1]

    def surprise(places: torch.Tensor) -> float:
        scores = log.factors.users[:-1] @ places.numpy().T
        odds = np.interp(scores, *known.reliability)  # type: ignore[misc]
        assert plays.mean() > 0
        return float((np.logaddexp(0, odds) - odds * plays).mean())

    before, after = torch.from_numpy(vectors), audience.lifted(torch.from_numpy(vectors), ensemble)
    assert surprise(after) < surprise(before) - 0.02


def test_of_too_few_plays_no_score_says_anything(caplog: pytest.LogCaptureFixture) -> None:
    log = planted_log(val=24, test=0, users=40)
    known = KnownScores(Audience(log.factors))
    assert known.reliability is None
    ensemble = Ensemble(scale=2.0)
    vectors = log.vectors("val")
    as_predicted = ensemble._replace(length=1 / ensemble.scale)
    assert known.lift(vectors, log.ids["val"], ensemble) == as_predicted
    assert "too few plays of known tracks" in caplog.text
    assert known.ahead == 1.0


def test_a_rival_s_vectors_are_lifted_by_its_own_validation_tracks(log: PlantedLog) -> None:
    known = KnownScores(Audience(log.factors))
    of_val = predictions_of(log, 0.25 * log.vectors("val"))
    vectors = torch.from_numpy(log.vectors("test"))
    found = lifted(known, of_val, 0.25 * vectors)
    torch.testing.assert_close(
        found, lifted(known, predictions_of(log, log.vectors("val")), vectors), atol=0.02, rtol=0.02
    )
    few = Predictions(of_val.track_ids[:3], of_val.values[:3])
    assert lifted(known, few, vectors) is vectors
