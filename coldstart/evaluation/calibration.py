"""The numbers of an ensemble, chosen on tracks whose plays neither model nor factors have seen."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.evaluation.revelation import HiddenPlays, Revelation
from coldstart.evaluation.tasks import evenly_spaced
from coldstart.factors.als import Array
from coldstart.factors.factors import Factors
from coldstart.factors.folding import half_step, in_own_axes
from coldstart.factors.model_space import Solved, solved_again
from coldstart.model.ensemble import Audience, Ensemble, EnsembleSettings, artist_levels, priors
from coldstart.model.predictions import Predictions, as_array

log = logging.getLogger(__name__)

FEWEST = 20
"""Of fewer validation tracks with plays nothing is chosen."""

TRACKS, USERS = 2000, 1000
"""At most so many validation tracks, and so many listeners, count for a choice."""

ARTISTS = (0.0, 0.1, 0.2, 0.4, 0.8)
STRENGTHS = (5.0, 10.0, 20.0, 40.0, 80.0)
VALUES = (0.3, 0.5, 0.7, 1.0)
UNSEEN = (0.03, 0.1)
SCALES = (3.0, 10.0, 30.0, 100.0)
"""What is tried beside the defaults; of scales, times that of least squares."""

CONTENT_ALONE = 1e6
"""A strength beside which plays count nothing."""

SHOWN = (1, 3, 10, 20)
"""Plays that are shown when the weight of plays is chosen; and mixtures of ages beside them."""

DRAWS = 2
"""How often the plays that are shown are drawn, and lists of mixed ages."""

_LENGTH = 4.0
"""Largest logarithm of a length, up or down."""

WITHHELD = 0.1
"""Share of the known tracks' plays that is withheld to see what their scores say."""

BINS = 40
"""Of scores, when what they say is measured."""


class Calibration(NamedTuple):
    """An ensemble, and how its numbers were chosen.

    Attributes:
        ensemble: the numbers.
        about: on how many tracks and listeners, and what they gained there.
    """

    ensemble: Ensemble
    about: dict[str, Any]


def calibrate(
    predictions: Predictions,
    factors: Factors,
    artists: Mapping[str, str] | None = None,
    settings: EnsembleSettings | None = None,
    seed: int = 0,
) -> Calibration | None:
    """Choose an ensemble's numbers on the validation tracks.

    First the scale and the artist's weight, without plays. Then how much plays count: what gains
    most beside content alone for tracks with 1, 3, 10 and 20 plays shown, and for lists of tracks
    of all these ages, on average; the defaults stay unless that is better by more than a standard
    error, and where plays only do harm they count nothing. Last, length and offset, so that equal
    scores of new and known tracks say the same.

    Args:
        predictions: of the validation tracks, at least.
        factors: those of the model's training.
        artists: track id → artist.
        settings: what is given, and not chosen.
        seed: of what is shown and withheld.

    Returns:
        None if there are fewer than `FEWEST` validation tracks with plays, or nobody likes any.

    Raises:
        InputError: the factors lack what the formula needs.
    """
    audience, settings = Audience(factors), settings or EnsembleSettings()
    ids = _validation_tracks(predictions, factors)
    if len(ids) < FEWEST:
        return None
    row = {track: i for i, track in enumerate(predictions.track_ids)}
    content = as_array(predictions.values[[row[track] for track in ids]])
    levels = artist_levels(audience, ids, artists or {})
    hidden = [HiddenPlays(audience, ids, seed + draw) for draw in range(DRAWS)]
    untouched = hidden[0].shown(0).sample(USERS)
    if not untouched.user_ids:  # of ratings, where nobody liked any
        return None
    ensemble = Ensemble(scale=_scale(content, factors.tracks[factors.rows(ids)]))
    ensemble = _with_artist(audience, content, levels, untouched, ensemble)
    rounds = [each.shown(count).sample(USERS) for count in SHOWN for each in hidden]
    rounds += [each.mixture(seed + i).sample(USERS) for i, each in enumerate(hidden)]
    trials = _Trials(audience, content, levels, rounds)
    if settings.strength is not None:
        ensemble = ensemble._replace(strength=settings.strength)
    ensemble = _with_evidence(_with_scale(ensemble, trials), trials, settings.strength)
    gains = trials.gains(ensemble)
    prior = priors(audience, content, levels, ensemble)
    ensemble = KnownScores(audience, settings.ahead, seed).lift(prior, ids, ensemble)
    about = {
        "tracks": len(ids),
        "users": len(untouched.user_ids),
        "seed": seed,
        "plays_shown": [*SHOWN, "mixed"],
        "gain_in_ndcg": [round(gain, 5) for gain in gains],
        "content_ndcg": round(float(untouched.ndcg(content).double().mean()), 5),
        "content_and_artist_ndcg": round(float(untouched.ndcg(prior).double().mean()), 5),
        "factors": factors.about.get("id"),
    }
    return Calibration(ensemble, about)


