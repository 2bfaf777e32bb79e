"""Recommendations for many listeners into one file: resumable, with flat memory."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import polars as pl

from coldstart.errors import InputError
from coldstart.files import StrPath, atomic, fingerprint, reserved, writable, write_json
from coldstart.model.predictions import as_array
from coldstart.reporting.progress import Progress
from coldstart.retrieval.recommender import ListOptions, Recommender
from coldstart.retrieval.selection import Selection
from coldstart.tables.table import write_table

log = logging.getLogger(__name__)

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
"""What a file of recommendations may be."""

PART = 20_000
"""Listeners in a part of the file: so much is lost at most when a job is killed."""


class ListFile(NamedTuple):
    """What was written.

    Attributes:
        path: the file.
        rows: number of recommendations.
        users: listeners with at least one.
        average: those of them of whose taste nothing is known.
        left_out: listeners without any.
        left_out_path: table of those, with reasons; None if there are none.
        candidates: number of tracks that could be recommended.
        seconds: wall time, of this call alone if the job was resumed.
    """

    path: Path
    rows: int
    users: int
    average: int
    left_out: int
    left_out_path: Path | None
    candidates: int
    seconds: float


def recommend_to_file(
    recommender: Recommender,
    out: StrPath,
    users: Sequence[str] | None = None,
    *,
    fallback: bool = True,
    overwrite: bool = False,
    **options: Unpack[ListOptions],
) -> ListFile:
    """Write lists for many listeners; a job that was interrupted is continued.

    Parts are kept beside the file, in a folder `<out>.parts`, until all are there. Listeners who
    aren't in the factors, or for whom nothing is left, are listed in `<out>.left_out.csv`.

    Args:
        recommender: the run.
        out: file to write: .parquet, .csv or .jsonl.
        users: ids; all listeners if not given. Unknown ones are left out, and listed.
        fallback: give a listener without taste what people like on the whole; else they are listed.
        overwrite: replace the file if it exists.
        options: see `ListOptions`.

    Raises:
        InputError: the file exists or has another ending, no user is known, choices leave nothing.
    """
    start, out = time.perf_counter(), new_file(out, overwrite)
    catalogue = recommender.catalogue
    ids = catalogue.known_factors().user_ids if users is None else list(dict.fromkeys(users))
    known = [user for user in ids if user in catalogue.user_row]
    if not known:
        raise InputError(f"none of the {len(ids):,} users is in the factors")
    selection, k, mix = recommender.plan(**options)
    lists = partial(recommender.for_users, fallback=fallback, **options)
    job = fingerprint(known, content_of_lists(recommender, selection), k, *mix, fallback)
    parts = out.with_name(f"{out.name}.parts")
    with reserved(parts, f"{out}: another job is writing this file; wait until it ends"):
        begin_job(parts, job)
        _write_parts(parts, known, lists)
        result = pl.scan_parquet(parts / "*.parquet")
        with atomic(out) as temporary:
            sink(result, temporary, out.suffix.lower())
        counts = (
            result.group_by("user_id")
            .agg(rows=pl.len(), average=(pl.col("taste") == "average").any())
            .collect(engine="streaming")
        )
        left_out = _left_out(recommender, ids, set(counts["user_id"]))
        left_out_path = out.with_name(f"{out.name}.left_out.csv")
        left_out_path.unlink(missing_ok=True)
        if len(left_out):
            write_table(left_out_path, left_out)
    shutil.rmtree(parts)
    return ListFile(
        path=out,
        rows=int(counts["rows"].sum()),
        users=len(counts),
        average=int(counts["average"].sum()),
        left_out=len(left_out),
        left_out_path=left_out_path if len(left_out) else None,
        candidates=len(selection),
        seconds=time.perf_counter() - start,
    )


def new_file(out: StrPath, overwrite: bool) -> Path:
    """Where lists are to be written.

    Raises:
        InputError: it exists, can't be written, or has another ending than `FORMATS`.
    """
    out = writable(out)
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"{out}: recommendations are written as {', '.join(FORMATS)}")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already; pass --overwrite to replace it")
    return out


def content_of_lists(recommender: Recommender, selection: Selection) -> str:
    """A hash of all that lists depend on, beside the users and the choices."""
    catalogue = recommender.catalogue
    content = hashlib.sha256()
    for array in (
        as_array(catalogue.scoring),
        as_array(catalogue.users),
        selection.rows,
        catalogue.played.indptr,
        catalogue.played.indices,
    ):
        content.update(np.ascontiguousarray(array).data)
    content.update("\n".join(catalogue.track_ids).encode())
    return content.hexdigest()


def _write_parts(
    parts: Path, users: Sequence[str], lists: Callable[[Sequence[str]], Iterator[pl.DataFrame]]
) -> None:
    """Write the parts that aren't there yet."""
    with Progress("recommending", len(users), "users") as display:
        for number, first in enumerate(range(0, len(users), PART)):
            chunk, path = users[first : first + PART], parts / f"{number:06d}.parquet"
            if not path.is_file():
                with atomic(path) as temporary:
                    pl.concat(list(lists(chunk))).write_parquet(temporary)
            display.add(len(chunk))


def begin_job(parts: Path, job: str) -> None:
    """Keep the parts of the same job, delete those of another."""
    note = parts / "job.json"
    try:
        same = json.loads(note.read_bytes())["job"] == job
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # none, or damaged
        same = False
    existing = list(parts.glob("*.parquet"))
    if same:
        log.info(f"{parts}: {len(existing)} parts exist already; the others follow")
        return
    for path in existing:
        path.unlink()
    write_json(note, {"job": job})


def sink(table: pl.LazyFrame, path: Path, suffix: str) -> None:
    """Write a table piece by piece."""
    if suffix == ".parquet":
        table.sink_parquet(path)
    elif suffix == ".csv":
        table.sink_csv(path)
    else:
        table.sink_ndjson(path)


def _left_out(recommender: Recommender, ids: Sequence[str], with_rows: set[str]) -> pl.DataFrame:
    """Listeners without recommendations, and why."""
    catalogue = recommender.catalogue
    rows = []
    for user in ids:
        if user in with_rows:
            continue
        row = catalogue.user_row.get(user)
        if row is None:
            reason = "not in the factors"
        elif not catalogue.has_taste[row]:
            reason = "no listens that tell of their taste"
        else:
            reason = "has played all candidates"
        rows.append((user, reason))
    return pl.DataFrame(rows, schema={"user_id": pl.String, "reason": pl.String}, orient="row")
