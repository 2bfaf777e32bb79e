"""Accuracy by popularity and by genre: where the hits are, with an interval for each group.

The run's vectors of the test tracks are ranked once more, by the functions of the test: within a
group only its tracks count as relevant, while all test tracks stay in the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from coldstart.errors import InputError
from coldstart.evaluation import uncertainty
from coldstart.evaluation.metrics import K, expected_parts, relevant_by_part
from coldstart.evaluation.results import plain_method
from coldstart.evaluation.tasks import Task, ranking_task
from coldstart.reporting.charts import Dot, DotRow, dot_heights, dot_plot
from coldstart.reporting.page import (
    DataTable,
    Html,
    Picture,
    Section,
    TableCell,
    details,
    number,
    paragraph,
    picture,
    together,
)
from coldstart.reporting.style import Size
from coldstart.summary.genres import most_frequent, shown
from coldstart.summary.material import Material

MOST_USERS = 20_000
"""So many listeners are asked at most; they are spread evenly."""

LEAST_USERS, LEAST_TRACKS = 20, 3
"""A group of fewer is named, and not drawn."""

GENRES = 12
"""So many genres are drawn at most, those of the most test tracks."""

MOST_GENRES = 40
"""So many are looked at."""

ALLOWED_GAP = 0.002
"""Where the mean lies farther than this from the test's, the page says so."""


WITHIN = (
    f" Within a group only its tracks count as relevant. Groups with fewer than {LEAST_USERS} "
    f"listeners or {LEAST_TRACKS} tracks are named, not drawn."
)


class GroupFigure(NamedTuple):
    """A group's accuracy.

    Attributes:
        name: of the group.
        tracks: of the candidates.
        users: with a relevant track in it; only these are averaged.
        ndcg: the model's mean; None of nobody.
        low: lower end of its 95 % interval.
        high: upper end.
        chance: the mean of a random order, exact.
    """

    name: str
    tracks: int
    users: int
    ndcg: float | None
    low: float | None
    high: float | None
    chance: float | None

    @property
    def enough(self) -> bool:
        """Whether there are enough to draw it."""
        return self.users >= LEAST_USERS and self.tracks >= LEAST_TRACKS


class GroupRanking:
    """The test tracks of a run, ranked for the listeners who played any.

    Attributes:
        track_ids: N ids of the candidates.
        vectors: [N, K] the run's.
        task: what is ranked for whom.
        sampled: whether these are only some of the listeners.
    """

    def __init__(self, material: Material) -> None:
        """Of a run that can be asked.

        Raises:
            InputError: it can't be, or there is nothing to rank.
        """
        recommender = material.recommender
        if recommender is None:
            raise InputError(material.problem)
        data, predictions = recommender.run.data, recommender.predictions
        chosen = data.candidates
        test = {track["track_id"] for track in data.shards.all_tracks(["test"])}
        rows = [
            row
            for row, track in enumerate(predictions.track_ids)
            if track in test and (chosen is None or track in chosen)
        ]
        if not rows:
            raise InputError("there are no test tracks with any of the model's inputs")
        self.track_ids = [predictions.track_ids[row] for row in rows]
        self.vectors = predictions.values[rows]
        whole = ranking_task(data.space(), self.track_ids)
        if not whole.user_ids:
            raise InputError("nobody with a vector has played any of the test tracks")
        self.task = whole.sample(MOST_USERS)
        self.sampled = len(self.task.user_ids) < len(whole.user_ids)

    def figures(self, part: Tensor, names: Sequence[str]) -> list[GroupFigure]:
        """Of each group.

        Args:
            part: [N] int64: the group of each candidate.
            names: of the groups.
        """
        task: Task = self.task._replace(part=part, parts=tuple(names))
        scored = task.scored(self.vectors, [torch.arange(len(self.vectors))])[0]
        level = torch.zeros(len(self.vectors))
        floor = expected_parts(level, task.relevant, part, len(names))
        users = (relevant_by_part(task.relevant, part, len(names)) > 0).sum(1).tolist()
        figures = []
        for i, name in enumerate(names):
            ndcg, chance = scored.parts[i, 1], floor[i, 1]
            ndcg, chance = ndcg[~ndcg.isnan()], chance[~chance.isnan()]
            tracks = int((part == i).sum())
            if not len(ndcg):
                figures.append(GroupFigure(name, tracks, 0, None, None, None, None))
                continue
            low, high = uncertainty.interval(uncertainty.resampled_means(ndcg[None])[:, 0])
            mean, floor_mean = float(ndcg.double().mean()), float(chance.double().mean())
            figures.append(GroupFigure(name, tracks, int(users[i]), mean, low, high, floor_mean))
        return figures

    @cached_property
    def ndcg(self) -> float:
        """The mean over all listeners: the test's own figure."""
        return float(self.task.figures(self.vectors)[1].double().mean())

    def note(self, material: Material, within: str = WITHIN) -> Html:
        """How the figures were made, and whether the test's own agrees.

        Args:
            material: of the run.
            within: what a group is.
        """
        text = (
            f"Ranked again for this page, by the functions of the test: {len(self.track_ids):,} "
            f"test tracks for {len(self.task.user_ids):,} listeners"
        )
        text += f" (at most {MOST_USERS:,}, spread evenly)." if self.sampled else "."
        text += within
        results = material.results
        stored = results.rows[0].ndcg if results is not None and results.rows else None
        if stored is not None and not self.sampled and abs(stored - self.ndcg) > ALLOWED_GAP:
            text += (
                f" Over all listeners this ranking has NDCG@{K} {number(self.ndcg)}, the stored "
                f"test {number(stored)}: tracks, plays or the model are not those of the test."
            )
        return paragraph(text, "note")


