"""Whom a track suits: the listeners in whose lists it would stand highest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from coldstart.errors import InputError
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.query import row_of
from coldstart.retrieval.selection import Selection

BLOCK_MB = 64
"""Of the scores that are compared at once."""


class TrackListener(NamedTuple):
    """A listener, and where a track stands for them.

    Attributes:
        user_id: their id.
        place: of the track in their list of all candidates; 1 is best.
        score: as their list has it, see `Recommendation.similarity`.
        heard: whether the log has them playing it, also where the model never saw these plays.
    """

    user_id: str
    place: int
    score: float
    heard: bool


def track_listeners(
    catalogue: Catalogue, track: str, selection: Selection, k: int
) -> list[TrackListener]:
    """The listeners in whose list of these candidates a track stands highest; of equals, those with
    the higher score.

    A listener's own scores are compared with one another: those of two listeners say less, for who
    plays much has high ones for everything.

    Args:
        catalogue: the tracks.
        track: an id.
        selection: the candidates; the track is compared with them whether it is one or not.
        k: how many listeners.

    Raises:
        InputError: nothing is known of the track, or there are no factors.
    """
    if k < 1:
        raise InputError("k is at least 1")
    row, factors = row_of(catalogue, track), catalogue.known_factors()
    own, places = catalogue.scoring[row], selection.scoring
    others = torch.from_numpy(selection.rows != row)
    known = np.flatnonzero(catalogue.has_taste)
    step = max(1, int(BLOCK_MB * 1e6 / (4 * max(1, len(selection)))))
    found = [np.zeros((0, 3))]
    for start in range(0, len(known), step):
        block = known[start : start + step]
        users = catalogue.users[torch.from_numpy(block)]
        score = users @ own
        ahead = ((users @ places.T > score[:, None]) & others).sum(1)
        each = np.stack([block, ahead.numpy() + 1, score.double().numpy()], 1)
        both = np.concatenate([*found, each])
        found = [both[np.lexsort((-both[:, 2], both[:, 1]))[:k]]]
    column = int(factors.rows([track])[0])
    heard = factors.listens[:, [column]].tocsr() if column >= 0 else None
    return [
        TrackListener(
            factors.user_ids[int(user)],
            int(place),
            float(score),
            heard is not None and bool(heard[int(user)].nnz),
        )
        for user, place, score in found[0]
    ]
