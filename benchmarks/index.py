"""Approximate search: recall@10 of the exact answer, time, memory, and what building takes.

Places are made up: around 300 centres, ever less spread from factor to factor, with lengths of very
different size, as factors of listening logs have them. Ours is a whole answer's search (candidates,
what may not be recommended, exact order at the end); the floor is FAISS alone with the same effort,
without any of this. Beside it, exact search.

    python -m benchmarks.index [--rounds 3]
    TRACKS=100000 KINDS=hnsw python -m benchmarks.index
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from scipy.sparse import csr_matrix

from benchmarks.table import Row, clocked, in_turn, main, seconds
from coldstart.factors.factors import Factors
from coldstart.model.space import TrackPlaces
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.index import TrackIndex, build_index
from coldstart.retrieval.index_recall import IndexRecall, choose_effort
from coldstart.retrieval.picks import AS_SCORED
from coldstart.retrieval.query import like, listener, scores_of
from coldstart.retrieval.selection import ListPlan, select

SIZES = tuple(map(int, os.environ.get("TRACKS", "100000,1000000").split(",")))
KINDS = os.environ.get("KINDS", "hnsw,ivfpq").split(",")
TARGET = float(os.environ.get("RECALL", 0.95))
FACTORS, USERS, CALLS = 128, 300, 100


def catalogue_of(tracks: int, width: int = FACTORS) -> Catalogue:
    """Made-up places, half of them warm; listeners' scores are dot products."""
    generator = np.random.default_rng(0)
    spread = (np.arange(1, width + 1) ** -0.5).astype(np.float32)
    centres = generator.normal(size=(300, width)).astype(np.float32)
    vectors = generator.normal(size=(tracks, width)).astype(np.float32)
    vectors += centres[generator.integers(0, 300, tracks)]
    vectors *= spread
    vectors *= generator.lognormal(-3, 1, size=(tracks, 1)).astype(np.float32)
    users = generator.normal(size=(USERS, width)) + centres[generator.integers(0, 300, USERS)]
    ids, warm = [f"t{i:07d}" for i in range(tracks)], tracks // 2
    plays = generator.integers(0, warm, USERS * 20)
    pairs = (np.repeat(np.arange(USERS), 20), plays)
    factors = Factors(
        track_ids=ids[:warm],
        user_ids=[f"u{i}" for i in range(USERS)],
        tracks=vectors[:warm],
        users=(users * spread).astype(np.float32),
        folded=np.zeros(warm, bool),
        split=np.full(warm, "train"),
        listens=csr_matrix((np.ones(len(plays), np.float32), pairs), (USERS, warm)),
        about={},
    )
    places = TrackPlaces(ids, torch.from_numpy(vectors), warm)
    rows = [{"track_id": i, "title": "", "artist": ""} for i in ids]
    return Catalogue(places, rows, factors, by_length=True)


def measure(rounds: int = 3) -> list[Row]:
    table = []
    for tracks in SIZES:
        catalogue = catalogue_of(tracks)
        for kind in KINDS:
            began = time.perf_counter()
            index = build_index(catalogue, kind)  # type: ignore[arg-type]
            took = time.perf_counter() - began
            for row in choose_effort(index, TARGET):
                print(row, flush=True)
                if row.in_use and row.candidates == tracks:
                    table.append(_row(catalogue, index, row, took, rounds))
    return table


def _row(
    catalogue: Catalogue, index: TrackIndex, found: IndexRecall, built: float, rounds: int
) -> Row:
    """Searches of an index beside those of FAISS alone, on one thread."""
    torch.set_num_threads(1)
    if found.asked == "tracks":
        queries = [like(catalogue, [track]) for track in catalogue.track_ids[:CALLS]]
    else:
        queries = [listener(catalogue, f"u{i}") for i in range(CALLS)]
    plan = ListPlan(select(catalogue, "all"), 10, AS_SCORED)
    vectors = index.places["scoring" if queries[0].by_length else "directions"].index
    everything = np.full(len(catalogue) // 8 + 1, 255, np.uint8)

    def ours() -> None:
        for query in queries:
            among = index.shortlist(query, plan)
            scores_of(query, among).topk(10)

    def floor() -> None:
        for query in queries:
            vectors.search(query.vector.numpy(), 10, everything)

    def exact() -> None:
        for query in queries[:10]:
            scores_of(query, plan.selection).topk(10)

    ours()
    exactly = clocked(exact) / 10
    times = in_turn(lambda: clocked(ours), lambda: clocked(floor), rounds)
    return Row(
        f"{index.kind}, {len(catalogue):,} × {FACTORS}, {found.asked}: recall@10 "
        f"{found.recall:.3f} at effort {found.effort}, built in {built:.0f} s, "
        f"{index.bytes / 1e6:.0f} MB; exact {seconds(exactly)}",
        seconds(times.ours / CALLS),
        seconds(times.floor / CALLS),
        times.ratio,
        "≤ 1.5",
    )


if __name__ == "__main__":
    main(measure)
