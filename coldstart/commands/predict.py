"""The verb `predict`: a run's outputs for all tracks."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.processes import JobPart
from coldstart.spark.session import SparkOptions, spark_options
from coldstart.training.flags import as_arguments, parse

if TYPE_CHECKING:
    from coldstart.runs.prediction_parts import VectorPiece

PLACES = {"--data.shards": "shards", "--data.factors": "factors"}
"""Flags of Lightning's side that a prediction in parts takes, too."""


def predict(
    run: StrPath, *, overrides: Mapping[str, Any] | None = None, trust: bool = False
) -> None:
    """Write a run's outputs for all tracks: vectors, or a listener's attributes.

    Args:
        run: folder of a fitted run.
        overrides: as in `fit`.
        trust: whether the run's own config may build anything; see docs/security.md.
    """
    main(["--run", os.fspath(run), *as_arguments(overrides), *(["--trust"] if trust else [])])


def main(args: Sequence[str]) -> None:
    """`coldstart predict ARGS`."""
    own, rest = parse("predict", args)
    if own.part is not None or own.merge or own.engine != "local" or own.master:
        _predict_in_parts(own, rest)
        return
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.prediction_writers import PredictionWriter

    callbacks: list[Any] = lightning_cli("predict", args).trainer.callbacks  # type: ignore[attr-defined]
    writers = [c for c in callbacks if isinstance(c, PredictionWriter)]
    for step in dict.fromkeys(writer.next_step for writer in writers if writer.next_step):
        print(f"next: {step}")


def _predict_in_parts(own: argparse.Namespace, rest: Sequence[str]) -> None:
    """One of several machines' part, or the join of all, or a cluster's work."""
    places, settings = _places_and_settings(rest)
    cluster = spark_options(own.engine, own.master, settings)
    part = None if own.part is None else JobPart.of(own.part)
    if sum((cluster is not None, own.merge, part is not None)) > 1:
        raise InputError("--part, --merge and --engine spark are three ways; name one")
    if not own.run or own.write or own.ckpt_path:
        raise InputError(
            "--part, --merge and --engine spark predict the vectors of --run DIR by its best "
            "checkpoint; --write and --ckpt_path are for one machine"
        )
    from coldstart.retrieval.catalogue import must_predict_factors
    from coldstart.runs.prediction_parts import predict_part, predict_whole
    from coldstart.runs.run import open_run

    run = open_run(own.run, **places)
    must_predict_factors(run.model)
    if part is not None:
        written = predict_part(run, part)
        print(
            f"part {part.number} of {part.parts}: wrote {written.written:,} of its "
            f"{written.pieces:,} pieces into {written.folder} (the whole job has {written.total:,})"
        )
        print("next, when all parts are there: the same command with --merge in place of --part")
        return
    with _spread(cluster, own.run, places) as spread:
        folder = predict_whole(run, own.merge, spread)
    print(f"wrote {folder}\nnext: coldstart recommend --run {own.run} --users all --out FILE")


@contextmanager
def _spread(
    cluster: SparkOptions | None, run: str, places: Mapping[str, str]
) -> Iterator[Callable[[list[VectorPiece]], object] | None]:
    """What predicts pieces on a cluster; None without one."""
    if cluster is None:
        yield None
        return
    from coldstart.spark.session import spark_session
    from coldstart.spark.vectors import RunPlaces, spread_vectors

    with spark_session(cluster) as session:
        yield partial(spread_vectors, session, RunPlaces(run, **places))


def _places_and_settings(rest: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Shards and factors, and Spark's settings, of flags that aren't `predict`'s own."""
    places, settings = dict[str, str](), dict[str, str]()
    waiting = list(rest)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if not equals and waiting:
            value = waiting.pop(0)
        if name.startswith("--spark."):
            settings[name.removeprefix("--spark.")] = value
        elif name in PLACES:
            places[PLACES[name]] = value
        else:
            raise InputError(
                f"{name}: with --part, --merge or --engine spark, predict takes --run, "
                f"{', '.join(PLACES)} and --spark.KEY=VALUE alone"
            )
    return places, settings
