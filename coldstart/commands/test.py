"""The verb `test`: a run's figures beside floors and rivals."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart.files import StrPath
from coldstart.spark.session import ComputeEngine, SparkOptions, spark_options
from coldstart.training.flags import (
    as_arguments,
    engine_flags,
    parse,
    values_of,
    without_spark,
)

if TYPE_CHECKING:
    from coldstart.evaluation.rankings import Ranker


def test(
    run: StrPath,
    *,
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
    engine: ComputeEngine = "local",
    master: str | None = None,
    spark: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compute a run's figures beside floors and rivals, and print them as tables.

    Args:
        run: folder of a fitted run.
        overrides: as in `fit`.
        trust: whether the run's own config may build anything; see docs/security.md.
        engine: what ranks: `local`, this machine, or `spark`, a cluster.
        master: of Spark, such as `yarn` or `spark://host:7077`.
        spark: Spark's settings, such as `{"executor.memory": "4g"}`.

    Returns:
        What is also written to the run's results.json.
    """
    flags = ["--run", os.fspath(run), *as_arguments(overrides), *(["--trust"] if trust else [])]
    main([*flags, *engine_flags(engine, master, spark)])
    results: dict[str, Any] = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
    return results


test.__test__ = False  # type: ignore[attr-defined]  # for pytest


def main(args: Sequence[str]) -> None:
    """`coldstart test ARGS`."""
    settings, args = without_spark(args)
    own, rest = parse("test", args)
    cluster = spark_options(own.engine, own.master, settings)
    from coldstart.training import drop_each
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.preparation import results_name, run_folder
    from coldstart.training.reports import TestReport

    root = next(reversed(values_of(rest, "--trainer.default_root_dir")), run_folder(own, rest))
    with _ranker(cluster, Path(root) / results_name(own)) as ranker:
        lightning = partial(lightning_cli, ranker=ranker)
        done = lightning("test", args).preparation
        # Ours alone: the config may name another one, which writes files of its own.
        (report,) = (callback for callback in done.callbacks if isinstance(callback, TestReport))
        if report.text:  # on rank 0
            print(report.text)
        if report.next_step:
            print(f"next: {report.next_step}")
        if done.flags.drop_each:
            again = [arg for arg in args if arg not in ("--drop-each", "--no-rivals")]
            name = results_name(done.flags)
            rows = drop_each.drop_each(done.folder, name, [*again, "--no-rivals"], lightning)
            if rows:  # on rank 0
                print(f"\n{drop_each.table(rows)}")


@contextmanager
def _ranker(cluster: SparkOptions | None, beside: Path) -> Iterator[Ranker | None]:
    """What ranks on a cluster, which is reached once there is something to rank, and by the process
    that has it; None without a cluster.
    """
    if cluster is None:
        yield None
        return
    from coldstart.spark.exchange import exchange_folder
    from coldstart.spark.rankings import ranker_on
    from coldstart.spark.session import installed_spark, spark_session

    installed_spark()  # else it would be missed after the predictions
    with ExitStack() as stack:

        @cache
        def opened() -> Ranker:
            session = stack.enter_context(spark_session(cluster))
            return ranker_on(session, stack.enter_context(exchange_folder(beside)))

        yield lambda ranking: opened()(ranking)
