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
from coldstart.processes import MERGE, chosen_part
from coldstart.spark.session import ComputeEngine, SparkOptions, spark_options
from coldstart.training.flags import as_arguments, engine_flags, parse, without_spark

if TYPE_CHECKING:
    from coldstart.runs.prediction_parts import VectorPiece

PLACES = {"--data.shards": "shards", "--data.factors": "factors"}
"""Flags of Lightning's side that a prediction in parts takes, too."""


def predict(
    run: StrPath,
    *,
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
    part: str | None = None,
    merge: bool = False,
    engine: ComputeEngine = "local",
    master: str | None = None,
    spark: Mapping[str, Any] | None = None,
) -> None:
    """Write a run's outputs for all tracks: vectors, or a listener's attributes.

    Args:
        run: folder of a fitted run.
        overrides: as in `fit`.
        trust: whether the run's own config may build anything; see docs/security.md.
        part: `I/N`: predict the I-th of N parts of the shards, as one of several machines.
        merge: join what all parts have predicted.
        engine: what predicts: `local`, this machine, or `spark`, a cluster.
        master: of Spark, such as `yarn` or `spark://host:7077`.
        spark: Spark's settings, such as `{"executor.memory": "4g"}`.
    """
    flags = ["--run", os.fspath(run), *as_arguments(overrides), *(["--trust"] if trust else [])]
    flags += [*(["--part", part] if part else []), *(["--merge"] if merge else [])]
    main([*flags, *engine_flags(engine, master, spark)])


def main(args: Sequence[str]) -> None:
    """`coldstart predict ARGS`."""
    settings, args = without_spark(args)
    own, rest = parse("predict", args)
    cluster = spark_options(own.engine, own.master, settings)
    if own.part is not None or own.merge or cluster is not None:
        _predict_in_parts(own, rest, cluster)
        return
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.prediction_writers import PredictionWriter

    callbacks: list[Any] = lightning_cli("predict", args).trainer.callbacks  # type: ignore[attr-defined]
    writers = [c for c in callbacks if isinstance(c, PredictionWriter)]
    for step in dict.fromkeys(writer.next_step for writer in writers if writer.next_step):
        print(f"next: {step}")


def _predict_in_parts(
    own: argparse.Namespace, rest: Sequence[str], cluster: SparkOptions | None
) -> None:
    """One of several machines' part, or the join of all, or a cluster's work."""
    places = _places(rest)
    part = chosen_part(own.part, own.merge, cluster is not None)
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
        print(f"{predict_part(run, part)}\n{MERGE}")
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
    from coldstart.spark.places import RunPlaces
    from coldstart.spark.session import spark_session
    from coldstart.spark.vectors import spread_vectors

    with spark_session(cluster) as session:
        yield partial(spread_vectors, session, RunPlaces(run, **places))


def _places(rest: Sequence[str]) -> dict[str, str]:
    """Shards and factors, of flags that aren't `predict`'s own."""
    places, waiting = dict[str, str](), list(rest)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if name not in PLACES:
            raise InputError(
                f"{name}: with --part, --merge or --engine spark, predict takes --run, "
                f"{', '.join(PLACES)} and --spark.KEY=VALUE alone"
            )
        if not equals and waiting:
            value = waiting.pop(0)
        places[PLACES[name]] = value
    return places
