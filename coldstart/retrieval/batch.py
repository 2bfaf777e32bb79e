"""Recommendations for many listeners into one file: resumable, with flat memory."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import polars as pl

from coldstart.errors import InputError
from coldstart.files import StrPath, atomic, fingerprint, reserved, writable
from coldstart.model.checkpoint import weights_id
from coldstart.model.predictions import as_array
from coldstart.processes import JobPart, PartDone
from coldstart.reporting.progress import Progress
from coldstart.retrieval.recommender import ListOptions, Recommender
from coldstart.retrieval.selection import Selection
from coldstart.runs.pieces import begin_job, must_be_complete, piece_path, pieces_folder
from coldstart.tables.table import write_table

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
"""What a file of recommendations may be."""

PIECE, LEAST = 20_000, 256
"""Listeners in a piece, at most and at least."""

PIECES = 64
"""So many pieces, where they are of neither size."""


class ListPiece(NamedTuple):
    """A piece of a file of lists.

    Attributes:
        path: where it is kept until all are there.
        users: whose lists it has; all are known.
    """

    path: Path
    users: list[str]


Spread = Callable[[list[ListPiece]], object]
"""Writes pieces, on other machines; when it returns, they are there."""


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
    merge: bool = False,
    spread: Spread | None = None,
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
        merge: all pieces are there, by `recommend_part`: else it is an error.
        spread: writes pieces on other machines; by default this one does.
        options: see `ListOptions`.

    Raises:
        InputError: the file exists or has another ending, no user is known, choices leave nothing,
            or a piece is missing.
    """
    start = time.perf_counter()
    job = _job(recommender, new_file(out, overwrite), users, fallback, options)
    with reserved(job.folder, f"{out}: another job is writing this file; wait until it ends"):
        begin_job(job.folder, job.key, shared=merge)
        if merge:
            named = [f"that of user {piece.users[0]!r}" for piece in job.pieces]
            must_be_complete(
                [piece.path for piece in job.pieces],
                named,
                ", or leave --merge out: then this machine makes what is missing",
            )
        missing = [piece for piece in job.pieces if not piece.path.is_file()]
        if spread is not None:
            spread(missing)
        else:
            _write(recommender, missing, fallback, options)
        result = pl.scan_parquet([piece.path for piece in job.pieces])
        with atomic(job.out) as temporary:
            sink(result, temporary, job.out.suffix.lower())
        counts = (
            result.group_by("user_id")
            .agg(rows=pl.len(), average=(pl.col("taste") == "average").any())
            .collect(engine="streaming")
        )
        left_out = _left_out(recommender, job.users, set(counts["user_id"]))
        left_out_path = job.out.with_name(f"{job.out.name}.left_out.csv")
        left_out_path.unlink(missing_ok=True)
        if len(left_out):
            write_table(left_out_path, left_out)
    shutil.rmtree(job.folder)
    return ListFile(
        path=job.out,
        rows=int(counts["rows"].sum()),
        users=len(counts),
        average=int(counts["average"].sum()),
        left_out=len(left_out),
        left_out_path=left_out_path if len(left_out) else None,
        candidates=job.candidates,
        seconds=time.perf_counter() - start,
    )


def recommend_part(
    recommender: Recommender,
    out: StrPath,
    part: JobPart,
    users: Sequence[str] | None = None,
    *,
    fallback: bool = True,
    overwrite: bool = False,
    **options: Unpack[ListOptions],
) -> PartDone:
    """Write this part's pieces of what `recommend_to_file` joins; what is there already stays.

    Args:
        recommender: the run.
        out: the file that will be written, on storage that all machines share.
        part: which pieces.
        users: as in `recommend_to_file`, and so are the others.
        fallback: as there.
        overwrite: as there.
        options: see `ListOptions`.

    Raises:
        InputError: as there; or pieces of another job lie there.
    """
    job = _job(recommender, new_file(out, overwrite), users, fallback, options)
    begin_job(job.folder, job.key, shared=True)
    mine = part.share(job.pieces)
    missing = [piece for piece in mine if not piece.path.is_file()]
    _write(recommender, missing, fallback, options)
    return PartDone(part, job.folder, len(mine), len(missing), len(job.pieces))


class _Job(NamedTuple):
    """All that a list file is made of: `users` as they were named, `pieces` of the known ones."""

    out: Path
    folder: Path
    key: str
    users: Sequence[str]
    pieces: list[ListPiece]
    candidates: int


def _job(
    recommender: Recommender,
    out: Path,
    users: Sequence[str] | None,
    fallback: bool,
    options: ListOptions,
) -> _Job:
    catalogue = recommender.catalogue
    ids = catalogue.known_factors().user_ids if users is None else list(dict.fromkeys(users))
    known = [user for user in ids if user in catalogue.user_row]
    if not known:
        raise InputError(f"none of the {len(ids):,} users is in the factors")
    selection, k, mix = recommender.plan(**options)
    key = fingerprint(known, content_of_lists(recommender, selection), k, *mix, fallback)
    folder, size = pieces_folder(out), _piece_size(len(known))
    pieces = [
        ListPiece(piece_path(folder, number), known[first : first + size])
        for number, first in enumerate(range(0, len(known), size))
    ]
    return _Job(out, folder, key, ids, pieces, len(selection))


def _piece_size(users: int) -> int:
    """Listeners in a piece: so much is lost at most when a job is killed, and so many pieces can be
    shared by machines.

    >>> _piece_size(100), _piece_size(100_000), _piece_size(100_000_000)
    (100, 1563, 20000)
    """
    return min(PIECE, max(LEAST, -(-users // PIECES)), users)


def write_piece(
    recommender: Recommender, piece: ListPiece, fallback: bool, options: ListOptions
) -> int:
    """Write a piece whole or not at all; gives how many listeners it is of."""
    lists = recommender.for_users(piece.users, fallback=fallback, **options)
    with atomic(piece.path) as temporary:
        pl.concat(list(lists)).write_parquet(temporary)
    return len(piece.users)


def _write(
    recommender: Recommender, pieces: Sequence[ListPiece], fallback: bool, options: ListOptions
) -> None:
    """Write pieces on this machine."""
    with Progress("recommending", sum(len(p.users) for p in pieces), "users") as display:
        for piece in pieces:
            display.add(write_piece(recommender, piece, fallback, options))


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
    """A hash of all that lists depend on, beside the users and the choices.

    Of what is read, not of what is computed from it: machines may differ in a number's last bit.
    """
    catalogue = recommender.catalogue
    about = catalogue.factors.about if catalogue.factors is not None else None
    content = hashlib.sha256()
    for array in (
        as_array(recommender.predictions.values),
        selection.rows,
        catalogue.played.indptr,
        catalogue.played.indices,
    ):
        content.update(np.ascontiguousarray(array).data)
    content.update("\n".join(catalogue.track_ids).encode())
    return fingerprint(
        content.hexdigest(), weights_id(recommender.run.model), about, recommender.ensemble
    )


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
