"""The taste of somebody who isn't in the log, from the tracks that they like."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.factorization import confidence_of
from coldstart.factors.folding import settings_of
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.query import Query, like

log = logging.getLogger(__name__)


def liked(catalogue: Catalogue, tracks: Sequence[str]) -> Query:
    """Fold in a listener who has played these tracks once each, and nothing else.

    One half-step of the factorisation, the tracks fixed, as for a listener of the log; with
    `explicit` factors, each track has the log's highest rating. The place of a cold track is what
    its content predicts; if only its direction is predicted, it gets a warm track's typical length.

    Args:
        catalogue: the tracks.
        tracks: ids, at least one; each counts once.

    Returns:
        The query, without these tracks.

    Raises:
        InputError: an unknown track or one without a place, no factors, or nothing that could be
            folded in.
    """
    if not tracks:
        raise InputError("name at least one track that is liked")
    factors = catalogue.known_factors()
    rows = like(catalogue, list(dict.fromkeys(tracks))).excluded
    places = _places(catalogue, rows)
    about, axes = factors.about, factors.axes
    gram = catalogue.gram
    if axes is not None:  # the penalty counts in the axes of the factorisation
        places, gram = places @ axes.users.T, axes.users @ gram @ axes.users.T
    width = len(gram)
    if about["algorithm"] == "explicit":
        rating = float(factors.listens.data.max(initial=1.0))
        left = places.T @ places + about["regularization"] * len(rows) * np.eye(width)
        right = rating * places.sum(0)
    else:
        one_play = csr_matrix(np.ones((1, 1), np.float32))
        confidence = float(confidence_of(one_play, settings_of(about)).data[0])
        left = gram + about["regularization"] * np.eye(width)
        left = left + (confidence - 1) * places.T @ places
        right = confidence * places.sum(0)
    vector = np.linalg.lstsq(left, right, rcond=None)[0]
    if axes is not None:
        vector = vector @ axes.users
    if not np.isfinite(vector).all() or not vector.any():
        raise InputError("these tracks say nothing of a taste: their places are zero")
    return Query(torch.from_numpy(vector.astype(np.float32)), rows, catalogue.by_length)


def _places(catalogue: Catalogue, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """[L, K] of liked tracks, those of cold ones as long as a warm one's."""
    places = catalogue.vectors[torch.from_numpy(rows)].double().numpy()
    cold = rows >= catalogue.warm
    if cold.any() and not catalogue.by_length and catalogue.warm:
        lengths = np.linalg.norm(places[cold], axis=1, keepdims=True)
        places[cold] *= catalogue.typical_length / np.where(lengths > 0, lengths, 1.0)
    if cold.all():
        log.info("none of the liked tracks has plays in the factors: their content speaks for them")
    return places