def _validation_tracks(predictions: Predictions, factors: Factors) -> list[str]:
    """Predicted ones with plays, evenly spaced if there are many."""
    rows = factors.rows(predictions.track_ids)
    usable = (rows >= 0) & (factors.split[rows] == "val") & factors.folded[rows]
    usable &= factors.listeners[rows] > 0
    places = np.flatnonzero(usable)
    chosen = places[evenly_spaced(len(places), TRACKS)]
    return [predictions.track_ids[place] for place in chosen]


def _scale(content: Array, true: Array) -> float:
    """By which predicted vectors are nearest to the true ones."""
    squares = float(np.square(content, dtype=np.float64).sum())
    product = float((content.astype(np.float64) * true).sum())
    return product / squares if squares > 0 and product > 0 else 1.0


def _with_artist(
    audience: Audience,
    content: Array,
    levels: NDArray[np.float64],
    untouched: Revelation,
    ensemble: Ensemble,
) -> Ensemble:
    """Choose the artist's weight; 0 where no artist is known, or where it doesn't help."""
    if not levels.any():
        return ensemble
    tried = [ensemble._replace(artist=weight) for weight in ARTISTS]
    figures = [untouched.ndcg(priors(audience, content, levels, each)) for each in tried]
    best = int(np.argmax([float(figure.double().mean()) for figure in figures]))
    # The least weight that is within one standard error of the best.
    for each, figure in zip(tried, figures, strict=True):
        loss = (figures[best] - figure).double()
        if float(loss.mean()) <= float(loss.std()) / max(1, len(loss)) ** 0.5:
            return each
    return tried[best]


class _Trials:
    """What plays gain beside content alone, in each round, by settings; each is tried once.

    Attributes:
        implicit: whether there are plays, and no ratings.
        found: settings → of each round, each listener's gain in NDCG@20.
    """

    def __init__(
        self,
        audience: Audience,
        content: Array,
        levels: NDArray[np.float64],
        rounds: Sequence[Revelation],
    ) -> None:
        self._space = (audience, content, levels)
        self._rounds = rounds
        self.implicit = audience.settings.algorithm == "implicit"
        self.found: dict[Ensemble, list[Tensor]] = {}
        self._before: dict[tuple[float, float], list[Tensor]] = {}

    def figures(self, tried: Ensemble) -> list[Tensor]:
        """Of each round, each listener's gain."""
        if tried not in self.found:
            audience, prior = self._space[0], priors(*self._space, tried)
            content = tried.scale, tried.artist
            if content not in self._before:
                self._before[content] = [each.ndcg(prior).double() for each in self._rounds]
            self.found[tried] = [
                each.ndcg(audience.joined(each.shown, prior, tried)).double() - before
                for each, before in zip(self._rounds, self._before[content], strict=True)
            ]
        return self.found[tried]

    def gains(self, tried: Ensemble) -> list[float]:
        """The mean gain at each number of plays shown, and in the mixtures."""
        means = [float(each.sum()) / max(1, len(each)) for each in self.figures(tried)]
        return [float(gain) for gain in np.array(means).reshape(-1, DRAWS).mean(1)]

    def best(self, default: Ensemble, others: Sequence[Ensemble]) -> Ensemble:
        """The best on average; the default unless that is better by more than a standard error."""
        best = max([default, *others], key=lambda each: float(np.mean(self.gains(each))))
        pairs = zip(self.figures(best), self.figures(default), strict=True)
        ahead = [one - other for one, other in pairs if len(one) > 1]
        errors = [float(each.std()) / len(each) ** 0.5 for each in ahead]
        gain = float(np.mean(self.gains(best))) - float(np.mean(self.gains(default)))
        return best if gain > float(np.mean(errors or [np.inf])) else default


