"""What a benchmark does for one seed, each step in a process of its own: the data, the rivals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from coldstart import registry
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import Method, split
from coldstart.data.datamodule import ColdStartData
from coldstart.evaluation.evaluate import Candidates
from coldstart.evaluation.metrics import MAP_K, K
from coldstart.evaluation.results import Line, by_user_table, part_counts, row_of, write_results
from coldstart.evaluation.rivals.by_content import (
    CONTENT_RIVALS,
    Problem,
    Rival,
    problem_of,
    space_scored,
)
from coldstart.evaluation.rivals.by_factors import (
    FACTOR_RIVALS,
    RIVAL_USERS,
    Content,
    contents,
    factor_problem,
)
from coldstart.evaluation.rivals.floors import floor_lines, mixed_floor_lines
from coldstart.evaluation.rivals.packages import OTHERS
from coldstart.evaluation.tasks import Task, mixed_task, ranking_task
from coldstart.factors.factors import Factors
from coldstart.model.net import Net
from coldstart.targets.track_factors import TrackFactors


def prepare(
    *,
    tracks: str,
    listens: str,
    attributes: dict[str, str],
    method: Method,
    factorisations: dict[str, dict[str, Any]],
    seed: int,
    out: Path,
) -> None:
    """Split, factorise (each different way once) and shard; what is there already is kept.

    Args:
        tracks: track table.
        listens: listening log.
        attributes: tables by modality.
        method: of the split.
        factorisations: folder's name → options of `factorize`.
        seed: of all of it.
        out: folder: splits.parquet, shards/, factors/NAME/.
    """
    splits = out / "splits.parquet"
    if not splits.exists():
        split(tracks, out=splits, method=method, seed=seed)
    for name, options in factorisations.items():
        folder = out / "factors" / name
        if not (folder / "factors.json").exists():
            factorize(listens, out=folder, splits=splits, seed=seed, **options)
    shard(tracks, out=out / "shards", splits=splits, attributes=attributes, seed=seed)


class Ranked(NamedTuple):
    """A rival's line, what validation chose, and how long choosing and fitting took."""

    line: Line
    chosen: str
    seconds: float


@dataclass(frozen=True)
class Setting:
    """What all rivals of one seed share.

    Attributes:
        data: shards and factors.
        factors: each factorisation of the plan; they differ in vectors alone.
        content: of all tracks.
        input: what the content is called.
        candidates: ids of the cold ones.
        mixed: whether warm tracks are ranked, too.
        seed: of rivals that draw, and of ties.
    """

    data: ColdStartData
    factors: list[Factors]
    content: Content
    input: str
    candidates: list[str]
    mixed: bool
    seed: int

    def task(self, factors: Factors) -> Task:
        """The task with these factors' vectors of users; what rivals predict has lengths."""
        if self.mixed:
            return mixed_task(factors, self.candidates, "own")
        return ranking_task(factors, self.candidates)

    @cached_property
    def problem(self) -> Problem:
        """Without any factors."""
        return problem_of(self.factors[0], self.content, self.candidates, RIVAL_USERS, self.mixed)


def rivals(
    *,
    names: list[str],
    shards: str,
    factors: list[str],
    content: dict[str, Any],
    candidates: Candidates,
    seed: int,
    out: Path,
) -> None:
    """Fit and test rivals, and write results.json, results.csv and by_user.parquet into `out`.

    Args:
        names: of rivals in a plan.
        shards: folder.
        factors: folders of factorisations of one split; rivals that predict factors try all.
        content: encoders by name, as in a config, that describe the tracks.
        candidates: cold or mixed.
        seed: of rivals that draw, and of ties.
        out: folder.
    """
    torch.manual_seed(seed)
    data = ColdStartData(shards=shards, factors=factors[0])
    encoders = {
        name: registry.load("encoders", about["class_path"])(**about.get("init_args", {}))
        for name, about in content.items()
    }
    model = Net(encoders, target=TrackFactors()).eval()
    model.build(data.info, data.training_samples)
    data.lend(model.lend())
    described = contents(data, lambda batch: model.describe(batch.inputs))
    setting = Setting(
        data,
        [data.known_factors(), *(Factors.load(folder) for folder in factors[1:])],
        described,
        "+".join(content),
        described[2].track_ids,
        candidates == "mixed",
        seed,
    )
    ranked = list(_ranked(names, setting))
    task, made = setting.task(setting.factors[0]), setting.factors[0]
    about = {
        "k": K,
        "map_k": MAP_K,
        **task.counts,
        "parts": part_counts(task),
        "tracks_with_vector": int((made.rows(setting.candidates) >= 0).sum()),
        "protocol": made.about["protocol"],
        "seed": seed,
        "seconds": {one.line.method: round(one.seconds, 2) for one in ranked},
        "chosen": {one.line.method: one.chosen for one in ranked},
    }
    lines = [one.line for one in ranked]
    rows = [row_of(line, task.parts) for line in lines]
    write_results(out, about, rows, by_user=by_user_table(lines, task.user_ids))


def _ranked(names: list[str], setting: Setting) -> Iterator[Ranked]:
    for name in names:
        if name in FACTOR_RIVALS:
            yield _by_factors(name, setting)
        elif name in CONTENT_RIVALS:
            yield _by_content(*CONTENT_RIVALS[name], setting)
        elif name in OTHERS:
            yield _by_content(OTHERS[name].method, OTHERS[name].rival, setting)
        else:
            yield _floor(name, setting)


def _by_content(method: str, rival: Rival, setting: Setting) -> Ranked:
    problem, factors = setting.problem, setting.factors[0]
    began = time.perf_counter()
    space = rival(problem, setting.seed)
    seconds = time.perf_counter() - began
    scored = space_scored(setting.task(factors), factors, space, setting.seed)
    return Ranked(Line.of(method, setting.input, None, scored), space.chosen, seconds)


def _by_factors(name: str, setting: Setting) -> Ranked:
    """With each factorisation; the validation tracks choose one."""
    began = time.perf_counter()
    guesses = [
        (FACTOR_RIVALS[name](factor_problem(made, setting.content, setting.candidates)), made)
        for made in setting.factors
    ]
    guess, factors = max(guesses, key=lambda pair: pair[0].quality)
    seconds = time.perf_counter() - began
    in_place = torch.arange(len(setting.candidates))
    (scored,) = setting.task(factors).scored(guess.vectors, [in_place], setting.seed)
    method, _, said = guess.method.rstrip(")").partition(" (")
    told = ("factors", "regularization", "iterations", "weighting", "alpha")
    chosen = ", ".join(f"{key} {factors.about[key]}" for key in told if key in factors.about)
    line = Line.of(method, setting.input, None, scored)
    return Ranked(line, f"{said}, {chosen}".removeprefix(", "), seconds)


def _floor(name: str, setting: Setting) -> Ranked:
    began, factors = time.perf_counter(), setting.factors[0]
    task = setting.task(factors)
    if setting.mixed:
        lines = mixed_floor_lines(task, factors)
    else:
        lines = floor_lines(task, factors, setting.candidates, setting.data)
    line = lines[0 if name == "random" else 1]
    return Ranked(line, "", time.perf_counter() - began)
