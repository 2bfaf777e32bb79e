"""What a benchmark does for one seed, each in a process of its own: the data, the rivals."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from coldstart import registry
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import Method, split
from coldstart.data.track_data import TrackData
from coldstart.evaluation.calibration import KnownScores, lifted
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
    ContentBySplit,
    contents,
    factor_problem,
)
from coldstart.evaluation.rivals.floors import floor_lines, mixed_floor_lines
from coldstart.evaluation.rivals.packages import OTHERS
from coldstart.evaluation.tasks import (
    Task,
    TestCandidates,
    mixed_task,
    ranking_task,
    with_traits,
)
from coldstart.factors.factors import Factors
from coldstart.model.default_encoders import default_encoders
from coldstart.model.ensemble import Audience
from coldstart.model.net import Net
from coldstart.model.predictions import Predictions
from coldstart.shards.genres import genre_lists
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
    """Split, factorise (each different way once) and shard; what exists already is kept.

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


class RivalResult(NamedTuple):
    """A rival's figures.

    Attributes:
        line: its figures for every user.
        chosen: what validation chose, in a few words.
        seconds: how long choosing and fitting took.
    """

    line: Line
    chosen: str
    seconds: float


@dataclass(frozen=True)
class RivalSetting:
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

    data: TrackData
    factors: list[Factors]
    content: ContentBySplit
    input: str
    candidates: list[str]
    mixed: bool
    seed: int

    def task(self, factors: Factors) -> Task:
        """The task with these factors' vectors of users."""
        if self.mixed:
            task = mixed_task(factors, self.candidates, "ensemble")
        else:
            task = ranking_task(factors, self.candidates)
        return with_traits(task, factors, self.candidates, self.genres)

    @cached_property
    def genres(self) -> dict[str, list[str]]:
        """The genres that the dataset names of its tracks."""
        return genre_lists(self.data.shards)

    @property
    def cold(self) -> int | None:
        """How many candidates are cold, where warm ones are candidates, too."""
        return len(self.candidates) if self.mixed else None

    @cached_property
    def problem(self) -> Problem:
        """The problem of rivals that need no factors."""
        return problem_of(self.factors[0], self.content, self.candidates, RIVAL_USERS, self.mixed)


def rivals(
    *,
    names: list[str],
    shards: str,
    factors: list[str],
    content: dict[str, Any],
    candidates: TestCandidates,
    seed: int,
    out: Path,
) -> None:
    """Fit and test rivals, and write results.json, results.csv and by_user.parquet into `out`.

    Args:
        names: of rivals in a plan.
        shards: folder.
        factors: folders of factorisations of one split; rivals that predict factors try all.
        content: encoders by name, as in a config, that describe the tracks; empty: those that
            read all that can be read as it is.
        candidates: cold or mixed.
        seed: of rivals that draw, and of ties.
        out: folder.
    """
    torch.manual_seed(seed)
    data = TrackData(shards=shards, factors=factors[0])
    content = content or default_encoders(data.shards).encoders
    described = _content(data, content)
    setting = RivalSetting(
        data=data,
        factors=[data.known_factors(), *(Factors.load(folder) for folder in factors[1:])],
        content=described,
        input="+".join(content),
        candidates=described[2].track_ids,
        mixed=candidates == "mixed",
        seed=seed,
    )
    results = [_result(name, setting) for name in names]
    task, first_factors = setting.task(setting.factors[0]), setting.factors[0]
    about = {
        "k": K,
        "map_k": MAP_K,
        **task.counts,
        "parts": part_counts(task),
        "tracks_with_vector": int((first_factors.rows(setting.candidates) >= 0).sum()),
        "protocol": first_factors.about["protocol"],
        "seed": seed,
        "seconds": {result.line.method: round(result.seconds, 2) for result in results},
        "chosen": {result.line.method: result.chosen for result in results},
    }
    lines = [result.line for result in results]
    rows = [row_of(line, task.parts) for line in lines]
    write_results(out, about, rows, by_user=by_user_table(lines, task.user_ids))


def _content(data: TrackData, encoders: dict[str, Any]) -> ContentBySplit:
    """The content of all tracks, as encoders that learn nothing describe it."""
    created = {
        name: registry.load("encoders", about["class_path"])(**about.get("init_args", {}))
        for name, about in encoders.items()
    }
    net = Net(created, target=TrackFactors()).eval()
    net.build(data.info, data.training_samples)
    data.lend(net.lend())
    return contents(data, lambda batch: net.describe(batch.inputs))


def _result(name: str, setting: RivalSetting) -> RivalResult:
    if name in FACTOR_RIVALS:
        return _by_factors(name, setting)
    if name in CONTENT_RIVALS:
        return _by_content(*CONTENT_RIVALS[name], setting)
    if name in OTHERS:
        return _by_content(OTHERS[name].method, OTHERS[name].rival, setting)
    return _floor(name, setting)


def _by_content(method: str, rival: Rival, setting: RivalSetting) -> RivalResult:
    problem, factors = setting.problem, setting.factors[0]
    start = time.perf_counter()
    space = rival(problem, setting.seed)
    seconds = time.perf_counter() - start
    scored = space_scored(setting.task(factors), factors, space, setting.seed)
    line = Line.of(method, setting.input, None, scored, setting.cold)
    return RivalResult(line, space.chosen, seconds)


def _by_factors(name: str, setting: RivalSetting) -> RivalResult:
    """With each factorisation; the validation tracks choose one."""
    start = time.perf_counter()
    guesses = [
        (FACTOR_RIVALS[name](factor_problem(factors, setting.content, setting.candidates)), factors)
        for factors in setting.factors
    ]
    guess, factors = max(guesses, key=lambda pair: pair[0].quality)
    seconds = time.perf_counter() - start
    in_order = torch.arange(len(setting.candidates))
    vectors = guess.vectors
    if setting.mixed:
        of_val = Predictions(setting.content[1].track_ids, guess.of_val)
        vectors = lifted(KnownScores(Audience(factors), seed=setting.seed), of_val, vectors)
    (scored,) = setting.task(factors).scored(vectors, [in_order], setting.seed)
    method, _, rival_options = guess.method.rstrip(")").partition(" (")
    keys = ("factors", "regularization", "iterations", "weighting", "alpha")
    options = [f"{key} {factors.about[key]}" for key in keys if key in factors.about]
    chosen = ", ".join([rival_options, *options] if rival_options else options)
    return RivalResult(Line.of(method, setting.input, None, scored, setting.cold), chosen, seconds)


def _floor(name: str, setting: RivalSetting) -> RivalResult:
    start, factors = time.perf_counter(), setting.factors[0]
    task = setting.task(factors)
    if setting.mixed:
        random, popularity = mixed_floor_lines(task, factors)
    else:
        random, popularity = floor_lines(task, factors, setting.candidates, setting.data)
    line = random if name == "random" else popularity
    return RivalResult(line, "", time.perf_counter() - start)
