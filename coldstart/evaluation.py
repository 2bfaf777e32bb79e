"""A test: the model's figures, and beside them the floors and simple rivals from the same split.

k, the candidate set and what happens to users without a relevant track stand beside every figure.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix
from tabulate import tabulate
from torch import Tensor

from coldstart import baselines, uncertainty
from coldstart.catalog import write_table
from coldstart.data import ColdStartData
from coldstart.factors import Factors
from coldstart.files import StrPath, write_json
from coldstart.metrics import MAP_K, K, expected_of_users, means, score_users
from coldstart.predictions import Predictions, by_track
from coldstart.ranking import dot_scores
from coldstart.streams import Batch
from coldstart.targets import cosine_distance

RIVAL_USERS = 5000
"""Users by whom validation chooses between variants of a rival."""

OURS, PATCHES = "coldstart", "coldstart, single patches"
"""Methods: the model, and the same weights with one patch a track in the place of all."""

REPEATS = 5
"""Shuffled content is a mean over this many draws."""


class Task(NamedTuple):
    """Cold tracks to be ranked for users.

    Attributes:
        users: [U, K] vectors of the users who have a relevant candidate.
        relevant: [U, N] sparse: who played which candidate.
        counts: what is said beside the figures.
    """

    users: Tensor
    relevant: csr_matrix
    counts: dict[str, int]

    def sample(self, users: int) -> Task:
        """At most this many of the users, evenly spaced: enough to choose a rival's λ by."""
        rows = np.unique(np.linspace(0, len(self.users) - 1, users).astype(int))
        if not len(self.users):
            return self
        return Task(self.users[rows], self.relevant[rows], self.counts)

    def figures(self, vectors: Tensor, seed: int = 0) -> Tensor:
        """Of each user, ranking by dot product with these vectors [N, K]. → [3, U]."""
        return self.figures_dealt(vectors, [torch.arange(len(vectors))], seed)[0]

    def figures_dealt(self, vectors: Tensor, deals: list[Tensor], seed: int = 0) -> list[Tensor]:
        """As `figures` of vectors[deal], for each permutation [N] of them."""
        return score_users(dot_scores(self.users, vectors), self.relevant, deals, seed=seed)


def ranking_task(factors: Factors, candidates: list[str]) -> Task:
    """Which users have which of these cold candidates as relevant.

    Users without training listens have no vector to rank by; users without a relevant candidate
    have nothing to find. Both are counted, and neither is averaged.
    """
    columns = factors.rows(candidates)
    there = np.flatnonzero(columns >= 0)
    found = factors.listens[:, columns[there]].tocoo()
    liked = found.data > 0  # of explicit ratings, those below 0 are dislikes
    relevant = csr_matrix(
        (np.ones(liked.sum(), dtype=np.int8), (found.row[liked], there[found.col[liked]])),
        shape=(len(factors.user_ids), len(candidates)),
    )
    has_relevant = np.diff(relevant.indptr) > 0
    known = np.diff(factors.listens[:, ~factors.folded].tocsr().indptr) > 0
    ranked = np.flatnonzero(has_relevant & known)
    return Task(
        users=torch.from_numpy(factors.users[ranked]),
        relevant=relevant[ranked],
        counts={
            "candidates": len(candidates),
            "users": len(ranked),
            "users_without_relevant": int((~has_relevant).sum()),
            "users_without_training_listens": int((has_relevant & ~known).sum()),
        },
    )


class Patches(NamedTuple):
    """What single patches give, where tracks come in patches.

    Attributes:
        distance: mean cosine distance over all patches.
        drawn: the output of one patch of each track, drawn at random.
    """

    distance: float
    drawn: Predictions


class Row(NamedTuple):
    """One line of the results: a method and its figures; None where one makes no sense.

    Low and high are the ends of the bootstrap's 95 % interval over users.
    """

    method: str
    input: str
    cosine: float | None
    recall: float | None
    ndcg: float | None
    map: float | None
    recall_low: float | None = None
    recall_high: float | None = None
    ndcg_low: float | None = None
    ndcg_high: float | None = None
    map_low: float | None = None
    map_high: float | None = None


class Line(NamedTuple):
    """What a row is made of.

    Attributes:
        method: what ranked.
        input: what it knew.
        cosine: mean distance, if it predicts vectors.
        by_user: [3, U] Recall, NDCG and average precision of each user.
    """

    method: str
    input: str
    cosine: float | None
    by_user: Tensor


HEADERS = {
    "method": "method",
    "input": "input",
    "cosine": "cosine distance",
    "recall": f"Recall@{K}",
    "ndcg": f"NDCG@{K}",
    "map": f"MAP@{MAP_K}",
}
HEADERS |= {
    f"{name}_{end}": f"{HEADERS[name]} {end}"
    for name in ("recall", "ndcg", "map")
    for end in ("low", "high")
}


