"""What listeners' own plays say, beside their vectors: axes along which content can tell it.

A factorisation keeps what many listeners have in common, and loses what is particular to one, such
as an artist whom few others know. A regression from content to each listener's own column of the
log would keep it, but has as many outputs as there are listeners. Of these outputs, the axes that
content predicts most of are kept (reduced-rank regression; A. Izenman, J. Multivariate Analysis
1975): a listener's place on them is a sum over their plays, a track's place is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from coldstart.errors import InputError
from coldstart.factors.als import Array
from coldstart.factors.factorization import FactorizationSettings, confidence_of
from coldstart.factors.factors import Factors
from coldstart.factors.folding import play_settings, settings_of
from coldstart.factors.listening import ListenerAxes

_SPARE = 64
"""Columns more than are wanted, with which the strongest axes are found."""


class Beside(NamedTuple):
    """Places on listeners' own axes.

    Attributes:
        tracks: [W, M].
        listeners: [U, M].
    """

    tracks: Array
    listeners: NDArray[np.float64]


def play_weights(
    listens: csr_matrix, settings: FactorizationSettings, known: int | None = None
) -> csr_matrix:
    """What each play says of its listener: its confidence, a listener's all together of length 1.

    Args:
        listens: [U, N] plays.
        settings: of the factorisation, which say how much a play counts.
        known: so many of the tracks, the first ones, make up the length, and a play of another one
            weighs what it would beside them; by default all.
    """
    weights = confidence_of(listens.tocsr(), settings).astype(np.float64)
    asked = weights if known is None else weights[:, :known]
    lengths = np.sqrt(np.asarray(asked.multiply(asked).sum(axis=1))).ravel()
    return csr_matrix(diags(np.divide(1, lengths, out=lengths, where=lengths > 0)) @ weights)


def listener_axes(
    factors: Factors, track_ids: Sequence[str], smoother: torch.Tensor, share: float, count: int
) -> ListenerAxes:
    """The axes of listeners' own plays that content predicts most of.

    Args:
        factors: with the plays; of their tracks, those that were factorised count.
        track_ids: n factorised tracks, whose content is known.
        smoother: [n, n] float64: from columns of the log to what content predicts of them.
        share: of the score that the axes shall have, above 0 and below 1.
        count: how many axes; at most n.
    """
    warm = int((~factors.folded).sum())
    weights = play_weights(factors.listens[:, :warm], settings_of(factors.about))
    active = np.diff(weights.indptr) > 0
    weights, users = weights[active], factors.users[active].astype(np.float64)
    rows = factors.rows(track_ids)
    own = weights[:, rows]
    means = np.asarray(own.mean(axis=1)).ravel()
    # The covariance of the columns, centred by listener, without ever holding them.
    cross = np.asarray(own.T @ means)
    covariance = (own.T @ own).toarray() - cross[:, None] - cross[None] + float(means @ means)
    fitted = smoother @ torch.from_numpy(covariance) @ smoother.T
    values, axes = _strongest(fitted, min(count, len(rows)))
    along = (smoother.T @ axes / values.sqrt()).numpy()
    along *= np.sqrt(len(means))
    loadings = np.zeros((warm, along.shape[1]))
    loadings[rows] = along - along.mean(axis=0)
    listeners = weights @ loadings
    places = np.asarray(weights.T @ listeners) / len(means)
    places -= places.mean(0)
    # Both parts of the score get the same spread over what they were fitted on.
    vectors = factors.tracks[rows].astype(np.float64)
    by_vectors = (smoother @ torch.from_numpy(vectors - vectors.mean(0))).numpy()
    by_plays = (smoother @ torch.from_numpy(places[rows])).numpy()
    spread = np.mean(np.square(by_plays).sum(1))
    common = np.mean(((by_vectors @ (users.T @ users)) * by_vectors).sum(1)) / len(users)
    scale = float(np.sqrt(common / spread)) if spread > 0 else 0.0
    places *= share * scale
    return ListenerAxes(loadings.astype(np.float32), places.astype(np.float32), share)


def _strongest(matrix: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest eigenvalues of a symmetric matrix [n, n], none near 0, and their vectors."""
    if len(matrix) <= 4 * (count + _SPARE):
        values, vectors = torch.linalg.eigh(matrix)
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            vectors, values, _ = torch.svd_lowrank(matrix, q=count + _SPARE, niter=4)
        values, vectors = values[:count], vectors[:, :count]
    kept = values > 1e-9 * values[0].clamp_min(1e-300)
    return values[kept], vectors[:, kept]


def with_axes(factors: Factors, axes: ListenerAxes) -> Factors:
    """Vectors with places on listeners' own axes after their own K numbers: [·, K + M].

    Dot products are scores, as before: of the vectors, times 1 − share, and of the places.

    Args:
        factors: those that the axes were made from, or with listens since.
        axes: of a model.

    Raises:
        InputError: the axes are of other tracks.
    """
    warm, width = axes.loadings.shape
    if axes.places.shape != (warm, width) or warm != (~factors.folded).sum():
        raise InputError(
            f"the model's axes of listeners' own plays are of {warm:,} tracks, the factors of "
            f"{(~factors.folded).sum():,}: they don't belong together; copy the run again, or fit "
            "it anew"
        )
    weights = play_weights(factors.listens, play_settings(factors.about), warm)
    listeners = np.asarray(weights[:, :warm] @ axes.loadings.astype(np.float64))
    listeners[~factors.users.any(axis=1)] = 0.0
    places = np.concatenate([axes.places, _folded_in(weights, listeners, axes.places)])
    tracks = np.concatenate([np.float32(1 - axes.share) * factors.tracks, places], axis=1)
    mean = tracks[:warm].mean(0)
    about = factors.about | {
        "factors": factors.dim + width,
        "mean": mean.tolist(),
        "spread": float(np.sqrt(np.square(tracks[:warm] - mean).mean())),
    }
    users = np.concatenate([factors.users, listeners.astype(np.float32)], axis=1)
    return replace(factors, tracks=tracks, users=users, about=about)


def beside(factors: Factors, axes: ListenerAxes, listens: csr_matrix) -> Beside:
    """Places on a model's axes, from some of the plays alone.

    Args:
        factors: those that the axes were made from.
        axes: of the model.
        listens: [U, W] plays of factorised tracks that count.
    """
    weights = play_weights(listens, settings_of(factors.about))
    listeners = np.asarray(weights @ axes.loadings.astype(np.float64))
    columns = np.asarray(weights.T @ listeners)
    places = _scale(columns, axes.places) * _centred(columns)
    return Beside(places.astype(np.float32), listeners)


def _folded_in(weights: csr_matrix, listeners: NDArray[np.float64], places: Array) -> Array:
    """Places of the tracks after the factorised ones, from the plays of listeners with a place."""
    warm = len(places)
    columns = np.asarray(weights.T @ listeners)
    scale = _scale(columns[:warm], places)
    moved = scale * (columns[warm:] - columns[:warm].mean(0))
    return np.asarray(moved, np.float32)


def _centred(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(columns - columns.mean(0))


def _scale(columns: NDArray[np.float64], places: Array) -> float:
    """That of the factorised tracks' places, which the fit has chosen, by all of their plays."""
    centred = _centred(columns)
    return float((centred * places).sum()) / max(float(np.square(centred).sum()), 1e-300)
