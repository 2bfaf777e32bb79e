"""The verb `index`: approximate search for a run of very many tracks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from coldstart.errors import InputError
from coldstart.files import StrPath, writable

if TYPE_CHECKING:
    from coldstart.retrieval.index import IndexKind
    from coldstart.retrieval.index_file import StoredIndex
    from coldstart.retrieval.index_recall import IndexRecall
    from coldstart.retrieval.recommender import Recommender

MOST_GONE = 0.2
"""If more of its entries are of tracks that have gone or have moved, an index is built anew."""


class IndexReport(NamedTuple):
    """An index, and how it answers.

    Attributes:
        path: its folder.
        kind: `hnsw` or `ivfpq`.
        tracks: that it finds.
        added: entries that were made now.
        gone: entries of tracks that have gone, or lie elsewhere now.
        built: why it was built from nothing; "" if what was there was taken up.
        seconds: wall time of building it from nothing.
        bytes: of memory that it needs beside the tracks' places.
        measured: a row for each search that was tried.
    """

    path: Path
    kind: str
    tracks: int
    added: int
    gone: int
    built: str
    seconds: float
    bytes: int
    measured: Sequence[IndexRecall]


def index(
    *,
    run: StrPath,
    kind: Literal["hnsw", "ivfpq"] = "hnsw",
    recall: float = 0.95,
    shards: str | None = None,
    factors: str | None = None,
    placement: Literal["ensemble", "either"] | None = None,
    rebuild: bool = False,
) -> IndexReport:
    """Index a run's tracks for search, measure what it finds of the exact answer, and keep it.

    `recommend` and `serve` use it with `--search index`, and by themselves beyond a million tracks;
    below that, exact search is quick enough. The index lies in the run's folder, and follows its
    tracks: called again, the verb takes in new ones and those that lie elsewhere since; until then,
    whoever loads the run does so in memory. It is refused once the model has been fitted anew.

    Args:
        run: folder of a fitted run.
        kind: `hnsw`: a graph, fast and thorough; `ivfpq`: compressed lists, for little memory.
        recall: share of the exact 10 best that must be found, on the mean over tracks, and over
            listeners; the least thorough search that does is chosen.
        shards: other shards than the run's.
        factors: other factors than the run's.
        placement: where tracks lie that were not factorised, as for `recommend`.
        rebuild: build it from nothing.

    Returns:
        What was done and measured.

    Raises:
        InputError: it is no run, FAISS is missing, or there are too few tracks for the kind.
    """
    from coldstart.retrieval.index_file import StoredIndex, index_folder, write_index
    from coldstart.retrieval.index_recall import choose_effort, must_be_share
    from coldstart.retrieval.recommender import Recommender
    from coldstart.retrieval.vector_index import faiss

    faiss()
    must_be_share(recall)
    writable(index_folder(run))
    recommender = Recommender(
        run, shards=shards, factors=factors, placement=placement, search="exact"
    )
    stored, reason = None, "on request" if rebuild else ""
    if not reason:
        stored, reason = _stored(recommender, kind)
    stored, added = _complete(recommender, kind, stored)
    measured = choose_effort(stored.tracks, recall)
    path = write_index(recommender.run, StoredIndex(stored.tracks, stored.seconds, measured))
    tracks = stored.tracks
    report = IndexReport(
        path,
        tracks.kind,
        len(recommender.catalogue),
        added,
        tracks.gone,
        reason,
        stored.seconds,
        tracks.bytes,
        measured,
    )
    print(_text(report, recall))
    return report


def _stored(recommender: Recommender, kind: IndexKind) -> tuple[StoredIndex | None, str]:
    """The run's index, or why it can't be taken up."""
    from coldstart.retrieval.index_file import has_index, read_index

    if not has_index(recommender.run.folder):
        return None, "there was none"
    try:
        stored = read_index(recommender.run, recommender.catalogue)
    except InputError as error:
        return None, str(error).partition(";")[0]
    index = stored.tracks
    if index.kind != kind:
        return None, f"there was one of kind {index.kind}"
    entries = len(index.rows) + len(index.lacking)
    if index.gone > MOST_GONE * entries:
        return None, (
            f"{index.gone:,} of {len(index.rows):,} entries were of tracks that have gone, or lie "
            "elsewhere now"
        )
    return stored, ""


def _complete(
    recommender: Recommender, kind: IndexKind, stored: StoredIndex | None
) -> tuple[StoredIndex, int]:
    """An index of all tracks, and how many of them were added."""
    from coldstart.retrieval.index import build_index
    from coldstart.retrieval.index_file import StoredIndex

    if stored is not None:
        lacking = stored.tracks.lacking
        stored.tracks.add(lacking)
        return stored, len(lacking)
    start = time.perf_counter()
    built = build_index(recommender.catalogue, kind)
    return StoredIndex(built, time.perf_counter() - start, []), len(recommender.catalogue)


def _text(report: IndexReport, target: float) -> str:
    from tabulate import tabulate

    from coldstart.retrieval.index import SMALL_SHARE
    from coldstart.retrieval.index_recall import K

    done = f"built from nothing ({report.built})" if report.built else "brought up to date"
    lines = [
        f"{report.path}: {report.kind} of {report.tracks:,} tracks, {done}: {report.added:,} "
        f"added, {report.gone:,} gone; {report.seconds:.1f} s to build, "
        f"{report.bytes / 1e6:.0f} MB",
        tabulate(
            [
                (
                    f"{row.asked}{'' if row.candidates == report.tracks else ', of a half'}",
                    f"{row.effort:,}",
                    f"{row.recall:.3f}",
                    f"{row.least:.2f}",
                    f"{row.per_second:,.0f}",
                    f"{row.exact_per_second:,.0f}",
                    "in use" if row.in_use else "",
                )
                for row in report.measured
            ],
            headers=("asked", "effort", "recall@10", "lowest", "queries/s", "exact/s", ""),
            colalign=("left", "right", "right", "right", "right", "right", "left"),
            disable_numparse=True,
        ),
        f"recall@10: share of the exact 10 best that is found; over {_counts(report)}, on one core",
    ]
    kept = [row for row in report.measured if row.in_use and row.candidates == report.tracks]
    lines += [
        f"recall for {row.asked} stays below {target:g}: build it by another --kind, or search "
        "exactly"
        for row in kept
        if row.recall < target
    ]
    if report.tracks * SMALL_SHARE <= K:
        lines.append("so few tracks are all compared, whatever is asked: these figures are exact's")
    slower = [row.asked for row in kept if row.per_second < row.exact_per_second]
    if slower:
        lines.append(
            f"for {' and '.join(slower)}, exact search is faster at this size, so it is better used"
        )
    return "\n".join(lines)


def _counts(report: IndexReport) -> str:
    asked = {row.asked: row.queries for row in report.measured}
    return " and ".join(f"{count:,} {what}" for what, count in asked.items())