def _with_scale(ensemble: Ensemble, trials: _Trials) -> Ensemble:
    """Choose a larger scale where least squares make predictions too small to stand up to plays.

    So it is with scores that mean something in the order of candidates alone, such as those of a
    softmax: most of their differences are between tracks that nobody would play.
    """
    larger = [ensemble._replace(scale=ensemble.scale * times) for times in SCALES]
    return trials.best(ensemble, larger)


def _with_evidence(ensemble: Ensemble, trials: _Trials, strength: float | None) -> Ensemble:
    """Choose how much plays count; nothing, where they only do harm."""
    strengths = STRENGTHS if strength is None else (strength,)
    values = VALUES if trials.implicit else (ensemble.value,)  # a rating says what it says
    grid = [ensemble._replace(strength=s, value=v) for s in strengths for v in values]
    best = max([ensemble, *grid], key=lambda each: float(np.mean(trials.gains(each))))
    unseen = UNSEEN if trials.implicit else ()
    best = trials.best(ensemble, [*grid, *(best._replace(unseen=w) for w in unseen)])
    if float(np.mean(trials.gains(best))) < 0 and strength is None:
        return best._replace(strength=CONTENT_ALONE)
    return best


def _ahead(factors: Factors) -> float:
    """Share of the known tracks' plays that the factorisation withheld, as if yet to come."""
    if factors.withheld is None or not factors.withheld.nnz:
        return 1.0
    known = factors.listens[:, ~factors.folded].nnz
    return float(factors.withheld.nnz / (factors.withheld.nnz + known))


class KnownScores:
    """What scores of known tracks say: how likely a track is played by a listener.

    A share of the known tracks' plays is withheld, tracks and then listeners are solved without
    it, and it is looked for among all that a listener hasn't played. So neither the test's tracks
    nor what the factorisation withheld is asked.

    Attributes:
        audience: of the factors.
        ahead: share of a known track's plays that are still to come.
        users: rows of the listeners that are asked.
        reliability: None if there are too few plays.
    """

    def __init__(self, audience: Audience, ahead: float | None = None, seed: int = 0) -> None:
        """Measure it.

        Args:
            audience: of the factors.
            ahead: by default the share that the factorisation withheld; 1 if it withheld nothing.
            seed: of what is withheld.
        """
        self.audience, factors = audience, audience.factors
        self.ahead = ahead or _ahead(factors)
        active = np.flatnonzero(factors.users.any(axis=1))
        self.users = active[evenly_spaced(len(active), USERS)]
        known = factors.listens[:, ~factors.folded].tocsr()
        # Entries are taken out, not set to 0: a rating of 0 is one.
        kept = np.random.default_rng(seed).random(known.nnz) >= WITHHELD
        row = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        pairs = (row[kept], known.indices[kept])
        shown = csr_matrix((known.data[kept], pairs), shape=known.shape)
        fixed = in_own_axes(audience.vectors).users  # by whom tracks were factorised
        tracks = half_step(shown.T.tocsr(), fixed, audience.settings)
        users = half_step(shown[self.users], tracks, audience.settings)
        seen = solved_again(factors, Solved(users, tracks), shown, self.users)
        asked = ~kept & (known.data > 0)
        entries = csr_matrix((asked.astype(np.int8), known.indices, known.indptr), known.shape)
        weight = self.ahead / WITHHELD
        self.reliability = _reliability(
            seen.users, seen.tracks, shown[self.users], entries[self.users], weight
        )

    def lift(self, vectors: Array, ids: Sequence[str], ensemble: Ensemble) -> Ensemble:
        """Choose length and offset: those under which the plays of validation tracks are most
        likely, if their scores said the same as known tracks' scores do.

        Args:
            vectors: [N, K] of the tracks, without their plays.
            ids: N ids.
            ensemble: the other numbers.
        """
        ensemble, known = ensemble._replace(ahead=self.ahead), self.reliability
        if known is None:
            log.warning(
                "too few plays of known tracks to compare scores of new ones with: these stay as "
                "they are predicted"
            )
            return ensemble._replace(length=1 / ensemble.scale)
        factors = self.audience.factors
        users = factors.users[self.users].astype(np.float64)
        scores = (users @ vectors.T.astype(np.float64)).ravel()
        common = np.repeat(users @ self.audience.common, len(ids))
        plays = factors.listens[self.users][:, factors.rows(ids)]
        played = np.asarray((plays > 0).todense()).ravel()

        def surprise(numbers: NDArray[np.float64]) -> float:
            lifted = np.exp(numbers[0]) * scores + numbers[1] * common
            odds = np.interp(lifted, known.scores, known.log_odds)
            return float(np.logaddexp(0, odds).sum() - odds[played].sum()) / len(scores)

        # Beyond the known scores nothing changes any more, so the search begins among them.
        starts = [np.array([length, 0.0]) for length in np.linspace(-_LENGTH, _LENGTH, 33)]
        solution = minimize(
            surprise,
            min(starts, key=surprise),
            method="Nelder-Mead",
            options={"xatol": 0.005, "fatol": 1e-7},
        )
        found = solution.x
        length, offset = (
            float(np.exp(np.clip(found[0], -_LENGTH, _LENGTH))),
            float(np.clip(found[1], -1, 1)),
        )
        return ensemble._replace(length=length, offset=offset)


