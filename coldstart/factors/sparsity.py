"""What a small or sparse log doesn't tell: said before figures are measured with its vectors."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

log = logging.getLogger(__name__)


def warn_of_sparsity(listens: csr_matrix, warm: int) -> None:
    """Warn where the listens to be factorised can't tell which tracks are alike.

    Args:
        listens: [U, N].
        warm: how many of the tracks, the first ones, are factorised.
    """
    tracks_of_user = np.diff(listens[:, :warm].tocsr().indptr)
    users = int((tracks_of_user > 0).sum())
    if tracks_of_user.max(initial=0) < 2:
        log.warning(
            "no listener has played two training tracks, so the log doesn't tell which tracks are "
            "alike: the vectors, and figures measured with them, say nothing"
        )
    elif users == 1:
        log.warning(
            "one listener alone has played training tracks: the vectors, and figures measured with "
            "them, say nothing of anybody else"
        )


def factors_to_spare(tracks: int, users: int, factors: int) -> str:
    """A sentence about more factors than there are tracks or listeners to fill them; else "".

    >>> factors_to_spare(tracks=900, users=500, factors=64)
    ''
    """
    if factors <= min(tracks, users):
        return ""
    return (
        f"{tracks:,} training tracks of {users:,} listeners can't fill {factors:,} factors: give "
        f"at most --factors {min(tracks, users)}"
    )


def warn_of_unplayed_sides(sides: Iterable[str], played: NDArray[np.str_]) -> None:
    """Warn where none of a side's tracks was played.

    Args:
        sides: of all tracks of the splits.
        played: [N] sides of the tracks that were played.
    """
    counts, present = Counter(sides), set(played.tolist())
    for side, use in (("val", "choose an epoch by"), ("test", "measure")):
        if counts[side] and side not in present:
            log.warning(f"none of the {counts[side]:,} {side} tracks was played: nothing to {use}")


def warn_of_the_cut(day: date, late_tracks: int, late_users: int, withheld: int) -> None:
    """Say what a cut at a day leaves out entirely, or that it withholds nothing.

    Args:
        day: the first whose listens to training tracks are left out.
        late_tracks: number of training tracks without a listen before it.
        late_users: number of their listeners without one.
        withheld: number of listens that a test can look for.
    """
    if late_tracks or late_users:
        log.info(
            f"{late_tracks:,} training tracks and {late_users:,} listeners have no listen to "
            f"training tracks from before {day}, and no vector"
        )
    if not withheld:
        log.warning(f"until: nothing is withheld, for nothing new was played from {day} on")


def warn_of_nothing_withheld(share: float) -> None:
    """Warn that a share of the listens was to be withheld, but none could be."""
    log.warning(
        f"hold_out: nothing is withheld: {share:.0%} of each listener's tracks is less than one, "
        "or it would be a track's or a listener's last one"
    )
