"""`split` on a cluster: executors read the audio files, of which only digests come back."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from coldstart.files import atomic
from coldstart.spark.tasks import spread
from coldstart.tables.leaks import Digester, digests

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FILES = 100
"""A task reads at least so many files: a second of work."""

TASKS = 10_000
"""And of more files than these times those, there are so many tasks."""


class DigestTask(NamedTuple):
    """Some of the files, and where their digests go.

    Attributes:
        paths: table of all files' paths, which no task's message could hold.
        start: row of the first file.
        files: how many.
        folder: what the paths are relative to.
        out: table to write.
    """

    paths: str
    start: int
    files: int
    folder: str
    out: str


def digester_on(session: SparkSession, exchange: Path) -> Digester:
    """What reads files on the executors of a session, which find them under the same paths.

    Args:
        session: an open one.
        exchange: folder on storage that all machines share.
    """
    return partial(_spread_digests, session, exchange)


def _spread_digests(
    session: SparkSession, exchange: Path, folder: Path, paths: pl.Series
) -> pl.Series:
    """As `digests`."""
    table = exchange / "paths.parquet"
    size = max(FILES, -(-len(paths) // TASKS))
    # A group of rows for each task, which so reads no other's.
    pl.DataFrame({"path": paths}).write_parquet(table, row_group_size=size)
    tasks = [
        DigestTask(
            str(table),
            start,
            min(size, len(paths) - start),
            str(folder.absolute()),
            str(exchange / f"digests-{start}.parquet"),
        )
        for start in range(0, len(paths), size)
    ]
    spread(session, tasks, write_digests, "reading audio files")
    return pl.concat([pl.read_parquet(task.out)["digest"] for task in tasks])


def write_digests(task: DigestTask) -> None:
    """Write the digests of some files, whole or not at all."""
    rows = pl.scan_parquet(task.paths).slice(task.start, task.files).collect()
    found = digests(Path(task.folder), rows["path"])
    with atomic(task.out) as temporary:
        found.to_frame().write_parquet(temporary)