def lifted(known: KnownScores, of_val: Predictions, vectors: Tensor) -> Tensor:
    """Vectors of new tracks, so that their scores say the same as known tracks' scores do.

    Args:
        known: what those say.
        of_val: what the same method predicts for the validation tracks.
        vectors: [N, K] of the new tracks.
    """
    audience = known.audience
    ids = _validation_tracks(of_val, audience.factors)
    if len(ids) < FEWEST:
        return vectors
    row = {track: i for i, track in enumerate(of_val.track_ids)}
    content = as_array(of_val.values[[row[track] for track in ids]])
    scale = _scale(content, audience.factors.tracks[audience.factors.rows(ids)])
    ensemble = known.lift(np.float32(scale) * content, ids, Ensemble(scale=scale))
    return audience.lifted(scale * vectors, ensemble)


class _Reliability(NamedTuple):
    """What scores of known tracks say.

    Attributes:
        scores: [B] ascending.
        log_odds: [B] that the track is played, ascending.
    """

    scores: NDArray[np.float64]
    log_odds: NDArray[np.float64]


def _reliability(
    users: Array, tracks: Array, shown: csr_matrix, looked_for: csr_matrix, weight: float
) -> _Reliability | None:
    """Log-odds by score, of pairs that aren't shown; a pair looked for counts `weight` times.

    None if fewer than 5 a bin are looked for.
    """
    pairs = looked_for.tocoo()
    wanted = pairs.data > 0
    u, t = pairs.row[wanted], pairs.col[wanted]
    found = np.einsum("ik,ik->i", users[u], tracks[t], dtype=np.float64)
    if len(found) < 5 * BINS:
        return None
    edges = np.unique(np.quantile(found, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts, sums = np.zeros(len(edges) + 1), np.zeros(len(edges) + 1)
    for start in range(0, len(users), 100):
        block = slice(start, start + 100)
        scores = users[block] @ tracks.T
        left = np.ones(scores.shape, bool)
        left[shown[block].nonzero()] = False
        candidates = scores[left].astype(np.float64)
        place = np.searchsorted(edges, candidates, side="right")
        counts += np.bincount(place, minlength=len(counts))
        sums += np.bincount(place, weights=candidates, minlength=len(counts))
    hits = np.bincount(np.searchsorted(edges, found, side="right"), minlength=len(counts))
    misses = counts - hits
    filled = counts > 0
    odds = np.log((weight * hits + 0.5) / (misses + 0.5))[filled]
    return _Reliability((sums / np.maximum(counts, 1))[filled], np.maximum.accumulate(odds))
