"""Use: one listener's list from a loaded `Recommender`'s catalogue, and lists for many listeners.

Floors: of one list, the bare product of the matrix of all tracks and the listener's vector; of
many, the bare product and the best k, in blocks of the same size, without ids, without leaving out
what was played, without a table.

    python -m benchmarks.retrieval [--rounds 3]
    USERS=200000 TRACKS=100000 python -m benchmarks.retrieval --rounds 1
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from benchmarks.table import Row, clocked, in_turn, main
from coldstart.factors.factors import Factors
from coldstart.model.space import TrackPlaces
from coldstart.ranking import BLOCK_MB
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.everybody import blocks
from coldstart.retrieval.query import answer, listener
from coldstart.retrieval.selection import select

USERS = int(os.environ.get("USERS", 10_000))
TRACKS = int(os.environ.get("TRACKS", 20_000))
SINGLE = (100_000, 1_000_000)
"""Sizes of a catalogue for one query."""

FACTORS, LISTENS, K = 64, 20, 10
CALLS = 20
"""Queries in a row: one alone is too short to be measured."""


def catalogue_of(tracks: int, users: int, width: int = FACTORS) -> Catalogue:
    """Made-up places, half of them warm, and listeners with a few plays each."""
    generator = np.random.default_rng(0)
    warm = tracks // 2
    vectors = generator.normal(size=(tracks, width)).astype(np.float32)
    ids = [f"t{i:07d}" for i in range(tracks)]
    plays = generator.integers(0, warm, users * LISTENS)
    listeners = np.repeat(np.arange(users), LISTENS)
    ones = np.ones(len(plays), np.float32)
    factors = Factors(
        track_ids=ids[:warm],
        user_ids=[f"u{i:07d}" for i in range(users)],
        tracks=vectors[:warm],
        users=generator.normal(size=(users, width)).astype(np.float32),
        folded=np.zeros(warm, bool),
        split=np.full(warm, "train"),
        listens=csr_matrix((ones, (listeners, plays)), (users, warm)),
        about={},
    )
    places = TrackPlaces(ids, torch.from_numpy(vectors), warm)
    rows: list[dict[str, Any]] = [{"track_id": i, "title": i, "artist": "a"} for i in ids]
    return Catalogue(places, rows, factors)


def bare(users: torch.Tensor, items: torch.Tensor) -> None:
    """Blocks with as many users as ours."""
    for block in users.split(int(BLOCK_MB * 1e6 / (4 * len(items)))):
        (block @ items.T).topk(K, dim=1)


def measure(rounds: int = 3) -> list[Row]:
    rows = []
    for tracks in SINGLE:
        catalogue = catalogue_of(tracks, 100)
        selection = select(catalogue, "all")
        users = catalogue.known_factors().user_ids
        items, vectors = catalogue.directions, catalogue.users

        def ours() -> None:
            for i in range(CALLS):
                answer(catalogue, listener(catalogue, users[i]), selection, K)  # noqa: B023

        def product() -> None:
            for i in range(CALLS):
                items @ vectors[i]  # noqa: B023

        ours()  # what is the same for all queries is made once
        single = in_turn(lambda: clocked(ours), lambda: clocked(product), rounds)
        rows.append(single.row(f"{CALLS} lists, one by one, of {tracks:,} tracks", "≤ 1.5"))
    catalogue = catalogue_of(TRACKS, USERS)
    selection = select(catalogue, "all")
    items, vectors = catalogue.directions, catalogue.users
    catalogue.played  # noqa: B018  made once

    def everybody() -> None:
        for _ in blocks(catalogue, None, selection, K):
            pass

    many = in_turn(
        lambda: clocked(everybody), lambda: clocked(lambda: bare(vectors, items)), rounds
    )
    rows.append(many.row(f"lists for {USERS:,} users of {TRACKS:,} tracks", "≤ 1.5"))
    return rows


if __name__ == "__main__":
    main(measure)
