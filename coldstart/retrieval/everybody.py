"""Lists for many listeners at once, in blocks of flat memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.errors import InputError
from coldstart.ranking import BLOCK_MB
from coldstart.retrieval.catalogue import SOURCES, Catalogue
from coldstart.retrieval.picks import AS_SCORED, Mix, Picks, best
from coldstart.retrieval.selection import Selection


def blocks(
    catalogue: Catalogue,
    users: Sequence[str] | None,
    selection: Selection,
    k: int,
    mix: Mix = AS_SCORED,
    fallback: bool = True,
    *,
    block_mb: int = BLOCK_MB,
) -> Iterator[pl.DataFrame]:
    """Recommend to listeners; see `Recommender.for_users`.

    Args:
        catalogue: tracks and listeners.
        users: ids; None: all.
        selection: the candidates.
        k: length of a list.
        mix: what lists keep to beside the scores.
        fallback: whether a listener without taste gets what people like on the whole.
        block_mb: maximum size of one block's scores.
    """
    if k < 1:
        raise InputError("k is at least 1")
    mix.check()
    rows = _rows(catalogue, users)
    if not fallback:
        rows = rows[catalogue.has_taste[rows]]
    places = selection.scoring if catalogue.by_length else selection.directions
    ids = pl.Series("track_id", catalogue.track_ids, dtype=pl.String)
    user_ids = pl.Series("user_id", catalogue.known_factors().user_ids, dtype=pl.String)
    size = max(1, int(block_mb * 1e6 / (4 * max(1, len(selection)))))
    scores = torch.empty(min(size, len(rows)), len(selection))  # one piece of memory for all blocks
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        picks = _picks(catalogue, block, places, selection, k, mix, scores[: len(block)])
        yield _table(catalogue, block, selection, picks, ids, user_ids)


def _rows(catalogue: Catalogue, users: Sequence[str] | None) -> NDArray[np.int64]:
    """Rows of listeners, in the order in which they are named."""
    if users is None:
        return np.arange(len(catalogue.known_factors().user_ids))
    unknown = [user for user in users if user not in catalogue.user_row]
    if unknown:
        raise InputError(
            f"there is no user {unknown[0]!r} in the factors ({len(unknown):,} of the "
            f"{len(users):,} named aren't there)"
        )
    return np.array([catalogue.user_row[user] for user in dict.fromkeys(users)], np.int64)


def _picks(
    catalogue: Catalogue,
    block: NDArray[np.int64],
    places: Tensor,
    selection: Selection,
    k: int,
    mix: Mix,
    scores: Tensor,
) -> Picks:
    """The lists of a block of listeners; `scores` is overwritten."""
    vectors = catalogue.users[torch.from_numpy(block)]
    without = np.flatnonzero(~catalogue.has_taste[block])
    if len(without):
        vectors[torch.from_numpy(without)] = catalogue.average_user
    torch.mm(vectors, places.T, out=scores)
    played = catalogue.played[block].tocoo()
    positions = selection.positions(played.col.astype(np.int64))
    present = positions >= 0
    at = (
        torch.from_numpy(played.row[present].astype(np.int64)),
        torch.from_numpy(positions[present]),
    )
    scores[at] = -float("inf")
    artists = selection.artists if mix.per_artist else None
    return best(scores, k, selection.warm, artists, mix)


def _table(
    catalogue: Catalogue,
    block: NDArray[np.int64],
    selection: Selection,
    picks: Picks,
    ids: pl.Series,
    user_ids: pl.Series,
) -> pl.DataFrame:
    """A row for each recommendation."""
    listener, place = np.nonzero(picks.positions >= 0)
    tracks = selection.rows[picks.positions[listener, place]]
    taste = catalogue.has_taste[block][listener]
    return pl.DataFrame(
        {
            "user_id": user_ids.gather(block[listener]),
            "rank": (place + 1).astype(np.int32),
            "track_id": ids.gather(tracks),
            "score": picks.scores[listener, place],
            "by": pl.Series(SOURCES, dtype=pl.String).gather(catalogue.sources[tracks]),
            "taste": _words(taste, "own", "average"),
        }
    )


def _words(mask: NDArray[np.bool_], true: str, false: str) -> pl.Series:
    """A column of two words."""
    choice = pl.when(pl.Series(mask)).then(pl.lit(true)).otherwise(pl.lit(false))
    return pl.select(choice).to_series()
