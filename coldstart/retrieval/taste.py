"""The taste of somebody who isn't in the log, from the tracks that they like."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import Array, turned
from coldstart.factors.content_listeners import mixed
from coldstart.factors.factors import Factors
from coldstart.factors.folding import listener_vectors, mean_listener, settings_of
from coldstart.factors.listening import ContentListeners
from coldstart.factors.model_space import seen_by_content
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.query import Query, like

log = logging.getLogger(__name__)


def liked(catalogue: Catalogue, tracks: Sequence[str]) -> Query:
    """Fold in a listener who has played these tracks once each, and nothing else.

    As for a new listener of the log, the tracks are fixed, and the vector is drawn to the mean
    listener's; with `explicit` factors, each track has the log's highest rating. A cold track has
    the place of its content and plays; where only a direction is known, a typical length.

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
    space = catalogue.known_factors()
    factors = space.narrow or space
    rows = like(catalogue, list(dict.fromkeys(tracks))).excluded
    places, gram, axes = _places(catalogue, rows), catalogue.gram, factors.axes
    if factors is not space:  # of the model's own axes a sum over the tracks is enough
        keep = space.kept
        places, gram = places[:, : factors.dim] / keep, gram[: factors.dim, : factors.dim] / keep**2
    if axes is not None:  # the penalty counts in the axes of the factorisation
        places, gram = places @ axes.users.T, axes.users @ gram @ axes.users.T
    settings = settings_of(factors.about)
    explicit = settings.algorithm == "explicit"
    amount = float(factors.listens.data.max(initial=1.0)) if explicit else 1.0
    plays = csr_matrix(np.full((1, len(rows)), amount, np.float32))
    own = places.astype(np.float32)
    vector = listener_vectors(plays, own, mean_listener(factors), settings, gram)[0]
    if axes is not None:
        vector = turned(vector[None], axes.users)[0]
    if not np.isfinite(vector).all() or not vector.any():
        raise InputError("these tracks say nothing of a taste: their places are zero")
    own_axes, content = space.listening
    known = _factorised(space, tracks)
    if content is not None:
        vector = _seen_by_content(space, content, known, vector)
    if own_axes is not None:
        own = own_axes.loadings[known]
        vector = np.concatenate([vector, own.sum(0) / max(1.0, len(own) ** 0.5)])
    return Query(torch.from_numpy(vector), rows, catalogue.by_length)


def _factorised(space: Factors, tracks: Sequence[str]) -> NDArray[np.int64]:
    """Rows of those tracks that were factorised."""
    rows: NDArray[np.int64] = space.rows(list(dict.fromkeys(tracks)))
    return np.asarray(rows[(rows >= 0) & (rows < (~space.folded).sum())])


def _seen_by_content(
    space: Factors, content: ContentListeners, rows: NDArray[np.int64], vector: Array
) -> Array:
    """[K] the vector, mixed with what content says of somebody who likes these tracks."""
    shape = (1, len(content.equations.predicted))
    plays = csr_matrix((np.ones(len(rows), np.float32), (np.zeros_like(rows), rows)), shape)
    seen = seen_by_content(space, content, plays)
    return mixed(content, vector[None], seen)[0] if seen.any() else vector


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
