"""The warm-up curve: how well tracks are ranked after 0, 1, 2, 3, 5, 10 and 20 plays.

The test tracks' plays are hidden; of each track the first few, in an order drawn at random, are
shown, and the tracks are ranked for the listeners of the others. A listener isn't recommended what
they are shown to have played.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tabulate import tabulate
from torch import Tensor

from coldstart.errors import InputError
from coldstart.evaluation import uncertainty
from coldstart.evaluation.calibration import CONTENT_ALONE, Calibration
from coldstart.evaluation.metrics import K
from coldstart.evaluation.revelation import AGES, HiddenPlays, Revelation
from coldstart.factors.als import Array
from coldstart.factors.factors import Factors
from coldstart.factors.folding import half_step
from coldstart.model.ensemble import Audience, artist_levels, priors
from coldstart.model.predictions import Predictions, as_array
from coldstart.ranking import Scores, dot_scores

ENSEMBLE, CONTENT, PLAYS = "ensemble", "content alone", "plays alone"
BLEND, RANDOM = "blend of both scores", "random"
"""Methods."""

BLENDS = (0.1, 0.2, 0.3, 0.5, 0.7)
"""Weights of the plays' scores that are tried for the blend, on validation tracks."""

DRAWS = 3
"""How often the plays that are shown are drawn; each listener's figure is the mean."""


class WarmUpRow(NamedTuple):
    """A method's figure at one age; intervals are 95 %, by bootstrap over users.

    Attributes:
        plays: how many plays of each track are shown.
        method: what ranks.
        ndcg: NDCG@20, mean over users.
        ndcg_low: lower end of its interval.
        ndcg_high: upper end.
        ensemble_ahead: the ensemble's figure minus this method's, paired; None: it is the ensemble.
        ahead_low: lower end of its interval.
        ahead_high: upper end.
        users: how many listeners are averaged.
    """

    plays: int
    method: str
    ndcg: float
    ndcg_low: float
    ndcg_high: float
    ensemble_ahead: float | None
    ahead_low: float | None
    ahead_high: float | None
    users: int


class WarmUp(NamedTuple):
    """The curve.

    Attributes:
        about: what the figures must be read with.
        rows: of each age, each method.
        by_user: user_id, plays, method, ndcg.
    """

    about: dict[str, Any]
    rows: list[WarmUpRow]
    by_user: pl.DataFrame


def warm_up(
    predictions: Predictions,
    tracks: list[str],
    factors: Factors,
    calibration: Calibration,
    artists: Mapping[str, str] | None = None,
    seed: int = 0,
) -> WarmUp:
    """Measure the curve.

    Args:
        predictions: of the test tracks, and of the validation tracks.
        tracks: ids of the test tracks.
        factors: of the model's training.
        calibration: the ensemble, chosen on validation tracks.
        artists: track id → artist.
        seed: of the plays that are shown.

    Raises:
        InputError: nobody with a vector has played any of them.
    """
    audience, ensemble = Audience(factors), calibration.ensemble
    row = {track: i for i, track in enumerate(predictions.track_ids)}

    def content_of(ids: list[str]) -> Array:
        return as_array(predictions.values[[row[track] for track in ids]])

    content = content_of(tracks)
    prior = priors(audience, content, artist_levels(audience, tracks, artists or {}), ensemble)
    hidden = [HiddenPlays(audience, tracks, seed + draw) for draw in range(DRAWS)]
    val = [t for t in predictions.track_ids if t in factors.row and _is_val(factors, t)]
    blend = _blend_weight(audience, HiddenPlays(audience, val, seed), content_of(val))
    rows: list[WarmUpRow] = []
    figures: list[pl.DataFrame] = []
    for age in AGES:
        draws = []
        for shown in [each.shown(age) for each in hidden]:
            by_plays = _by_plays(audience, shown)
            methods = {
                ENSEMBLE: shown.ndcg(audience.joined(shown.shown, prior, ensemble)),
                CONTENT: shown.ndcg(content),
                PLAYS: shown.ndcg(by_plays),
                BLEND: shown.ndcg_by(_blended(shown, content, by_plays, blend)),
                RANDOM: shown.ndcg_by(_random(shown, seed)),
            }
            draws.append(_table(age, shown.user_ids, methods))
        by_user = pl.concat(draws).group_by("user_id", "plays", maintain_order=True).mean()
        if by_user.is_empty():
            break
        rows += _rows(age, by_user.select(list(methods)), seed)
        index = ["user_id", "plays"]
        figures.append(by_user.unpivot(index=index, variable_name="method", value_name="ndcg"))
    if not rows:
        raise InputError(
            f"none of the {len(tracks):,} test tracks was played by a listener with a vector, so "
            "there is no warm-up to measure"
        )
    about = {
        "k": K,
        "tracks": len(tracks),
        "tracks_with_plays": int((np.diff(hidden[0].shown(1).shown.indptr) > 0).sum()),
        "draws": DRAWS,
        "ages": sorted({each.plays for each in rows}),
        "ensemble": ensemble._asdict(),
        "chosen_on": calibration.about,
        "blend": blend,
        "protocol": factors.about.get("protocol"),
        "seed": seed,
    }
    return WarmUp(about, rows, pl.concat(figures))


def _is_val(factors: Factors, track: str) -> bool:
    row = factors.row[track]
    return bool(factors.folded[row]) and str(factors.split[row]) == "val"


def _by_plays(audience: Audience, shown: Revelation) -> Array:
    """Vectors from the plays that are shown alone, as the factorisation folds a track in."""
    return audience.from_own(half_step(shown.shown, audience.users, audience.settings))


