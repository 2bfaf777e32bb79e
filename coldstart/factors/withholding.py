"""Listens of warm tracks that a factorisation must not see: a random share, or the latest ones.

They are the relevant warm tracks of a mixed test.
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
from coldstart.tables.splits import read_splits

AUTO = "auto"


def withhold(
    listens: csr_matrix, share: float, seed: int, warm: int | None = None
) -> tuple[csr_matrix, csr_matrix]:
    """Withhold a random share of each user's listens.

    Of a user's n listens, n · share are withheld, rounded up or down at random so that the share
    is right on average. Every user and every track keeps at least one.

    Args:
        listens: [U, N] sparse.
        share: 0 ≤ share < 1.
        seed: of the random choice.
        warm: only listens of the first `warm` tracks count and can be withheld; None: all.

    Returns:
        The remaining and the withheld listens, both [U, N].
    """
    generator = np.random.default_rng(seed)
    entries = listens.tocoo()
    eligible = np.flatnonzero(entries.col < (listens.shape[1] if warm is None else warm))
    user, track = entries.row[eligible], entries.col[eligible]
    lot = generator.random(len(eligible))
    counts = np.bincount(user, minlength=listens.shape[0])
    quota = np.floor(counts * share + generator.random(len(counts)))
    quota = np.minimum(quota, np.maximum(counts - 1, 0))
    # Each listen's place when its user's listens are in the order of their lots.
    place = np.empty(len(eligible), dtype=np.int64)
    first = np.cumsum(counts) - counts
    place[np.lexsort((lot, user))] = np.arange(len(eligible)) - np.repeat(first, counts)
    mask = place < quota[user]
    # A track without any remaining listen gets back the one with the highest lot.
    remaining = np.bincount(track[~mask], minlength=listens.shape[1])
    lost = np.flatnonzero(mask & (remaining[track] == 0))
    lost = lost[np.lexsort((lot[lost], track[lost]))]
    is_last_of_track = np.diff(track[lost], append=-1) != 0
    mask[lost[is_last_of_track]] = False
    withheld = np.zeros(entries.nnz, dtype=bool)
    withheld[eligible] = mask

    def matrix_of(mask: NDArray[np.bool_]) -> csr_matrix:
        positions = (entries.row[mask], entries.col[mask])
        return csr_matrix((entries.data[mask], positions), shape=listens.shape)

    return matrix_of(~withheld), matrix_of(withheld)


def cut_day(until: str, splits: StrPath | None) -> date:
    """The first day whose listens are left out.

    Args:
        until: YYYY-MM-DD, or `auto`: the day on which the first held-out track came out, from the
            report that `coldstart split --method temporal` writes beside its table.
        splits: that table.

    Raises:
        InputError: not a day, or no report that says when held-out tracks came out.
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
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: doesn't say when the first held-out track came out; make the splits anew "
            "with `coldstart split --method temporal`, or give --until YYYY-MM-DD"
        ) from error
    split = read_splits(splits)["split"]
    if any(int((split == name).sum()) != count for name, count in counts.items()):
        raise InputError(f"{path}: is of other splits than {splits}; give --until YYYY-MM-DD")
    return day