def tiers(material: Material, ranking: GroupRanking) -> Section | None:
    """The section of head, middle and tail; None if each has too few tracks or listeners."""
    figures = ranking.figures(ranking.task.part, ranking.task.parts)
    if not any(figure.enough for figure in figures):
        return None
    rivals: dict[str, tuple[str, float]] = {}
    if material.results is not None and material.results.about.get("beside_the_best_rival"):
        about, rows = material.results
        name = about["beside_the_best_rival"]["rival"]
        for row in rows:
            if row.method == name:
                of_parts = {part: getattr(row, f"ndcg_{part}") for part in ranking.task.parts}
                short = plain_method(name)
                rivals = {part: (short, v) for part, v in of_parts.items() if v is not None}
    intro = (
        "Test tracks in the order of their listeners: the most played, up to a third of all plays, "
        "are the head; up to two thirds, the middle; the rest, the tail. Whoever recommends the "
        "popular alone is good at the head, and at nothing else."
    )
    drawn = group_picture(figures, "tiers", "tier", rivals)
    body = [paragraph(intro), picture(drawn), ranking.note(material)]
    return Section("popularity", "Popular and rare tracks", together(body), [drawn])


def genres(material: Material, ranking: GroupRanking) -> Section | None:
    """The section of genres; None where the dataset knows none."""
    of_track = material.genres
    names = most_frequent(of_track, ranking.track_ids, MOST_GENRES)
    if not names:
        return None
    number_of = {name: i for i, name in enumerate(names)}
    numbers = [number_of.get(of_track.get(track, ""), len(names)) for track in ranking.track_ids]
    part = torch.from_numpy(np.array(numbers))
    figures = ranking.figures(part, [*(shown(name) for name in names), "others"])[:-1]
    enough = [figure for figure in figures if figure.enough][:GENRES]
    if not enough:
        return None
    enough.sort(key=lambda figure: -(figure.ndcg or 0.0))
    few = [figure for figure in figures if not figure.enough and figure.tracks]
    rest = [figure for figure in figures if figure.enough and figure not in enough]
    intro = "A track counts for that of its genres which most tracks have."
    left_out = []
    if rest:
        names_of_rest = ", ".join(figure.name for figure in rest)
        left_out.append(paragraph(f"Smaller than the {GENRES} drawn: {names_of_rest}.", "note"))
    if few:
        listed = ", ".join(
            f"{figure.name} ({figure.tracks} tracks, {figure.users} listeners)" for figure in few
        )
        left_out.append(
            details(
                f"{len(few)} genres have too few to say anything",
                paragraph(listed, "note"),
            )
        )
    drawn = group_picture(enough, "genres", "genre", {})
    body = [paragraph(intro), picture(drawn), *left_out]
    return Section("genres", "Genres", together(body), [drawn])


def group_picture(
    figures: Sequence[GroupFigure], name: str, kind: str, rivals: dict[str, tuple[str, float]]
) -> Picture:
    """A dot plot of groups: the model with its interval, the best rival, and chance.

    Args:
        figures: of the groups.
        name: of the picture.
        kind: what the groups are of.
        rivals: group's name → the best rival and its mean there.
    """
    rows, cells = [], []
    drawn = [figure for figure in figures if figure.enough]
    meaning = "n = listeners" + ("" if kind == "listeners" else " who played any of them")
    for figure in drawn:
        assert figure.ndcg is not None
        dots = [Dot("this model", "ours", figure.ndcg, figure.low, figure.high)]
        rival = rivals.get(figure.name)
        if rival is not None:
            dots.append(Dot(rival[0], "rival", rival[1]))
        if figure.chance is not None:
            dots.append(Dot("chance", "floor", figure.chance))
        counted = "" if kind == "listeners" else f"{figure.tracks:,} tracks, "
        label = f"{figure.name} ({counted}n = {figure.users:,})"
        rows.append(DotRow(label, dots))
    headers = [kind, "tracks", "listeners", f"NDCG@{K}", "95 %", "chance"]
    headers += ["best rival"] if rivals else []
    for figure in figures:
        interval = f"{number(figure.low)} to {number(figure.high)}"
        cell: list[TableCell] = [
            figure.name, figure.tracks, figure.users, figure.ndcg, interval, figure.chance
        ]  # fmt: skip
        if rivals:
            rival = rivals.get(figure.name)
            cell.append(rival[1] if rival else None)
        cells.append(cell)
    few = [figure.name for figure in figures if not figure.enough]
    left_out = f" Too few to say anything: {', '.join(few)}." if few else ""
    return Picture(
        name,
        f"NDCG@{K} by {kind}: "
        + "; ".join(f"{figure.name} {number(figure.ndcg)}" for figure in drawn),
        lambda figure, narrow: dot_plot(
            figure,
            narrow,
            rows,
            f"NDCG@{K}, 0 to 1, and its 95 % interval{chr(10) if narrow else ' '}({meaning})",
        ),
        Size(*dot_heights(len(rows) + 0.6)),
        "Compare each with chance in the same row: it is larger where a listener has more to "
        f"find.{left_out}",
        DataTable(headers, cells),
    )
