"""A test: the model's figures, and beside them the floors and simple rivals from the same split.

k, the candidate set and what happens to users without a relevant track stand beside every figure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from coldstart.data.batch import Batch
from coldstart.data.track_data import TrackData
from coldstart.errors import InputError, without_passwords
from coldstart.evaluation import uncertainty
from coldstart.evaluation.calibration import KnownScores, lifted
from coldstart.evaluation.metrics import MAP_K, K
from coldstart.evaluation.rankings import Ranker
from coldstart.evaluation.results import (
    REPEATS,
    Line,
    Row,
    by_user_table,
    chance_of,
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
from coldstart.evaluation.rivals.floors import (
    floor_lines,
    mixed_floor_lines,
    plays_of_artists,
)
from coldstart.evaluation.strangers import strangers
from coldstart.evaluation.tasks import (
    Lengths,
    Task,
    TestCandidates,
    mixed_task,
    ranking_task,
    with_traits,
)
from coldstart.factors.factors import Factors
from coldstart.model.ensemble import Audience, Ensemble
from coldstart.model.predictions import Predictions
from coldstart.shards.genres import genre_lists
from coldstart.targets.track_factors import cosine_distance

log = logging.getLogger(__name__)

OURS, PATCHES = "coldstart", "coldstart, single patches"
"""Methods: the model, and the same weights with one patch of each track in place of all."""

PREDICTED = "coldstart, as predicted"
"""Method: of mixed candidates, the model without what makes new and known tracks comparable."""


class Patches(NamedTuple):
    """The figures of single patches, where tracks come in patches.

    Attributes:
        distance: mean cosine distance over all patches.
        single: the output of one patch of each track, drawn at random.
    """

    distance: float
    single: Predictions


class Placed(NamedTuple):
    """The test tracks in a list of new and known ones.

    Attributes:
        ensemble: the numbers.
        vectors: [N, K] of the test tracks: what ranks, without their plays.
        audience: the listeners.
        before: what would rank without an ensemble.
    """

    ensemble: Ensemble
    vectors: Tensor
    audience: Audience
    before: Lengths


class Evaluation(NamedTuple):
    """The figures of a test.

    Attributes:
        about: what the figures must be read with.
        rows: the model's own first.
        by_user: user_id, method, recall, ndcg, map: a row for each method and each user who was
            averaged; methods without what stands behind them in brackets, such as ridge's λ.
    """

    about: dict[str, Any]
    rows: list[Row]
    by_user: pl.DataFrame


def evaluate(
    predictions: Predictions,
    patches: Patches | None,
    describe_content: Callable[[Batch], Tensor],
    data: TrackData,
    name: str,
    rivals: bool = True,
    seed: int = 0,
    candidates: TestCandidates = "cold",
    lengths: Lengths = "unit",
    placed: Placed | None = None,
    unknown: Tensor | None = None,
    ranker: Ranker | None = None,
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
        candidates: `cold`: the test tracks; `mixed`: these among all factorised tracks.
        lengths: for mixed candidates, what ranks; see `mixed_task`.
        placed: with `lengths="ensemble"`, the predictions in the ensemble.
        unknown: [K] what is predicted of tracks of which nothing is known; by default zeros.
        ranker: what ranks the test tracks, elsewhere; None: this process.

    Raises:
        InputError: nobody has listened to anything that could be found.
    """
    factors, track_ids, mixed = data.space(), predictions.track_ids, candidates == "mixed"
    genres = genre_lists(data.shards)

    def task_of(factors: Factors) -> Task:
        found = (
            mixed_task(factors, track_ids, lengths) if mixed else ranking_task(factors, track_ids)
        )
        return with_traits(found, factors, track_ids, genres)._replace(ranker=ranker)

    task = task_of(factors)
    _check(task, factors, track_ids)
    given = data.known_factors()  # without the model's own axes: what rivals have
    distance = _distance_to_factors(given, track_ids)
    in_order = torch.arange(len(track_ids))

    cold = len(track_ids) if mixed else None

    def line(method: str, vectors: Tensor, ranking: Tensor, among: Task) -> Line:
        scored = among.scored(ranking, [in_order], seed)[0]
        return Line.of(method, name, distance(vectors), scored, cold)

    ranking = predictions.values if placed is None else placed.vectors
    own, shuffled = _own_and_shuffled(predictions.values, ranking, task, distance, name, seed)
    lines = [own]
    if placed is not None:
        before = mixed_task(factors, track_ids, placed.before)
        before = before._replace(traits=task.traits, ranker=ranker)
        scored = before.scored(predictions.values, [in_order], seed)[0]
        lines.append(Line.of(PREDICTED, name, own.cosine, scored, cold))
    elif patches:
        single = patches.single.values
        lines.append(line(PATCHES, single, single, task)._replace(cosine=patches.distance))
    if mixed:
        lines += mixed_floor_lines(task, factors)
    else:
        lines += floor_lines(task, factors, track_ids, data)
    lines.append(shuffled)
    if rivals:
        theirs = task if given is factors else task_of(given)
        known = None
        if placed:  # it takes two half-steps over all listens
            audience = placed.audience if given is factors else Audience(given)
            known = KnownScores(audience, placed.ensemble.ahead)

        def rival_line(method: str, vectors: Tensor, of_val: Predictions) -> Line:
            ranking = vectors if known is None else lifted(known, of_val, vectors)
            return line(method, vectors, ranking, theirs)

        lines += rival_lines(
            theirs, given, track_ids, describe_content, data, rival_line, name, seed
        )
    rows, comparison = _rows_and_comparison(lines, task.parts, seed)
    of_strangers = None
    if not mixed:
        plays = plays_of_artists(factors, track_ids, data)
        of_strangers = strangers(factors, track_ids, predictions.values, plays)
    about = {
        "input": name,
        "k": K,
        "map_k": MAP_K,
        **task.counts,
        **({"lengths": lengths} if mixed else {}),
        **({"ensemble": placed.ensemble._asdict()} if placed else {}),
        "parts": part_counts(task),
        "tracks_with_vector": int((factors.rows(track_ids) >= 0).sum()),
        "tracks_nothing_known": _count_of(predictions.values, unknown),
        "protocol": factors.about["protocol"],
        "yardstick": "folded-in vectors" if factors.folded.any() else "factorised vectors",
        "drop": sorted(data.drop),
        "seed": seed,
        "beside_the_best_rival": comparison,
        **({"chance": chance} if (chance := chance_of(rows)) else {}),
        **({"strangers": of_strangers._asdict()} if of_strangers else {}),
        "factors": {k: v for k, v in factors.about.items() if k != "mean"},
        "shards": without_passwords(data.shards.place),
    }
    return Evaluation(about, rows, by_user_table(lines, task.user_ids))