def _blend_weight(audience: Audience, hidden: HiddenPlays, content: Array) -> float:
    """The weight of plays that is best on the validation tracks, on average over the ages."""
    if not hidden.track_ids:
        return BLENDS[0]
    rounds = [hidden.shown(age) for age in AGES[1:]]
    rounds = [shown for shown in rounds if shown.user_ids]
    plays = [_by_plays(audience, shown) for shown in rounds]

    def quality(weight: float) -> float:
        figures = [
            float(shown.ndcg_by(_blended(shown, content, vectors, weight)).double().mean())
            for shown, vectors in zip(rounds, plays, strict=True)
        ]
        return float(np.mean(figures)) if figures else 0.0

    return max(BLENDS, key=quality)


def _blended(shown: Revelation, content: Array, plays: Array, weight: float) -> Scores:
    """Both scores, standardised for each listener, and added."""
    one = dot_scores(shown.users, torch.from_numpy(np.ascontiguousarray(content)))
    other = dot_scores(shown.users, torch.from_numpy(np.ascontiguousarray(plays)))

    def scores(rows: slice) -> Tensor:
        return (1 - weight) * _standardised(one(rows)) + weight * _standardised(other(rows))

    return scores


def _standardised(scores: Tensor) -> Tensor:
    spread = scores.std(1, keepdim=True).clamp_min(1e-12)
    return (scores - scores.mean(1, keepdim=True)) / spread


def _random(shown: Revelation, seed: int) -> Scores:
    """A random order for each listener."""
    count = shown.relevant.shape[1]

    def scores(rows: slice) -> Tensor:
        generator = torch.Generator().manual_seed(seed + rows.start)
        return torch.rand(len(shown.users[rows]), count, generator=generator)

    return scores


def _rows(age: int, figures: pl.DataFrame, seed: int) -> list[WarmUpRow]:
    """The figures of one age, a column a method, and the ensemble beside each."""
    names = figures.columns
    by_user = torch.from_numpy(figures.to_numpy(writable=True)).T.contiguous()
    resampled = uncertainty.resampled_means(by_user, seed=seed)
    rows = []
    for i, name in enumerate(names):
        low, high = uncertainty.interval(resampled[:, i])
        mean, users = float(by_user[i].double().mean()), by_user.shape[1]
        row = WarmUpRow(age, name, mean, low, high, None, None, None, users)
        if i:
            gap = uncertainty.difference(by_user[0], by_user[i], resampled[:, [0, i]])
            row = row._replace(ensemble_ahead=gap.mean, ahead_low=gap.low, ahead_high=gap.high)
        rows.append(row)
    return rows


def _table(age: int, users: list[str], methods: Mapping[str, Tensor]) -> pl.DataFrame:
    """A row a listener, a column a method."""
    columns = {name: figure.float().numpy() for name, figure in methods.items()}
    ids = pl.Series("user_id", users, dtype=pl.String)
    return pl.DataFrame({"user_id": ids, "plays": np.full(len(users), age), **columns})


def table(rows: list[WarmUpRow], form: str = "simple") -> str:
    """A line for each age: each method's NDCG@20; below, how far the ensemble is ahead of two."""
    ages = sorted({row.plays for row in rows})
    at = {(row.method, row.plays): row for row in rows}
    names = list(dict.fromkeys(row.method for row in rows))
    figures = [[str(age), *(f"{at[name, age].ndcg:.3f}" for name in names)] for age in ages]
    gaps = [[str(age), *(_gap(at[name, age]) for name in (CONTENT, PLAYS))] for age in ages]
    beside = [f"ensemble beside {name}" for name in (CONTENT, PLAYS)]
    tables = [
        tabulate(lines, headers=headers, tablefmt=form, disable_numparse=True)
        for lines, headers in ((figures, ["plays", *names]), (gaps, ["plays", *beside]))
    ]
    return "NDCG@20 after so many plays\n\n" + "\n\n".join(tables)


def _gap(row: WarmUpRow) -> str:
    return f"{row.ensemble_ahead:+.3f} ({row.ahead_low:+.3f} to {row.ahead_high:+.3f})"


def caption(about: Mapping[str, Any], rows: list[WarmUpRow]) -> str:
    """What the figures must be read with."""
    numbers, chosen = about["ensemble"], about["chosen_on"]
    users = [row.users for row in rows if row.method == ENSEMBLE]
    artist = f", artist's level × {numbers['artist']:g}" if numbers["artist"] else ""
    on = f"{chosen['tracks']:,} validation tracks" if chosen.get("tracks") else chosen["note"]
    return (
        f"{about['tracks']:,} test tracks ({about['tracks_with_plays']:,} with plays), ranked for "
        f"{min(users):,} to {max(users):,} listeners of the plays that aren't shown, mean of "
        f"{about['draws']} draws;\n"
        f"{_evidence(numbers)}{artist}: chosen on {on};\n"
        f"blend: standardised scores, plays' weight {about['blend']:g} by validation tracks; 95 % "
        f"by bootstrap over users, paired; {about['protocol']}; seed {about['seed']}"
    )


def _evidence(numbers: Mapping[str, float]) -> str:
    if numbers["strength"] >= CONTENT_ALONE:
        return "plays count nothing, for they did harm"
    return (
        f"content counts as much as the plays of {numbers['strength']:g} listeners, a play says "
        f"{numbers['value']:g}, who hasn't played it weighs {numbers['unseen']:g}"
    )
