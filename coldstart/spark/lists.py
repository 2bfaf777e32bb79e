"""`recommend --users` on a cluster: executors load the run once, and write pieces of lists."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

from coldstart.files import absolute
from coldstart.retrieval.batch import ListPiece, write_piece
from coldstart.retrieval.recommender import ListOptions, Placement, Recommender
from coldstart.spark.tasks import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class RunOptions(NamedTuple):
    """Which run a recommender is of, as `Recommender` takes it.

    Attributes:
        run: its folder.
        shards: other shards than the run's.
        factors: other factors.
        placement: where a track lies that was not factorised.
    """

    run: str
    shards: str | None = None
    factors: str | None = None
    placement: Placement | None = None


def spread_lists(
    session: SparkSession,
    opened: RunOptions,
    fallback: bool,
    options: ListOptions,
    pieces: list[ListPiece],
) -> None:
    """Write pieces of lists on the executors, which read the run from shared storage.

    Candidates are compared whole on each executor, by the code that one machine runs: so an answer
    is the same, and a list's mix and limits hold across all of it.

    Args:
        session: an open one.
        opened: what each executor opens.
        fallback: as in `recommend_to_file`.
        options: as there.
        pieces: to be written.
    """
    places = RunOptions(
        absolute(opened.run),
        absolute(opened.shards) if opened.shards else None,
        absolute(opened.factors) if opened.factors else None,
        opened.placement,
    )
    pieces = [piece._replace(path=piece.path.absolute()) for piece in pieces]
    work = partial(_write, places, fallback, options)
    spread(session, pieces, work, "recommending")


def _write(opened: RunOptions, fallback: bool, options: ListOptions, piece: ListPiece) -> int:
    return write_piece(_recommender(opened), piece, fallback, options)


@lru_cache(1)
def _recommender(opened: RunOptions) -> Recommender:
    """Loaded once by each of Spark's Python processes, which serve many tasks."""
    return Recommender(
        opened.run, shards=opened.shards, factors=opened.factors, placement=opened.placement
    )
