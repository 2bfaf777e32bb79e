"""`shard` on a cluster: each tar is a task, written by the code that one machine runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from coldstart.errors import Broken
from coldstart.shards.format import Place
from coldstart.shards.jobs import Note, TarTask, faults_of, write_shard
from coldstart.shards.sources import Source
from coldstart.spark.tasks import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def spread_tars(
    session: SparkSession, name: str, source: Source, tasks: Mapping[Place, TarTask]
) -> Iterable[tuple[Place, Note]]:
    """Write a modality's tars on the executors, byte for byte as one machine writes them.

    A tar and its note appear whole or not at all, so that those of a lost executor are written
    again, and no other.

    Args:
        session: an open one.
        name: of the modality.
        source: what it is made from; its files lie on storage that all machines share.
        tasks: the tars, with absolute paths.

    Returns:
        The notes.
    """
    work = partial(_write, source.file, name)
    return zip(tasks, spread(session, list(tasks.values()), work, f"sharding {name}"), strict=True)


def _write(file: str, name: str, task: TarTask) -> Note:
    note = write_shard(task)
    if "tracks" not in note:  # an item is broken, and isn't to be skipped
        Broken().add(faults_of(file, name, note))
    return note
