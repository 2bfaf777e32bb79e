"""What an index finds of the exact answer, how fast, and how thoroughly it has to search."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.errors import InputError
from coldstart.processes import one_thread
from coldstart.retrieval import query
from coldstart.retrieval.index import TrackIndex
from coldstart.retrieval.picks import AS_SCORED
from coldstart.retrieval.query import Query, scores_of
from coldstart.retrieval.selection import ListPlan, Selection, select

QUERIES = 200
"""Tracks, and listeners, that are asked for."""

K = 10
"""Length of a list."""

ROUNDING = 1e-5
"""A track whose score is at most so much lower than the last of the exact list is as good."""


class IndexRecall(NamedTuple):
    """How an index answers.

    Attributes:
        asked: `tracks` like a track, or tracks for `listeners`.
        candidates: among how many tracks.
        effort: how thoroughly: candidates of a graph's search, or lists that are looked at.
        recall: mean share of the exact list's tracks that are found, 0 to 1.
        least: the lowest share of a query.
        queries: how many.
        k: length of a list.
        per_second: queries a second on one core, with the exact order of what is found.
        exact_per_second: the same, exactly, beside it.
        in_use: whether this effort is the one that is kept.
    """

    asked: str
    candidates: int
    effort: int
    recall: float
    least: float
    queries: int
    k: int
    per_second: float
    exact_per_second: float
    in_use: bool = False


def must_be_share(target: float) -> None:
    """Raise InputError for a recall that there can't be."""
    if not 0 < target <= 1:
        raise InputError(f"recall is a share above 0, up to 1, not {target}")


def choose_effort(index: TrackIndex, target: float) -> list[IndexRecall]:
    """Set the least effort by which a share of the exact lists is found, or else the most.

    Args:
        index: whose efforts are set.
        target: mean recall@10 that is wanted, above 0 to 1.

    Returns:
        A row for each effort that was tried; and with the one that is kept, one for a random half
        of the tracks.

    Raises:
        InputError: the target is out of range.
    """
    must_be_share(target)
    catalogue = index.catalogue
    everything = select(catalogue, "all")
    half = np.random.default_rng(0).random(len(catalogue)) < 0.5
    a_half = Selection(catalogue, np.flatnonzero(half))
    rows: list[IndexRecall] = []
    with one_thread():
        for name, asked in _queries(index).items():
            vectors = index.places[name].index
            exact = {what: _exact_lists(queries, everything) for what, queries in asked.items()}
            for effort in vectors.efforts:
                vectors.effort = effort
                tried = [
                    _measured(index, what, queries, everything, effort, exact[what])
                    for what, queries in asked.items()
                ]
                if enough := effort == vectors.efforts[-1] or all(
                    row.recall >= target for row in tried
                ):
                    tried += [
                        _measured(
                            index, what, queries, a_half, effort, _exact_lists(queries, a_half)
                        )
                        for what, queries in asked.items()
                    ]
                rows += [row._replace(in_use=enough) for row in tried]
                if enough:
                    break
    return rows


def _queries(index: TrackIndex) -> dict[str, dict[str, list[Query]]]:
    """For each place index, what is asked of it: random tracks, random listeners with a taste."""
    catalogue, generator = index.catalogue, np.random.default_rng(0)
    places = np.flatnonzero(catalogue.directions.any(dim=1).numpy())
    tracks = generator.permutation(places)[:QUERIES]
    queries: dict[str, dict[str, list[Query]]] = {name: {} for name in index.places}
    queries["directions"]["tracks"] = [
        query.like(catalogue, [catalogue.track_ids[row]]) for row in tracks
    ]
    if catalogue.factors is not None:
        users = generator.permutation(np.flatnonzero(catalogue.has_taste))[:QUERIES]
        ids = [catalogue.factors.user_ids[row] for row in users]
        name = "scoring" if catalogue.by_length else "directions"
        queries[name]["listeners"] = [query.listener(catalogue, user) for user in ids]
    return {name: {k: v for k, v in asked.items() if v} for name, asked in queries.items()}


class _Lists(NamedTuple):
    """The best scores of each query, and the seconds for all."""

    scores: list[NDArray[np.float32]]
    seconds: float


def _measured(
    index: TrackIndex,
    asked: str,
    queries: Sequence[Query],
    among: Selection,
    effort: int,
    exact: _Lists,
) -> IndexRecall:
    plan = ListPlan(among, K, AS_SCORED)
    found, seconds = _lists(queries, lambda query: index.shortlist(query, plan))
    shares = [
        float((own >= best[-1] - ROUNDING).sum() / len(best))
        for own, best in zip(found, exact.scores, strict=True)
        if len(best)
    ]
    return IndexRecall(
        asked,
        len(among),
        effort,
        round(float(np.mean(shares)), 4) if shares else 1.0,
        round(min(shares, default=1.0), 4),
        len(queries),
        K,
        round(len(queries) / seconds, 1),
        round(len(queries) / exact.seconds, 1),
    )


def _exact_lists(queries: Sequence[Query], among: Selection) -> _Lists:
    return _lists(queries, lambda _: among)


def _lists(queries: Sequence[Query], candidates: Callable[[Query], Selection]) -> _Lists:
    lists = []
    candidates(queries[0])  # what is the same for all queries
    start = time.perf_counter()
    for asked in queries:
        among = candidates(asked)
        scores = scores_of(asked, among)
        values = scores.topk(min(K, len(scores))).values
        lists.append(values[values > -float("inf")].numpy())
    return _Lists(lists, time.perf_counter() - start)
