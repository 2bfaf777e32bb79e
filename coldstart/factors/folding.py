"""Listens since the fit → vectors in the same space: one half-step a side, the other side fixed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import Array, fold_in, turned
from coldstart.factors.events import places_of
from coldstart.factors.factorization import FactorizationSettings, confidence_of
from coldstart.factors.factors import Factors, supporting_listeners
from coldstart.factors.posterior import Evidence, gram_of, posterior

FULL = 20
"""From so many plays on, what a listener hasn't played counts as much as in the factorisation."""


class Folding(NamedTuple):
    """Factors with listens folded in, and what was solved for it.

    Attributes:
        factors: with new users and tracks after the factorised ones, in order of their ids.
        users: number of users solved.
        tracks: number of tracks solved.
    """

    factors: Factors
    users: int
    tracks: int


def settings_of(about: dict[str, Any]) -> FactorizationSettings:
    """The settings of a factorisation, from what it says of itself.

    Raises:
        InputError: it doesn't say with how much each play counted.
    """
    try:
        return FactorizationSettings(
            strict=True,
            algorithm=about["algorithm"],
            factors=about["factors"],
            regularization=about["regularization"],
            shrinkage=about.get("shrinkage", 0.0),
            iterations=about["iterations"],
            weighting=about.get("weighting", "log"),
            alpha=about.get("alpha", 2.0),
            axes=about.get("axes", "als"),
            seed=about["seed"],
            hold_out=0.0,
            until=None,
        )
    except KeyError as error:
        raise InputError(
            f"factors.json doesn't say {error}, without which plays can't be weighed; factorise "
            "again (`coldstart factorize`)"
        ) from error


def play_settings(about: dict[str, Any]) -> FactorizationSettings:
    """The same where only what a play weighs is asked: of an early version's factors no more is
    known.

    Raises:
        InputError: not even that.
    """
    return settings_of({"iterations": 0, "seed": 0, **about})


def check_foldable(base: Factors, place: str) -> None:
    """Raise InputError if what folding in needs wasn't stored by the version that factorised."""
    if "id" not in base.about:
        raise InputError(f"{place}: a very early version made these factors; factorise again")
    if base.about.get("axes", "als") == "scores" and base.axes is None:
        raise InputError(
            f"{place}: an earlier version of coldstart made these factors with --axes scores, and "
            "didn't store what folding in needs; factorise again"
        )
    settings_of(base.about)


def fold_listens(
    base: Factors,
    pairs: pl.DataFrame,
    before: Factors | None = None,
    recent: pl.DataFrame | None = None,
) -> Folding:
    """Fold listens since the fit into the factors' space.

    A user with listens of factorised tracks is solved from all plays of those, the tracks' vectors
    fixed as factorised, and drawn to the mean user (see `listener_vectors`). A track with
    listens of factorised users is solved from all their plays,
    their vectors fixed as factorised. So a result depends on all listens, not on their order.

    Args:
        base: as factorised. What it withheld counts as played from now on.
        pairs: all listens since: user_id, track_id, plays or rating; one row a pair.
        before: the factors with all listens but the most recent; to solve only what these touch.
        recent: these: a table with user_id and track_id; None: solve what any of `pairs` touches.

    Returns:
        The factors; their id is that of `base`.
    """
    settings = settings_of(base.about)
    user_ids = _extended(base.user_ids, pairs["user_id"])
    track_ids = _extended(base.track_ids, pairs["track_id"])
    listens = _all_listens(base, pairs, user_ids, track_ids)
    old = base if before is None else before
    users, tracks = (
        _moved(old.users, old.user_ids, user_ids),
        _moved(old.tracks, old.track_ids, track_ids),
    )
    support = _moved(old.listeners[:, None], old.track_ids, track_ids).ravel()

    changed = (pairs if recent is None else recent).select("user_id", "track_id")
    row = places_of(changed["user_id"], user_ids).to_numpy()
    column = places_of(changed["track_id"], track_ids).to_numpy()
    warm, known = int((~base.folded).sum()), len(base.user_ids)
    active = np.zeros(len(user_ids), dtype=bool)
    active[:known] = base.users.any(axis=1)
    changed_users = np.unique(row[column < warm])
    changed_tracks = np.unique(column[active[row]])

    own = in_own_axes(base)
    fixed_tracks, fixed_users = own.tracks[:warm], own.users
    rows = listens[changed_users][:, :warm].tocsr()
    solution = listener_vectors(rows, fixed_tracks, mean_listener(base), settings)
    users[changed_users] = solution if base.axes is None else turned(solution, base.axes.users)
    columns = listens[:known][:, changed_tracks].tocsr()
    solution = half_step(columns.T.tocsr(), fixed_users, settings)
    tracks[changed_tracks] = solution if base.axes is None else turned(solution, base.axes.tracks)
    support[changed_tracks] = supporting_listeners(columns, base.users)

    new = len(track_ids) - len(base.track_ids)
    factors = Factors(
        track_ids=track_ids,
        user_ids=user_ids,
        tracks=tracks,
        users=users,
        folded=np.concatenate([base.folded, np.ones(new, dtype=bool)]),
        split=np.concatenate([base.split, np.full(new, "")]),
        listens=listens,
        about={key: value for key, value in base.about.items() if key != "withheld"},
        axes=base.axes,
        support=support,
    )
    return Folding(factors, len(changed_users), len(changed_tracks))


def _extended(ids: list[str], others: pl.Series) -> list[str]:
    """The ids, and after them the others that aren't among them, sorted."""
    unique = others.unique().sort()
    return [*ids, *unique.filter(places_of(unique, ids).is_null()).to_list()]


