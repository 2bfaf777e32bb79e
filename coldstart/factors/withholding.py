"""Listens that a factorisation must not see although their tracks are warm: a share, or the later.

They are what a mixed test looks for among warm tracks.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.tables import read_splits

AUTO = "auto"


def withhold(
    listens: csr_matrix, share: float, seed: int, warm: int | None = None
) -> tuple[csr_matrix, csr_matrix]:
    """Part a share of each user's listens from the others, by chance.

    Of a user's n listens n · share are withheld, rounded up or down by chance so that the share
    holds on average. Every user and every track keeps at least one.

    Args:
        listens: [U, N] sparse.
        share: 0 ≤ share < 1.
        seed: of the draw.
        warm: only listens of the first `warm` tracks count, and may be withheld; None: all.

    Returns:
        What stays and what is withheld, both [U, N].
    """
    generator = np.random.default_rng(seed)
    entries = listens.tocoo()
    mine = np.flatnonzero(entries.col < (listens.shape[1] if warm is None else warm))
    user, track = entries.row[mine], entries.col[mine]
    lot = generator.random(len(mine))
    counts = np.bincount(user, minlength=listens.shape[0])
    take = np.floor(counts * share + generator.random(len(counts)))
    take = np.minimum(take, np.maximum(counts - 1, 0))
    place = np.empty(len(mine), dtype=np.int64)
    place[np.lexsort((lot, user))] = np.arange(len(mine)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    taken = place < take[user]
    # A track of which nothing is left gets one back, of the listener with the highest lot.
    left = np.bincount(track[~taken], minlength=listens.shape[1])
    lost = np.flatnonzero(taken & (left[track] == 0))
    lost = lost[np.lexsort((lot[lost], track[lost]))]
    taken[lost[np.diff(track[lost], append=-1) != 0]] = False
    withheld = np.zeros(entries.nnz, dtype=bool)
    withheld[mine] = taken

    def those(chosen: NDArray[np.bool_]) -> csr_matrix:
        at = (entries.row[chosen], entries.col[chosen])
        return csr_matrix((entries.data[chosen], at), shape=listens.shape)

    return those(~withheld), those(withheld)


def cut_day(until: str, splits: StrPath | None) -> date:
    """The day from which on listens are left out.

    Args:
        until: YYYY-MM-DD, or `auto`: the day on which the first held-out track came out, from the
            report that `coldstart split --method temporal` writes beside its table.
        splits: that table.

    Raises:
        InputError: no such day, or nothing that says when held-out tracks came out.
    """
    if until != AUTO:
        try:
            return date.fromisoformat(until)
        except ValueError as error:
            raise InputError(f"until: {until!r} is neither `auto` nor YYYY-MM-DD") from error
    if splits is None:
        raise InputError("until: `auto` needs --splits, of a temporal split; or give YYYY-MM-DD")
    path = Path(f"{splits}.report.json")
    try:
        report = json.loads(path.read_bytes())
        day, counts = date.fromisoformat(report["held_out_from"]), report["counts"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path}: doesn't say when the first held-out track came out; make the splits anew "
            "with `coldstart split --method temporal`, or give --until YYYY-MM-DD"
        ) from error
    sides = read_splits(splits)["split"]
    if any(int((sides == side).sum()) != count for side, count in counts.items()):
        raise InputError(f"{path}: is of other splits than {splits}; give --until YYYY-MM-DD")
    return day
