"""Listeners as content shows them: vectors solved from predictions of what they have played.

A factorisation fits a listener's vector to the tracks' own vectors. But a new track is ranked by
what content predicts of it, which is shorter in all directions, and in some nothing. So a second
vector is solved for each listener: a half-step of implicit ALS (Hu, Koren, Volinsky, ICDM 2008) in
which each track they have played stands where a regression puts it that has not seen it. What
content can't tell of taste has no part in it, and what it tells badly has little. The mean of both
ranks better than either, new tracks and known ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from coldstart.factors.als import Array, score_axes, solve_implicit, turned
from coldstart.factors.listening import ContentListeners, Equations

PLAY = 10.0
"""How much more a listener's mean play weighs than a track that they haven't played; the penalty is
the mean square of the predictions on an axis. Neither makes much difference, so neither is chosen.
"""


def equations_of(predicted: Array, users: Array) -> Equations:
    """What listeners' vectors are solved from.

    Args:
        predicted: [W, K] in the factors' axes; zeros where nothing is predicted.
        users: [U, K] of the factorisation, which say what an axis is worth.
    """
    axes = score_axes(users[users.any(axis=1)])
    places = turned(predicted, axes.tracks)
    gram = places.T.astype(np.float64) @ places
    # Axes in which no listener differs are empty: there, nothing is to be solved.
    worth = max(1, int(axes.tracks.any(axis=0).sum()))
    penalty = max(float(np.trace(gram)) / worth, 1e-12)
    gram.flat[:: len(gram) + 1] += penalty
    return Equations(places, gram.astype(np.float32), axes.tracks.T.astype(np.float32))


def solved(weights: csr_matrix, equations: Equations) -> Array:
    """Listeners' vectors, in the factors' axes.

    Args:
        weights: [U, W] what each play weighs; only the proportions count for a listener.
        equations: as `equations_of` gives them.

    Returns:
        [U, K]; zeros of those who have played nothing that is predicted.
    """
    predicted, gram, back = equations
    weights = csr_matrix(weights @ diags(np.asarray(predicted.any(axis=1), np.float32)))
    weights.eliminate_zeros()
    result = np.zeros((weights.shape[0], len(back)), np.float32)
    counts = np.diff(weights.indptr)
    rows = np.flatnonzero(counts)
    if not len(rows):
        return result
    means = np.asarray(weights.sum(axis=1)).ravel()[rows] / counts[rows]
    asked = csr_matrix(diags(PLAY / means) @ weights[rows], dtype=np.float32)
    asked.data += np.float32(1.0)
    result[rows] = solve_implicit(asked, predicted, gram, 0.0) @ back
    return result


def spread_ratio(users: NDArray[np.floating], vectors: Array, tracks: Array) -> float:
    """How much wider scores by `users` [U, K] spread over the tracks than those by `vectors`."""
    centred = tracks.astype(np.float64) - tracks.mean(0, dtype=np.float64)
    covariance = centred.T @ centred

    def spread(table: NDArray[np.floating]) -> float:
        wide = table.astype(np.float64)
        return float(((wide @ covariance) * wide).sum())

    own = spread(vectors)
    return float(np.sqrt(spread(users) / own)) if own > 0 else 0.0


def mixed(content: ContentListeners, users: Array, vectors: Array) -> Array:
    """Listeners' vectors in the model, [U, K], from the factorisation's and those from content."""
    share = np.float32(content.share)
    return (1 - share) * users + share * np.float32(content.scale) * vectors
