"""Rows of an ablation's table: figures of runs → means and spreads over seeds, gains by fusing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coldstart.evaluation.evaluate import OURS, PATCHES
from coldstart.evaluation.results import plain_method
from coldstart.studies.jobs import FitJob


class RunRow(NamedTuple):
    """A row of the test of one run; the names of the fields are keys of ablation.json.

    Attributes:
        tested_on: name of the set of tracks; empty without sets.
        trained_on: name of the set of tracks; empty without sets.
        input: modalities, joined by `+`; of a rival, what it knows.
        method: what ranked the tracks.
        training: two stages, or joint; empty where there is nothing to fuse.
        fusion: name of the fusion head; empty where there is nothing to fuse.
        seed: of the fit.
        cosine: mean distance.
        recall: at k.
        ndcg: at k.
        map: at map_k.
        epochs: of the fit; None for floors, rivals and single patches.
        seconds_per_epoch: of the fit; None as above.
        parameters: of the fit; None as above.
    """

    tested_on: str
    trained_on: str
    input: str
    method: str
    training: str
    fusion: str
    seed: int
    cosine: float | None
    recall: float | None
    ndcg: float | None
    map: float | None
    epochs: float | None = None
    seconds_per_epoch: float | None = None
    parameters: float | None = None


class AblationRow(NamedTuple):
    """A row for all seeds, with the fields of `RunRow`: means, and spreads.

    A spread is the standard deviation over the seeds; None with one seed.
    """

    tested_on: str
    trained_on: str
    input: str
    method: str
    training: str
    fusion: str
    seeds: int
    cosine: float | None
    cosine_spread: float | None
    recall: float | None
    recall_spread: float | None
    ndcg: float | None
    ndcg_spread: float | None
    map: float | None
    map_spread: float | None
    epochs: float | None
    seconds_per_epoch: float | None
    parameters: float | None


class FusionGain(NamedTuple):
    """A row of several modalities beside the best of its parts, seed by seed.

    Attributes:
        tested_on: as in `RunRow`.
        trained_on: as in `RunRow`.
        input: as in `RunRow`.
        training: as in `RunRow`.
        fusion: as in `RunRow`.
        best_part: the modality that alone has the highest NDCG.
        ndcg_gain: mean difference to it.
        cosine_gain: by how much the mean distance is smaller.
        seeds_ahead: in how many seeds NDCG is at least as high.
        seeds: that have both.
    """

    tested_on: str
    trained_on: str
    input: str
    training: str
    fusion: str
    best_part: str
    ndcg_gain: float
    cosine_gain: float
    seeds_ahead: int
    seeds: int


class ListenerRow(NamedTuple):
    """How well a listener estimates the attributes, over its folds and datasets.

    Attributes:
        listener: which one.
        nets: how many.
        mean_correlation: of its estimates with the annotators.
        test_tracks: of each dataset, sorted.
        attributes: how many.
        epochs: mean over the nets.
        seconds_per_epoch: mean over the nets.
        parameters: mean over the nets.
    """

    listener: str
    nets: int
    mean_correlation: float
    test_tracks: list[int]
    attributes: int
    epochs: float
    seconds_per_epoch: float
    parameters: float


IDENTITY = ("tested_on", "trained_on", "input", "method", "training", "fusion")
"""What rows of several seeds have in common."""

FIGURES = ("cosine", "recall", "ndcg", "map")

FIT = ("epochs", "seconds_per_epoch", "parameters")

_PLACE = {OURS: 0, PATCHES: 0, "ridge": 1, "20 nearest neighbours": 1}
"""Method → its place in the table; the floors come last."""


def run_rows(job: FitJob, suffix: str) -> list[RunRow]:
    """The rows of one test of a run."""
    rows = []
    for result in job.results(suffix).rows:
        method = plain_method(result.method)
        source = job.about["input"] if result.input not in ("–", "artist") else result.input
        # What isn't ours was not trained in stages: it is the same beside each variant.
        ours = method in (OURS, PATCHES)
        row = RunRow(
            tested_on=suffix.removeprefix("-"),
            trained_on=job.about.get("trained_on", ""),
            input="–" if method == "shuffled content" else source,
            method=method,
            training=job.about.get("training", "") if ours else "",
            fusion=job.about.get("fusion", "") if ours else "",
            seed=job.about["seed"],
            cosine=result.cosine,
            recall=result.recall,
            ndcg=result.ndcg,
            map=result.map,
        )
        if method == OURS:
            report = job.fit_report
            row = row._replace(**{name: report[name] for name in FIT})
        rows.append(row)
    return rows


def _identity(row: RunRow | AblationRow) -> tuple[str, ...]:
    return tuple(getattr(row, name) for name in IDENTITY)


def table_rows(runs: Sequence[RunRow]) -> list[AblationRow]:
    """One row for all seeds: the model's rows first, then rivals, then floors."""
    groups: dict[tuple[str, ...], list[RunRow]] = {}
    for run in runs:
        groups.setdefault(_identity(run), []).append(run)
    rows = [_table_row(members) for members in groups.values()]
    return sorted(rows, key=lambda row: (row.tested_on, _PLACE.get(row.method, 2)))


