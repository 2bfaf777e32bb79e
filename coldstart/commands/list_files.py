"""What `recommend --out` does, and says of it: lists for many listeners, or sound files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath
from coldstart.processes import MERGE, JobPart, PartDone
from coldstart.reporting.terminal import json_line
from coldstart.spark.session import SparkOptions

if TYPE_CHECKING:
    from coldstart.retrieval.batch import ListFile, Spread
    from coldstart.retrieval.recommender import Placement, Recommender
    from coldstart.retrieval.sound_queries import FileLists
    from coldstart.spark.places import RunPlaces

log = logging.getLogger(__name__)


@contextmanager
def spread_on(
    cluster: SparkOptions | None,
    opened: RunPlaces,
    placement: Placement | None,
    choices: dict[str, Any],
) -> Iterator[Spread | None]:
    """What writes pieces of lists on a cluster; None without one."""
    if cluster is None:
        yield None
        return
    from coldstart.spark.lists import spread_lists
    from coldstart.spark.session import spark_session

    options: Any = {k: v for k, v in choices.items() if k not in ("fallback", "overwrite")}
    with spark_session(cluster) as session:
        yield partial(spread_lists, session, opened, placement, choices["fallback"], options)


def write_part(
    recommender: Recommender,
    part: JobPart,
    ids: list[str] | None,
    out: StrPath,
    choices: dict[str, Any],
    json: bool,
) -> PartDone:
    """One part's pieces of lists for many listeners, and a summary."""
    from coldstart.retrieval.batch import recommend_part

    written = recommend_part(recommender, out, part, ids, **choices)
    if json:
        plain = {"part": f"{part.number}/{part.parts}", "folder": str(written.folder)}
        print(json_line(written._asdict() | plain))
        return written
    print(f"{written}\n{MERGE}")
    return written


def write_lists(
    recommender: Recommender,
    ids: list[str] | None,
    out: StrPath,
    choices: dict[str, Any],
    json: bool,
) -> ListFile:
    """Lists for many listeners, and a summary."""
    from coldstart.retrieval.batch import recommend_to_file
    from coldstart.retrieval.query import Recommendations

    batch = recommend_to_file(recommender, out, ids, **choices)
    if json:
        plain = batch._asdict() | {"path": str(batch.path)}
        plain["left_out_path"] = str(batch.left_out_path) if batch.left_out_path else None
        print(json_line(plain))
        return batch
    print(
        f"wrote {batch.path}: {batch.rows:,} recommendations for {batch.users:,} users, from "
        f"{batch.candidates:,} candidates, in {batch.seconds:.1f} s"
    )
    log.info(f"score: {Recommendations((), recommender.catalogue.by_length).measured()}")
    if batch.average:
        print(
            f"of {batch.average:,} of these users no taste is known: they get what people like on "
            "the whole (column taste: average)"
        )
    if batch.left_out:
        print(f"{batch.left_out:,} users have none; the reasons are in {batch.left_out_path}")
    return batch


def write_lists_for_files(
    recommender: Recommender,
    places: list[str],
    out: StrPath,
    choices: dict[str, Any],
    overwrite: bool,
    json: bool,
    workers: int | None,
    broken: Broken,
) -> FileLists:
    """A list for each sound file, and a summary."""
    from coldstart.extractors.sound_files import sound_files
    from coldstart.retrieval.sound_queries import recommend_for_files
    from coldstart.tables.table import write_broken

    if workers is not None and workers < 1:
        raise InputError(f"workers is at least 1, not {workers}")
    files = sound_files(places, broken)
    lists = recommend_for_files(
        recommender, files, out, broken, workers=workers, overwrite=overwrite, **choices
    )
    reasons = Path(f"{lists.path}.broken.csv")
    reasons.unlink(missing_ok=True)  # of an earlier job
    skipped = write_broken(reasons, broken)
    if json:
        print(json_line(lists._asdict() | {"path": str(lists.path)}))
        return lists
    print(
        f"wrote {lists.path}: {lists.rows:,} recommendations for {lists.files:,} sound files, "
        f"from {lists.candidates:,} candidates, in {lists.seconds:.1f} s"
    )
    if skipped:
        print(skipped)
    return lists
