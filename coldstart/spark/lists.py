"""`recommend --users` on a cluster: executors load the run once, and write pieces of lists."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from coldstart.retrieval.batch import ListPiece, write_piece
from coldstart.retrieval.recommender import ListOptions, Placement, Recommender
from coldstart.spark.places import RunPlaces
from coldstart.spark.tasks import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def spread_lists(
    session: SparkSession,
    opened: RunPlaces,
    placement: Placement | None,
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
        placement: as in `Recommender`.
        fallback: as in `recommend_to_file`.
        options: as there.
        pieces: to be written.
    """
    pieces = [piece._replace(path=piece.path.absolute()) for piece in pieces]
    work = partial(_write, opened.everywhere(), placement, fallback, options)
    spread(session, pieces, work, "recommending")


def _write(
    opened: RunPlaces,
    placement: Placement | None,
    fallback: bool,
    options: ListOptions,
    piece: ListPiece,
) -> int:
    return write_piece(_recommender(opened, placement), piece, fallback, options)


@lru_cache(1)
def _recommender(opened: RunPlaces, placement: Placement | None) -> Recommender:
    """Loaded once by each of Spark's Python processes, which serve many tasks."""
    run, shards, factors = opened
    return Recommender(run, shards=shards, factors=factors, placement=placement)