def _table_row(runs: Sequence[RunRow]) -> AblationRow:
    """One row of runs that differ in nothing but their seed."""
    figures: dict[str, float | None] = {}
    for name in FIGURES:
        values = _by_seed(runs, name)
        figures[name] = float(np.mean(values)) if values else None
        figures[f"{name}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    for name in FIT:
        values = [value for run in runs if (value := getattr(run, name)) is not None]
        figures[name] = float(np.mean(values)) if values else None
    return AblationRow(
        tested_on=runs[0].tested_on,
        trained_on=runs[0].trained_on,
        input=runs[0].input,
        method=runs[0].method,
        training=runs[0].training,
        fusion=runs[0].fusion,
        seeds=len({run.seed for run in runs}),
        **figures,
    )


def _by_seed(runs: Sequence[RunRow], figure: str) -> list[float]:
    """A figure of each seed, those without it left out.

    A floor stands beside many models of the same seed: their mean counts once.
    """
    values = []
    for seed in sorted({run.seed for run in runs}):
        of_seed = [getattr(run, figure) for run in runs if run.seed == seed]
        if None not in of_seed:
            values.append(float(np.mean(of_seed)))
    return values


def fusion_gains(runs: Sequence[RunRow]) -> list[FusionGain]:
    """The gain of each row of several modalities, where its parts have rows of their own."""
    ours = [run for run in runs if run.method == OURS]
    gains = []
    for row in table_rows(ours):
        sets = (row.tested_on, row.trained_on)
        comparable = [run for run in ours if (run.tested_on, run.trained_on) == sets]
        parts = {
            name: [run for run in comparable if run.input == name] for name in row.input.split("+")
        }
        if len(parts) < 2 or not all(parts.values()):
            continue
        best = max(parts, key=lambda name: np.mean([run.ndcg for run in parts[name]]))
        part_of_seed = {run.seed: run for run in parts[best]}
        pairs = [
            (run, part_of_seed[run.seed])
            for run in comparable
            if _identity(run) == _identity(row) and run.seed in part_of_seed
        ]
        if not pairs:
            continue
        ndcg_gains = _differences(pairs, "ndcg")
        gains.append(
            FusionGain(
                tested_on=row.tested_on,
                trained_on=row.trained_on,
                input=row.input,
                training=row.training,
                fusion=row.fusion,
                best_part=best,
                ndcg_gain=float(np.mean(ndcg_gains)),
                cosine_gain=-float(np.mean(_differences(pairs, "cosine"))),
                seeds_ahead=sum(gain >= 0 for gain in ndcg_gains),
                seeds=len(pairs),
            )
        )
    return gains


def _differences(pairs: Sequence[tuple[RunRow, RunRow]], figure: str) -> list[float]:
    return [getattr(one, figure) - getattr(other, figure) for one, other in pairs]


def listener_rows(jobs: Sequence[FitJob]) -> list[ListenerRow]:
    """A row for each listener, from its finished jobs."""
    groups: dict[str, list[FitJob]] = {}
    for job in jobs:
        groups.setdefault(job.about["input"], []).append(job)
    rows = []
    for name, members in groups.items():
        tests = [job.results().about for job in members]
        reports = [job.fit_report for job in members]
        rows.append(
            ListenerRow(
                listener=name,
                nets=len(members),
                mean_correlation=float(np.mean([test["mean_correlation"] for test in tests])),
                test_tracks=sorted({test["tracks"] for test in tests}),
                attributes=len(tests[0]["correlation"]),
                **{key: float(np.mean([report[key] for report in reports])) for key in FIT},
            )
        )
    return rows
