"""Factors as a model sees them: with what it knows of listeners beside their vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import Array, turned
from coldstart.factors.content_listeners import equations_of, mixed, solved, spread_ratio
from coldstart.factors.factorization import confidence_of
from coldstart.factors.factors import Factors
from coldstart.factors.folding import play_settings
from coldstart.factors.listener_axes import beside, with_axes
from coldstart.factors.listening import ContentListeners, Listening


def in_model_space(factors: Factors, listening: Listening, users: Array | None = None) -> Factors:
    """Factors in a model's space: its own vectors of listeners, and places on axes beside.

    Dot products are scores, as before. What is to be known of the factorisation itself, such as its
    axes, `narrow` has.

    Args:
        factors: those that the model was fitted to, or with listens since.
        listening: the model's.
        users: [U, K] as `users_in` gives them, where they are known already.

    Raises:
        InputError: the model was fitted to other factors.
    """
    if not listening:
        return factors
    seen = replace(factors, users=users_in(factors, listening) if users is None else users)
    if listening.axes is not None:
        seen = with_axes(seen, listening.axes)
    return replace(seen, axes=None, narrow=factors, listening=listening)


def users_in(factors: Factors, listening: Listening) -> Array:
    """[U, K] listeners' vectors in a model's space, without their places on axes beside.

    Raises:
        InputError: the model was fitted to other factors.
    """
    content = listening.content
    if content is None:
        return factors.users
    shape = (int((~factors.folded).sum()), factors.dim)
    predicted = content.equations.predicted
    if predicted.shape != shape:
        raise InputError(
            f"the model's predictions are of {predicted.shape[0]:,} tracks and "
            f"{predicted.shape[1]} factors, the factors of {shape[0]:,} and {shape[1]}: "
            "they don't belong together; copy the run again, or fit it anew"
        )
    vectors = seen_by_content(factors, content, factors.listens[:, : shape[0]])
    vectors[~factors.users.any(axis=1)] = 0.0
    return mixed(content, factors.users, vectors)


def content_listeners(factors: Factors, predicted: Array, share: float) -> ContentListeners:
    """What a model keeps to solve listeners' vectors from content.

    Args:
        factors: as factorised.
        predicted: [W, K] of the factorised tracks.
        share: of a listener's vector, from 0 to 1.
    """
    content = ContentListeners(equations_of(predicted, factors.users), share, 1.0)
    vectors = seen_by_content(factors, content, factors.listens[:, : len(predicted)])
    known = predicted[predicted.any(axis=1)]
    return content._replace(scale=spread_ratio(factors.users, vectors, known))


def seen_by_content(factors: Factors, content: ContentListeners, plays: csr_matrix) -> Array:
    """[U, K] listeners' vectors from content alone.

    Args:
        factors: which say how much a play counts.
        content: of the model.
        plays: [U, W] of factorised tracks.
    """
    return solved(confidence_of(plays.tocsr(), play_settings(factors.about)), content.equations)


class Solved(NamedTuple):
    """Some listeners' vectors, and all factorised tracks'.

    Attributes:
        users: [U, K].
        tracks: [W, K].
    """

    users: Array
    tracks: Array


def solved_again(
    factors: Factors, own: Solved, plays: csr_matrix, users: NDArray[np.int64]
) -> Solved:
    """Vectors that were solved from some of the plays alone, in a model's space.

    Args:
        factors: in the model's space, or as they are: then nothing changes.
        own: in the axes of the factorisation.
        plays: [all users, W] of factorised tracks that count.
        users: which rows `own.users` are of.
    """
    base, listening = factors.narrow, factors.listening
    if base is None:
        return own
    if base.axes is not None:
        own = Solved(turned(own.users, base.axes.users), turned(own.tracks, base.axes.tracks))
    content, axes = listening.content, listening.axes
    if content is not None:
        seen = seen_by_content(base, content, plays[users])
        own = own._replace(users=mixed(content, own.users, seen))
    if axes is not None:
        places = beside(base, axes, plays)
        tracks = [np.float32(factors.kept) * own.tracks, places.tracks]
        listeners = [own.users, places.listeners[users].astype(np.float32)]
        own = Solved(np.concatenate(listeners, axis=1), np.concatenate(tracks, axis=1))
    return own
