"""`factorize`: a log of listens, read, checked, factorised, held-out tracks folded in, saved.

Floor: `implicit` called directly, with as many threads and the same settings: a fit on the training
tracks' matrix, which exists already, and its recalculation of the held-out tracks.

    python -m benchmarks.factorisation [--rounds 3]
    LISTENS=10000000 python -m benchmarks.factorisation --rounds 1
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from benchmarks.memory import apart
from benchmarks.table import Row, clocked, in_turn, main
from coldstart.commands.factorize import factorize

LISTENS = int(os.environ.get("LISTENS", 1_000_000))
USERS, TRACKS = LISTENS // 50, LISTENS // 100
OPTIONS: dict[str, Any] = {"factors": 64, "regularization": 0.05, "iterations": 20}


def log(folder: Path) -> tuple[Path, Path]:
    """A log with popular and unpopular tracks, and its splits: a fifth is held out."""
    generator = np.random.default_rng(0)
    share = 1 / np.arange(20, TRACKS + 20)
    tracks = generator.choice(TRACKS, LISTENS, p=share / share.sum())
    users = generator.integers(0, USERS, LISTENS)
    pairs = np.unique(users * TRACKS + tracks)
    names = [f"t{i:08d}" for i in range(TRACKS)]
    frame = pl.DataFrame(
        {
            "user_id": pl.Series(pairs // TRACKS).cast(pl.String),
            "track_id": pl.Series(names).gather(pairs % TRACKS),
            "plays": generator.geometric(0.3, len(pairs)),
        }
    )
    frame.sample(fraction=1, shuffle=True, seed=0).write_parquet(folder / "listens.parquet")
    sides = np.where(generator.random(TRACKS) < 0.8, "train", "test")
    pl.DataFrame({"track_id": names, "split": sides}).write_parquet(folder / "splits.parquet")
    return folder / "listens.parquet", folder / "splits.parquet"


def matrices(listens: Path, splits: Path) -> tuple[csr_matrix, csr_matrix]:
    """Confidences [users, training tracks] and [held-out tracks, users]."""
    table = pl.read_parquet(listens).join(pl.read_parquet(splits), on="track_id")
    user, track = (table[column].cast(pl.Categorical).to_physical() for column in table.columns[:2])
    confidence = 2 * (1 + np.log1p(table["plays"].to_numpy().astype(np.float32)))
    plays = csr_matrix((confidence, (user.to_numpy(), track.to_numpy())))
    trained = np.zeros(plays.shape[1], dtype=bool)
    trained[track.filter(table["split"] == "train").to_numpy()] = True
    return plays[:, trained].tocsr(), plays[:, ~trained].T.tocsr()


def bare(train: csr_matrix, held_out: csr_matrix) -> None:
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(**OPTIONS, random_state=0)
        model.fit(train, show_progress=False)
        model.recalculate_item(np.arange(held_out.shape[0]), held_out)


def ours(listens: Path, splits: Path, out: Path) -> None:
    factorize(listens, out=out, splits=splits, **OPTIONS)


def measure(rounds: int = 3) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        listens, splits = log(Path(folder))
        out = Path(folder) / "factors"
        train, held_out = matrices(listens, splits)
        times = in_turn(
            lambda: clocked(lambda: ours(listens, splits, out)),
            lambda: clocked(lambda: bare(train, held_out)),
            rounds,
        )
        peak = apart(ours, listens, splits, out).peak_mb
    item = f"factorise {LISTENS:,} listens into 64 factors (peak memory {peak:,.0f} MB)"
    return [times.row(item, "≤ 1.1")]


if __name__ == "__main__":
    main(measure)
