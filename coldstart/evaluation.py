"""Figures: cosine distance, Recall, NDCG, MAP; and the table that they are read in.

k, the candidate set and what happens to users without a relevant track stand beside every figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from scipy.sparse import csr_matrix
from tabulate import tabulate
from torch import Tensor

from coldstart.catalog import write_table
from coldstart.files import write_json
from coldstart.retrieval import Scores, top_k

K = 20
MAP_K = 500


def recall_at_k(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Share of the relevant tracks among the first k, divided by min(relevant, k).

    Args:
        hits: [U, ≥ min(k, N)] bool: is the track at this rank relevant?
        relevant: [U] number of relevant tracks, at least 1.
        k: cut-off.

    Returns:
        [U] float in 0..1.

    >>> recall_at_k(torch.tensor([[True, False, True]]), torch.tensor([4]), 3)
    tensor([0.6667])
    """
    return hits[:, :k].sum(1) / relevant.clamp(max=k)


def ndcg_at_k(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Normalised discounted cumulative gain of binary relevance. Arguments as in `recall_at_k`.

    >>> ndcg_at_k(torch.tensor([[True, True, False]]), torch.tensor([2]), 3)
    tensor([1.])
    """
    discount = 1 / torch.arange(2, max(k, hits.shape[1]) + 2).log2()
    ideal = discount.cumsum(0)[relevant.clamp(max=k) - 1]
    gained: Tensor = (hits[:, :k] * discount[: hits[:, :k].shape[1]]).sum(1)
    return gained / ideal


def average_precision_at_k(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Mean of the precision at each relevant track's rank, over min(relevant, k).

    Arguments as in `recall_at_k`.

    >>> average_precision_at_k(torch.tensor([[True, False, True]]), torch.tensor([2]), 3)
    tensor([0.8333])
    """
    first = hits[:, :k]
    precision = first.cumsum(1) / torch.arange(1, first.shape[1] + 1)
    return (precision * first).sum(1) / relevant.clamp(max=k)


class Figures(NamedTuple):
    """Means over the users who have a relevant candidate."""

    recall: float
    ndcg: float
    map: float


def rank_and_score(
    scores: Scores, relevant: csr_matrix, k: int = K, map_k: int = MAP_K, seed: int = 0
) -> Figures:
    """Rank all candidates for each user and average the figures.

    Args:
        scores: block of rows of `relevant` → [block, N].
        relevant: [U, N] sparse, non-zero where relevant; every row has at least one.
        k: cut-off of Recall and NDCG.
        map_k: cut-off of MAP.
        seed: breaks ties.
    """
    users, candidates = relevant.shape
    totals = torch.zeros(3, dtype=torch.float64)
    for rows, best in top_k(scores, users, candidates, max(k, map_k), seed=seed):
        block = relevant[rows]
        truth = torch.from_numpy(block.toarray() != 0)
        hits, counts = truth.gather(1, best), truth.sum(1)
        figures = (
            recall_at_k(hits, counts, k),
            ndcg_at_k(hits, counts, k),
            average_precision_at_k(hits, counts, map_k),
        )
        totals += torch.stack([figure.double().sum() for figure in figures])
    return Figures(*(totals / users).tolist())


class Row(NamedTuple):
    """One line of the results: a method and its figures; None where one makes no sense."""

    method: str
    input: str
    cosine_patch: float | None
    cosine_track: float | None
    recall: float | None
    ndcg: float | None
    map: float | None


HEADERS = {
    "method": "method",
    "input": "input",
    "cosine_patch": "cosine distance, patch",
    "cosine_track": "cosine distance, track",
    "recall": f"Recall@{K}",
    "ndcg": f"NDCG@{K}",
    "map": f"MAP@{MAP_K}",
}


def table(rows: list[Row], form: str = "github") -> str:
    """The rows as a Markdown table, without columns that are empty throughout."""
    keep = [i for i in range(len(Row._fields)) if any(row[i] is not None for row in rows)]
    headers = [HEADERS[Row._fields[i]] for i in keep]
    cells = [["–" if row[i] is None else row[i] for i in keep] for row in rows]
    return tabulate(cells, headers=headers, tablefmt=form, floatfmt=".3f", numalign="right")


def write_results(folder: str | Path, about: dict[str, Any], rows: list[Row]) -> None:
    """Write results.json (with everything that a figure must be read with) and results.csv."""
    named = [dict(zip(HEADERS.values(), row, strict=True)) for row in rows]
    write_json(Path(folder) / "results.json", {**about, "rows": named})
    write_table(Path(folder) / "results.csv", pl.DataFrame(named, infer_schema_length=None))


def describe(about: dict[str, Any]) -> str:
    """What stands beside the table."""
    return (
        f"{about['candidates']:,} cold candidates; {about['users']:,} users with a relevant one "
        f"({about['users_without_relevant']:,} users without are not averaged, "
        f"{about['users_without_training_listens']:,} users without training listens can't be "
        f"ranked for); cosine distance over {about['tracks_with_vector']:,} tracks that have "
        f"plays, to {about['yardstick']}; {about['protocol']}; seed {about['seed']}"
    )

