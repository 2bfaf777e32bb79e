"""`test` on a cluster: executors rank for pieces of the users; what comes back is each user's
figures.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from coldstart.evaluation.metrics import Scored
from coldstart.evaluation.rankings import Ranker, Ranking, joined
from coldstart.files import atomic
from coldstart.spark.exchange import ArrayFiles, mapped
from coldstart.spark.tasks import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TASKS = 1_000
"""A ranking is divided into so many pieces at most."""


class UserPiece(NamedTuple):
    """Some of a ranking's users, and where their figures go.

    Attributes:
        rows: of the users.
        out: file to write: the fields of `Scored`, each stacked over the permutations.
    """

    rows: slice
    out: str


def ranker_on(session: SparkSession, exchange: Path) -> Ranker:
    """What ranks on the executors of a session.

    Args:
        session: an open one.
        exchange: folder on storage that all machines share.
    """
    return partial(_spread_ranking, session, exchange, ArrayFiles(exchange))


def _spread_ranking(
    session: SparkSession, exchange: Path, files: ArrayFiles, ranking: Ranking
) -> list[Scored]:
    """As `Ranking.scored`, number by number."""
    pieces = [
        UserPiece(rows, str(exchange / f"scored-{rows.start}.npz"))
        for rows in ranking.pieces(TASKS)
    ]
    if len(pieces) < 2:
        return ranking.scored()
    spread(session, pieces, partial(write_scored, files.stored(ranking)), "ranking")
    return joined(map(_taken, pieces))


def write_scored(stored: Any, piece: UserPiece) -> None:
    """Write the figures of some users, whole or not at all.

    Args:
        stored: a ranking, see `ArrayFiles.stored`.
        piece: the users.
    """
    ranking: Ranking = mapped(stored)
    fields = zip(*ranking.of(piece.rows).scored(), strict=True)
    by_user, parts, exposure, lists = (torch.stack(values).numpy() for values in fields)
    with atomic(piece.out) as temporary:
        np.savez(temporary, by_user=by_user, parts=parts, exposure=exposure, lists=lists)


def _taken(piece: UserPiece) -> list[Scored]:
    """The figures of some users, by permutation; their file is removed."""
    with np.load(piece.out, allow_pickle=False) as stored:
        arrays = [torch.from_numpy(stored[name]) for name in Scored._fields]
    Path(piece.out).unlink()
    return [Scored(*fields) for fields in zip(*arrays, strict=True)]