def evaluate(
    predictions: Predictions,
    patches: Patches | None,
    describe_content: Callable[[Batch], Tensor],
    data: ColdStartData,
    name: str,
    rivals: bool = True,
    seed: int = 0,
) -> tuple[dict[str, Any], list[Row]]:
    """Figures of predicted factors for the test tracks, and of the floors and rivals.

    Args:
        predictions: of all test tracks.
        patches: of the same tracks and in the same order, where tracks come in patches.
        describe_content: a batch → [B, F], the content itself, for the rivals.
        data: shards and factors.
        name: of the model's input, such as `audio+mlg`.
        rivals: without them, only the model's row and the floors that need no content.
        seed: of the random rows and of ties.

    Returns:
        What the figures must be read with, and the rows, the model's own first.
    """
    factors = data.known_factors()
    task = ranking_task(factors, predictions.track_ids)
    rows_of = factors.rows(predictions.track_ids)
    has_vector = torch.from_numpy(rows_of >= 0)
    truth = torch.from_numpy(factors.tracks[rows_of[rows_of >= 0]])

    def distance(vectors: Tensor) -> float:
        return float(cosine_distance(vectors[has_vector], truth).mean())

    def line(method: str, vectors: Tensor) -> Line:
        return Line(method, name, distance(vectors), task.figures(vectors, seed))

    deals = [torch.arange(len(predictions.track_ids))]
    for draw in range(seed, seed + REPEATS):
        generator = torch.Generator().manual_seed(draw)
        deals.append(torch.randperm(len(deals[0]), generator=generator))
    dealt = [
        Line(OURS, name, distance(predictions.values[deal]), by_user)
        for deal, by_user in zip(
            deals, task.figures_dealt(predictions.values, deals, seed), strict=True
        )
    ]
    lines = [dealt[0]]
    if patches:
        lines.append(line(PATCHES, patches.drawn.values)._replace(cosine=patches.distance))
    lines += _floors(task, factors, predictions.track_ids, data)
    lines.append(_mean("shuffled content", dealt[1:]))
    if rivals:
        lines += _rivals(factors, predictions.track_ids, describe_content, data, line)
    rows, beside = _compared(lines, seed)
    about = {
        "input": name,
        "k": K,
        "map_k": MAP_K,
        **task.counts,
        "tracks_with_vector": int(has_vector.sum()),
        "tracks_nothing_known": int((~predictions.values.any(1)).sum()),
        "protocol": factors.about["protocol"],
        "yardstick": "folded-in vectors" if factors.folded.any() else "factorised vectors",
        "drop": sorted(data.drop),
        "seed": seed,
        "beside_the_best_rival": beside,
        "factors": factors.about,
        "shards": data.shards.place,
    }
    return about, rows


def _mean(method: str, lines: list[Line]) -> Line:
    """Of several draws."""
    distances = [line.cosine for line in lines if line.cosine is not None]
    by_user = torch.stack([line.by_user for line in lines]).mean(0)
    return Line(method, lines[0].input, float(np.mean(distances)), by_user)


def _compared(lines: list[Line], seed: int) -> tuple[list[Row], dict[str, Any] | None]:
    """The rows with their intervals, and the first one beside the best that isn't ours.

    Without users there is nothing to draw from: then there are neither.
    """
    plain = [Row(*line[:3], *means(line.by_user)) for line in lines]
    if not lines[0].by_user.shape[1]:
        return plain, None
    by_user = torch.stack([line.by_user for line in lines], dim=1)  # [3, lines, U]
    resampled = [uncertainty.resampled_means(figure, seed=seed) for figure in by_user]
    ends = [
        [end for figure in resampled for end in uncertainty.interval(figure[:, i])]
        for i in range(len(lines))
    ]
    rows = [Row(*row[:6], *its_ends) for row, its_ends in zip(plain, ends, strict=True)]
    others = [i for i, line in enumerate(lines) if line.method not in (OURS, PATCHES)]
    best = max(others, key=lambda i: plain[i].ndcg or 0.0)
    gap = uncertainty.difference(by_user[1, 0], by_user[1, best], resampled[1][:, [0, best]])
    return rows, {"rival": lines[best].method, "figure": HEADERS["ndcg"], **gap._asdict()}


def _floors(task: Task, factors: Factors, candidates: list[str], data: ColdStartData) -> list[Line]:
    """Random order, and the artist's popularity with equals in random order."""
    tracks = data.shards.all_tracks()
    artist = {track["track_id"]: track.get("artist_id") for track in tracks}
    training = factors.rows([t["track_id"] for t in tracks if t["split"] == "train"])
    # Of an order in which everything was factorised first, a test track's own plays don't count.
    known = [row for row in training if row >= 0 and not factors.folded[row]]
    plays = baselines.artist_popularity(
        [artist.get(track) for track in candidates],
        [artist.get(factors.track_ids[i]) for i in known],
        factors.plays[known],
    )
    random = expected_of_users(torch.zeros(len(candidates)), task.relevant)
    popular = expected_of_users(plays, task.relevant)
    return [
        Line("random", "–", None, random.float()),
        Line("artist's popularity", "artist", None, popular.float()),
    ]


