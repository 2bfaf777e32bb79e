"""Evaluation: every cold candidate ranked for every user, exactly, in blocks, with all figures.

Floor: the bare matrix product and the best 500, in blocks of the same size, without any figures.

    python -m benchmarks.ranking [--rounds 3]
    USERS=200000 CANDIDATES=100000 python -m benchmarks.ranking --rounds 1
"""

from __future__ import annotations

import os

import numpy as np
import torch
from scipy.sparse import csr_matrix

from benchmarks.table import Row, clocked, in_turn, main
from coldstart.evaluation.exposure import THIRDS, thirds
from coldstart.evaluation.metrics import MAP_K, score_parts
from coldstart.evaluation.results import REPEATS
from coldstart.ranking import BLOCK_MB, dot_scores

USERS = int(os.environ.get("USERS", 10_000))
CANDIDATES = int(os.environ.get("CANDIDATES", 20_000))
FACTORS, RELEVANT = 64, 20


def bare(users: torch.Tensor, items: torch.Tensor) -> None:
    """Blocks with as many users as ours."""
    for block in users.split(int(BLOCK_MB * 1e6 / (4 * len(items)))):
        (block @ items.T).topk(min(MAP_K, len(items)), dim=1)


def measure(rounds: int = 3) -> list[Row]:
    generator = np.random.default_rng(0)
    users, items = (
        torch.from_numpy(generator.normal(size=(n, FACTORS)).astype(np.float32))
        for n in (USERS, CANDIDATES)
    )
    played = generator.integers(0, CANDIDATES, USERS * RELEVANT)
    listeners = np.repeat(np.arange(USERS), RELEVANT)
    relevant = csr_matrix((np.ones(len(played), np.int8), (listeners, played)), (USERS, CANDIDATES))
    orders = [torch.randperm(CANDIDATES) for _ in range(1 + REPEATS)]
    scores = dot_scores(users, items)
    part = thirds(np.bincount(relevant.indices, minlength=CANDIDATES))

    def floor() -> float:
        return clocked(lambda: bare(users, items))

    identity = [torch.arange(CANDIDATES)]
    single = in_turn(
        lambda: clocked(lambda: score_parts(scores, relevant, identity, part, len(THIRDS))),
        floor,
        rounds,
    )
    size = f"{CANDIDATES:,} cold tracks for {USERS:,} users"
    rows = [single.row(f"rank {size}", "≤ 1.5")]
    if rounds > 1:
        shuffled = in_turn(
            lambda: clocked(lambda: score_parts(scores, relevant, orders, part, len(THIRDS))),
            floor,
            rounds,
        )
        rows.append(shuffled.row(f"the same by thirds, and {REPEATS} × shuffled content", "–"))
    return rows


if __name__ == "__main__":
    main(measure)
