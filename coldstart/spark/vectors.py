"""`predict` on a cluster: each executor loads the run once, and predicts the tracks of shards."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

import torch

from coldstart.runs.prediction_parts import VectorPiece, write_vectors
from coldstart.runs.run import Run, open_run
from coldstart.spark.places import RunPlaces
from coldstart.spark.tasks import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def spread_vectors(session: SparkSession, opened: RunPlaces, pieces: list[VectorPiece]) -> None:
    """Write pieces of a run's vectors on the executors, which read run and shards from storage.

    A task computes on the GPU that Spark has given it (`spark.task.resource.gpu.amount`), or else
    with one core.

    Args:
        session: an open one.
        opened: what each executor opens.
        pieces: to be written.
    """
    pieces = [piece._replace(path=piece.path.absolute()) for piece in pieces]
    spread(session, pieces, partial(_write, opened.everywhere()), "predicting")


def _write(opened: RunPlaces, piece: VectorPiece) -> int:
    return write_vectors(_run(opened), piece, _device())


@lru_cache(1)
def _run(opened: RunPlaces) -> Run:
    """Loaded once by each of Spark's Python processes, which serve many tasks."""
    return open_run(*opened)


def _device() -> torch.device:
    """What Spark has given this task."""
    from pyspark import TaskContext

    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context is not None else None
    return torch.device(f"cuda:{gpus.addresses[0]}" if gpus else "cpu")
