"""A test: the model's figures, and beside them the floors and simple rivals from the same split.

k, the candidate set and what happens to users without a relevant track stand beside every figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import polars as pl
import torch
from torch import Tensor

from coldstart.data.batch import Batch
from coldstart.data.datamodule import ColdStartData
from coldstart.evaluation import uncertainty
from coldstart.evaluation.metrics import MAP_K, K
from coldstart.evaluation.results import (
    HEADERS,
    REPEATS,
    Line,
    Row,
    by_user_table,
    mean_line,
    part_counts,
    row_of,
)
from coldstart.evaluation.rivals.by_content import CONTENT_RIVALS, problem_of, space_scored
from coldstart.evaluation.rivals.by_factors import (
    FACTOR_RIVALS,
    RIVAL_USERS,
    contents,
    factor_problem,
)
from coldstart.evaluation.rivals.floors import floor_lines, mixed_floor_lines
from coldstart.evaluation.tasks import Lengths, Task, mixed_task, ranking_task
from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions
from coldstart.targets.track_factors import cosine_distance

Candidates = Literal["cold", "mixed"]

OURS, PATCHES = "coldstart", "coldstart, single patches"
"""Methods: the model, and the same weights with one patch a track in the place of all."""


class Patches(NamedTuple):
    """What single patches give, where tracks come in patches.

    Attributes:
        distance: mean cosine distance over all patches.
        drawn: the output of one patch of each track, drawn at random.
    """

    distance: float
    drawn: Predictions


class Evaluation(NamedTuple):
    """What a test found.

    Attributes:
        about: what the figures must be read with.
        rows: the model's own first.
        by_user: user_id, method, recall, ndcg, map: a row for each user that was averaged and each
            method, without what stands behind a method in brackets, such as ridge's λ.
    """

    about: dict[str, Any]
    rows: list[Row]
    by_user: pl.DataFrame


def evaluate(
    predictions: Predictions,
    patches: Patches | None,
    describe_content: Callable[[Batch], Tensor],
    data: ColdStartData,
    name: str,
    rivals: bool = True,
    seed: int = 0,
    candidates: Candidates = "cold",
    lengths: Lengths = "unit",
) -> Evaluation:
    """Figures of predicted factors for the test tracks, and of the floors and rivals.

    Args:
        predictions: of all test tracks.
        patches: of the same tracks and in the same order, where tracks come in patches.
        describe_content: a batch → [B, F], the content itself, for the rivals.
        data: shards and factors.
        name: of the model's input, such as `audio+mlg`.
        rivals: without them, only the model's row and the floors that need no content.
        seed: of the random rows and of ties.
        candidates: `cold`: the test tracks; `mixed`: among all factorised ones.
        lengths: for mixed candidates, what ranks; see `mixed_task`.
    """
    factors, mixed = data.known_factors(), candidates == "mixed"
    task = (
        mixed_task(factors, predictions.track_ids, lengths)
        if mixed
        else ranking_task(factors, predictions.track_ids)
    )
    rows_of = factors.rows(predictions.track_ids)
    has_vector = torch.from_numpy(rows_of >= 0)
    truth = torch.from_numpy(factors.tracks[rows_of[rows_of >= 0]])

    def distance(vectors: Tensor) -> float:
        return float(cosine_distance(vectors[has_vector], truth).mean())

    in_place = torch.arange(len(predictions.track_ids))

    def line(method: str, vectors: Tensor) -> Line:
        return Line.of(method, name, distance(vectors), task.scored(vectors, [in_place], seed)[0])

    deals = [in_place]
    for draw in range(seed, seed + REPEATS):
        generator = torch.Generator().manual_seed(draw)
        deals.append(torch.randperm(len(in_place), generator=generator))
    dealt = [
        Line.of(OURS, name, distance(predictions.values[deal]), scored)
        for deal, scored in zip(deals, task.scored(predictions.values, deals, seed), strict=True)
    ]
    lines = [dealt[0]]
    if patches:
        lines.append(line(PATCHES, patches.drawn.values)._replace(cosine=patches.distance))
    if mixed:
        lines += mixed_floor_lines(task, factors)
    else:
        lines += floor_lines(task, factors, predictions.track_ids, data)
    lines.append(mean_line("shuffled content", dealt[1:]))
    if rivals:
        wanted = (task, factors, predictions.track_ids, describe_content, data)
        lines += rival_lines(*wanted, line, name, seed)
    rows, beside = _compared(lines, task.parts, seed)
    about = {
        "input": name,
        "k": K,
        "map_k": MAP_K,
        **task.counts,
        **({"lengths": lengths} if mixed else {}),
        "parts": part_counts(task),
        "tracks_with_vector": int(has_vector.sum()),
        "tracks_nothing_known": int((~predictions.values.any(1)).sum()),
        "protocol": factors.about["protocol"],
        "yardstick": "folded-in vectors" if factors.folded.any() else "factorised vectors",
        "drop": sorted(data.drop),
        "seed": seed,
        "beside_the_best_rival": beside,
        "factors": {k: v for k, v in factors.about.items() if k != "mean"},
        "shards": data.shards.place,
    }
    return Evaluation(about, rows, by_user_table(lines, task.user_ids))


def _compared(
    lines: list[Line], parts: tuple[str, ...], seed: int
) -> tuple[list[Row], dict[str, Any] | None]:
    """The rows with their intervals, and the first one beside the best that isn't ours.

    Without users there is nothing to draw from: then there are neither.
    """
    plain = [row_of(line, parts) for line in lines]
    if not lines[0].by_user.shape[1]:
        return plain, None
    by_user = torch.stack([line.by_user for line in lines], dim=1)  # [3, lines, U]
    resampled = [uncertainty.resampled_means(figure, seed=seed) for figure in by_user]
    ends = [
        {
            f"{name}_{end}": value
            for name, figure in zip(("recall", "ndcg", "map"), resampled, strict=True)
            for end, value in uncertainty.interval(figure[:, i])._asdict().items()
        }
        for i in range(len(lines))
    ]
    rows = [row._replace(**its_ends) for row, its_ends in zip(plain, ends, strict=True)]
    others = [i for i, line in enumerate(lines) if line.method not in (OURS, PATCHES)]
    best = max(others, key=lambda i: plain[i].ndcg or 0.0)
    gap = uncertainty.difference(by_user[1, 0], by_user[1, best], resampled[1][:, [0, best]])
    return rows, {"rival": lines[best].method, "figure": HEADERS["ndcg"], **gap._asdict()}


def rival_lines(
    task: Task,
    factors: Factors,
    candidates: list[str],
    describe_content: Callable[[Batch], Tensor],
    data: ColdStartData,
    line: Callable[[str, Tensor], Line],
    input: str,
    seed: int = 0,
) -> list[Line]:
    """Content alone, then nearest neighbours and ridge to factors, all from the model's content."""
    content = contents(data, describe_content)
    known = problem_of(factors, content, candidates, RIVAL_USERS, task.warm is not None)
    lines = []
    for name, rival in CONTENT_RIVALS.values():
        scored = space_scored(task, factors, rival(known, seed), seed)
        lines.append(Line.of(name, input, None, scored))
    problem = factor_problem(factors, content, candidates)
    guesses = [rival(problem) for rival in FACTOR_RIVALS.values()]
    return lines + [line(guess.method, guess.vectors) for guess in guesses]