def _moved(values: NDArray[Any], ids: list[str], new_ids: list[str]) -> NDArray[Any]:
    """Rows [ids, K] in the order of other ids; zeros for ids that have none."""
    result = np.zeros((len(new_ids), values.shape[1]), dtype=values.dtype)
    result[places_of(pl.Series(ids, dtype=pl.String), new_ids).to_numpy()] = values
    return result


def _all_listens(
    base: Factors, pairs: pl.DataFrame, user_ids: list[str], track_ids: list[str]
) -> csr_matrix:
    """The factorised log, what it withheld, and the listens since: plays are added up; of ratings,
    newer ones replace the older.
    """
    shape = (len(user_ids), len(track_ids))
    row = places_of(pairs["user_id"], user_ids).to_numpy()
    column = places_of(pairs["track_id"], track_ids).to_numpy()
    amounts = pairs[pairs.columns[2]].to_numpy().astype(np.float32)
    parts = [base.listens] if base.withheld is None else [base.listens, base.withheld]
    if base.about["algorithm"] == "implicit":
        listens = csr_matrix((amounts, (row, column)), shape=shape)
        for part in parts:
            listens = listens + _enlarged(part, shape)
        listens.sort_indices()
        return listens
    # A sum would drop stored zeros, which are ratings.
    entries = [part.tocoo() for part in parts]
    rows = np.concatenate([each.row for each in entries]).astype(np.int64)
    columns = np.concatenate([each.col for each in entries]).astype(np.int64)
    older = ~np.isin(rows * shape[1] + columns, row * shape[1] + column)
    data = np.concatenate([each.data for each in entries])[older]
    places = (np.append(rows[older], row), np.append(columns[older], column))
    return csr_matrix((np.append(data, amounts), places), shape=shape)


def _enlarged(matrix: csr_matrix, shape: tuple[int, int]) -> csr_matrix:
    """The matrix with empty rows and columns after its own."""
    end = np.full(shape[0] - matrix.shape[0], matrix.indptr[-1], dtype=matrix.indptr.dtype)
    indptr = np.concatenate([matrix.indptr, end])
    return csr_matrix((matrix.data, matrix.indices, indptr), shape=shape)


class OwnAxes(NamedTuple):
    """Vectors in the axes of the factorisation, in which its penalty counts.

    Attributes:
        tracks: [N, K].
        users: [U, K].
    """

    tracks: Array
    users: Array


def in_own_axes(factors: Factors) -> OwnAxes:
    """Vectors of all tracks and users in the axes of the factorisation."""
    axes = factors.axes
    if axes is None:
        return OwnAxes(factors.tracks, factors.users)
    return OwnAxes(turned(factors.tracks, axes.users.T), turned(factors.users, axes.tracks.T))


def mean_listener(factors: Factors) -> NDArray[np.float64]:
    """[K] mean of the users with a vector, in the axes of the factorisation; zeros if none has."""
    active = factors.users.any(axis=1)
    if not active.any():
        return np.zeros(factors.dim)
    mean: NDArray[np.float64] = in_own_axes(factors).users[active].mean(0, dtype=np.float64)
    return mean


def listener_vectors(
    plays: csr_matrix,
    tracks: Array,
    mean: NDArray[np.float64],
    settings: FactorizationSettings,
    gram: NDArray[np.float64] | None = None,
) -> Array:
    """Vectors of listeners from their plays, the tracks' fixed: drawn to the mean listener.

    Of who has played one track little is known, and what they haven't played says almost nothing:
    it counts n/`FULL` of its weight from n < `FULL` plays on. The penalty is the factorisation's.

    Args:
        plays: [U, N] plays or ratings, at least one a listener.
        tracks: [N, K] in the axes of the factorisation.
        mean: [K] of listeners, in the same axes.
        settings: of the factorisation.
        gram: [K, K] Σ q qᵀ over all tracks that could have been played; by default `tracks`.

    Returns:
        [U, K] in the same axes.
    """
    if settings.algorithm == "explicit":
        beyond = csr_matrix(plays, copy=True)
        beyond.data = plays.data - (tracks[plays.indices] @ mean).astype(np.float32)
        return (mean + half_step(beyond, tracks, settings)).astype(np.float32)
    counts = np.minimum(np.diff(plays.indptr), FULL)
    result = np.zeros((plays.shape[0], tracks.shape[1]), np.float32)
    everything = gram_of(tracks) if gram is None else gram
    for count in np.unique(counts):
        rows = np.flatnonzero(counts == count)
        evidence = Evidence(settings.regularization, count / FULL)
        result[rows] = posterior(plays[rows], tracks, mean, evidence, settings, everything)
    return result


def half_step(rows: csr_matrix, other: Array, settings: FactorizationSettings) -> Array:
    """Vectors of users or tracks from their plays or ratings, the other side's vectors fixed.

    Args:
        rows: [N, U] plays or ratings.
        other: [U, K] in the axes of the factorisation.
        settings: of the factorisation.

    Returns:
        [N, K] in the same axes.

    Raises:
        InputError: λ is too small for so few listens.
    """
    strength = confidence_of(rows, settings) if settings.algorithm == "implicit" else rows
    try:
        return fold_in(strength, other, settings.regularization, settings.algorithm)
    except ValueError as error:  # of LAPACK, through the library
        if "posv" not in str(error):
            raise
        raise InputError(
            f"with regularization {settings.regularization:g} the listens don't determine "
            f"{settings.factors} factors; factorise with a larger --regularization"
        ) from error