def _count_of(values: Tensor, vector: Tensor | None) -> int:
    """How many rows are this vector; None: zeros."""
    same = values == 0 if vector is None else values.isclose(vector.to(values))
    return int(same.all(1).sum())


def _check(task: Task, factors: Factors, track_ids: list[str]) -> None:
    """Raise InputError if there is nothing to measure; warn if nobody's ranking can be."""
    played = int((factors.rows(track_ids) >= 0).sum())
    if not played and not task.user_ids:
        raise InputError(
            f"none of the {len(track_ids):,} test tracks was played, so there is nothing to "
            "measure; factorise a log that has listens of them, with these splits"
        )
    if not task.user_ids:
        log.warning(
            f"nothing could be ranked: of the listeners of the {played:,} test tracks that were "
            "played, none has a training listen"
        )


def _distance_to_factors(
    factors: Factors, track_ids: list[str]
) -> Callable[[Tensor], float | None]:
    """Vectors of these tracks, [N, K] or with more axes → mean cosine distance to their factors.

    Tracks without factors, which nobody played, don't count; None if there are no others.
    """
    rows = factors.rows(track_ids)
    has_vector = torch.from_numpy(rows >= 0)
    truth = torch.from_numpy(factors.tracks[rows[rows >= 0]])
    if not has_vector.any():
        return lambda vectors: None
    return lambda vectors: float(cosine_distance(vectors[has_vector, : factors.dim], truth).mean())


