"""Content as prior, plays as evidence: solving tracks beside `implicit`'s own fold-in of them.

python -m benchmarks.posterior [--users 20000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix

from coldstart.factors.als import fold_in
from coldstart.factors.factorization import confidence_of
from coldstart.factors.folding import settings_of
from coldstart.factors.posterior import Evidence, posterior

REPEATS = 5


def plays_of(tracks: int, users: int, mean: float, seed: int = 0) -> csr_matrix:
    """[tracks, users] plays; how many listeners a track has is heavy-tailed."""
    generator = np.random.default_rng(seed)
    listeners = np.minimum(generator.pareto(1.2, tracks) * mean / 5 + 1, users // 4).astype(int)
    pairs = np.repeat(np.arange(tracks), listeners), generator.integers(0, users, listeners.sum())
    matrix = csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape=(tracks, users))
    matrix.sum_duplicates()
    return matrix


def seconds(call: Callable[[], object]) -> float:
    """The fastest of several calls."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=20_000)
    users = parser.parse_args().users
    print(
        "factors  tracks  plays a track  implicit  new track (w = 0)  ratio  as ALS (w = 1)  ratio"
    )
    for factors in (64, 256):
        for tracks, mean in ((2_000, 5.0), (2_000, 40.0), (20_000, 40.0)):
            if factors == 256 and tracks > 2_000:
                continue
            row(factors, tracks, users, mean)


def row(factors: int, tracks: int, users: int, mean: float) -> None:
    """One line of the table."""
    about = {"algorithm": "implicit", "factors": factors, "regularization": 10.0, "seed": 0}
    settings = settings_of({**about, "iterations": 1})
    generator = np.random.default_rng(1)
    vectors = generator.normal(0, factors**-0.5, (users, factors)).astype(np.float32)
    prior = generator.normal(0, 0.05, (tracks, factors)).astype(np.float32)
    plays = plays_of(tracks, users, mean)
    strength = confidence_of(plays, settings)
    floor = seconds(lambda: fold_in(strength, vectors, 10.0, "implicit"))
    new = seconds(lambda: posterior(plays, vectors, prior, Evidence(200.0, 0.0, 0.7), settings))
    known = seconds(lambda: posterior(plays, vectors, prior, Evidence(10.0), settings))
    print(
        f"{factors:7d} {tracks:7,d} {plays.nnz / tracks:14.1f} {floor:8.3f}s {new:17.3f}s "
        f"{new / floor:6.2f} {known:14.3f}s {known / floor:6.2f}"
    )


if __name__ == "__main__":
    main()