def _rivals(
    factors: Factors,
    candidates: list[str],
    describe_content: Callable[[Batch], Tensor],
    data: ColdStartData,
    line: Callable[[str, Tensor], Line],
) -> list[Line]:
    """Nearest neighbours and ridge, from the same content as the model's."""
    train, val, test = (
        by_track(data.batches([split], only=only, alone=True), describe_content)
        for split, only in (("train", None), ("val", None), ("test", data.candidates))
    )
    usable = factors.rows(train.track_ids)
    has = (usable >= 0) & ~factors.folded[usable]
    vectors = torch.from_numpy(factors.tracks[usable[has]])
    at = {track: i for i, track in enumerate(test.track_ids)}
    test_features = test.values[[at[track] for track in candidates]]
    parts = baselines.scalings(train.values[torch.from_numpy(has)], val.values, test_features)
    val_task = ranking_task(factors, val.track_ids).sample(RIVAL_USERS)

    def quality(predicted: Tensor) -> float:
        return means(val_task.figures(predicted)).ndcg

    # Each search takes train × others: the test tracks' neighbours only where they are wanted.
    x, _, x_test = max(
        parts.values(), key=lambda part: quality(baselines.neighbours(part[0], vectors, part[1]))
    )
    linear = [baselines.ridge(own, vectors, rest, quality) for own, *rest in parts.values()]
    best_linear, penalty = max(linear, key=lambda made: quality(made[0][0]))
    return [
        line(
            f"{baselines.NEIGHBOURS} nearest neighbours", baselines.neighbours(x, vectors, x_test)
        ),
        line(f"ridge (λ = {penalty:g})", best_linear[1]),
    ]


def table(rows: list[Row], form: str = "github") -> str:
    """The rows as a Markdown table, without columns that are empty throughout.

    Of the intervals, NDCG's; results.json has the others too.
    """
    shown = [name for name in Row._fields if not name.endswith(("_low", "_high"))]
    keep = [name for name in shown if any(getattr(row, name) is not None for row in rows)]
    headers = [HEADERS[name] for name in keep]
    cells = [[getattr(row, name) for name in keep] for row in rows]
    if any(row.ndcg_low is not None for row in rows):
        at = keep.index("ndcg") + 1
        headers.insert(at, "95 %")
        for row, cell in zip(rows, cells, strict=True):
            cell.insert(at, f"{row.ndcg_low:.3f}–{row.ndcg_high:.3f}")
    return tabulate(cells, headers=headers, tablefmt=form, floatfmt=".3f", missingval="–")


def write_results(
    folder: StrPath, about: dict[str, Any], rows: list[Row], name: str = "results"
) -> None:
    """Write results.json (with everything that a figure must be read with) and results.csv."""
    named = [dict(zip(HEADERS.values(), row, strict=True)) for row in rows]
    write_json(Path(folder) / f"{name}.json", {**about, "rows": named})
    beside = ("candidates", "users", "tracks_with_vector", "protocol", "seed")
    shared = {key: about[key] for key in beside}
    flat = [{**row, **shared} for row in named]
    write_table(Path(folder) / f"{name}.csv", pl.DataFrame(flat, infer_schema_length=None))


def caption(about: dict[str, Any]) -> str:
    """What stands beside the table."""
    left_out = f"{about['users_without_relevant']:,} without one"
    if about["users_without_training_listens"]:
        left_out += f" and {about['users_without_training_listens']:,} without training listens"
    tracks = f"{about['candidates']:,} cold candidates"
    if about["tracks_nothing_known"]:
        tracks += f" ({about['tracks_nothing_known']:,} have none of the model's inputs)"
    beside = about["beside_the_best_rival"]
    compared = (
        f"{beside['figure']} beside {beside['rival']}: {beside['mean']:+.3f}, "
        f"95 % {beside['low']:+.3f} to {beside['high']:+.3f} (bootstrap over users, paired; this "
        f"split and seed alone)\n"
        if beside
        else ""
    )
    return (
        f"{compared}{tracks}; {about['users']:,} users with a relevant one "
        f"({left_out} are not averaged);\n"
        f"cosine distance over the {about['tracks_with_vector']:,} candidates that were played, to "
        f"{about['yardstick']};\n"
        f"{about['protocol']}; shuffled: mean of {REPEATS} draws; seed {about['seed']}"
    )