def _own_and_shuffled(
    values: Tensor,
    ranking: Tensor,
    task: Task,
    distance: Callable[[Tensor], float | None],
    name: str,
    seed: int,
) -> tuple[Line, Line]:
    """The model's line, and the mean line of its vectors assigned to other tracks at random.

    All permutations are ranked in one pass. Distances are those of `values`, also where other
    vectors rank.
    """
    cold = len(values) if task.warm else None
    permutations = [torch.arange(len(values))]
    for draw in range(seed, seed + REPEATS):
        generator = torch.Generator().manual_seed(draw)
        permutations.append(torch.randperm(len(values), generator=generator))
    all_scored = task.scored(ranking, permutations, seed)
    own, *draws = [
        Line.of(OURS, name, distance(values[permutation]), scored, cold)
        for permutation, scored in zip(permutations, all_scored, strict=True)
    ]
    return own, mean_line("shuffled content", draws)


def _rows_and_comparison(
    lines: list[Line], parts: tuple[str, ...], seed: int
) -> tuple[list[Row], dict[str, Any] | None]:
    """The rows with their intervals, and the model beside the best of the rivals and floors.

    Without users nothing can be drawn, so there are no intervals and no comparison.
    """
    plain = [row_of(line, parts) for line in lines]
    if not lines[0].by_user.shape[1]:
        return plain, None
    by_user = torch.stack([line.by_user for line in lines], dim=1)  # [3, lines, U]
    names = ("recall", "ndcg", "map")
    resampled = {
        name: uncertainty.resampled_means(figure, seed=seed)
        for name, figure in zip(names, by_user, strict=True)
    }
    rows = []
    for i, row in enumerate(plain):
        ends: dict[str, Any] = {}
        for name in names:
            low, high = uncertainty.interval(resampled[name][:, i])
            ends |= {f"{name}_low": low, f"{name}_high": high}
        rows.append(row._replace(**ends))
    own = (OURS, PATCHES, PREDICTED)
    others = [i for i, line in enumerate(lines) if line.method not in own]
    best = max(others, key=lambda i: plain[i].ndcg or 0.0)
    ndcg = by_user[names.index("ndcg")]
    gap = uncertainty.difference(ndcg[0], ndcg[best], resampled["ndcg"][:, [0, best]])
    return rows, {"rival": lines[best].method, "figure": "ndcg", **gap._asdict()}


def rival_lines(
    task: Task,
    factors: Factors,
    candidates: list[str],
    describe_content: Callable[[Batch], Tensor],
    data: TrackData,
    line: Callable[[str, Tensor, Predictions], Line],
    input: str,
    seed: int = 0,
) -> list[Line]:
    """Rivals by content alone, then nearest neighbours and ridge; all read the model's inputs.

    Args:
        task: what is ranked for whom.
        factors: those of the test.
        candidates: ids of the cold tracks, in the order of the task.
        describe_content: a batch → [B, F].
        data: shards and factors.
        line: a method, its vectors [N, K] of the candidates and those of the validation tracks →
            its line.
        input: name of the model's input.
        seed: of rivals that draw, and of ties.
    """
    content = contents(data, describe_content)
    problem = problem_of(factors, content, candidates, RIVAL_USERS, task.warm is not None)
    lines = []
    for name, rival in CONTENT_RIVALS.values():
        scored = space_scored(task, factors, rival(problem, seed), seed)
        lines.append(Line.of(name, input, None, scored, len(candidates) if task.warm else None))
    by_factors = factor_problem(factors, content, candidates)
    guesses = [rival(by_factors) for rival in FACTOR_RIVALS.values()]
    val_ids = content[1].track_ids
    return lines + [
        line(guess.method, guess.vectors, Predictions(val_ids, guess.of_val)) for guess in guesses
    ]
