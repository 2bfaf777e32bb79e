"""A function over many tasks on the executors of a Spark session: a Spark task for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from coldstart.errors import InputError, ItemError
from coldstart.processes import one_thread
from coldstart.reporting.progress import Progress
from coldstart.spark.session import reason_of

if TYPE_CHECKING:
    from pyspark import Accumulator, SparkContext
    from pyspark.sql import SparkSession

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 0.5
"""Seconds between two looks at how many tasks are done."""


class _Refusal(NamedTuple):
    """What a task said that can't be done: it would say the same again, so it isn't tried again."""

    number: int
    message: str


def spread(
    session: SparkSession,
    tasks: Sequence[T],
    work: Callable[[T], R],
    what: str,
) -> list[R]:
    """Do each task on some executor; a task whose executor is lost is done again on another one.

    So `work` must do no harm when it is done twice: it writes whole files or none. Each runs with
    one thread, for Spark gives an executor as many tasks at a time as it has cores.

    Args:
        session: an open one.
        tasks: picklable, with absolute paths on storage that all machines share.
        work: a function of this package, or a `partial` of one.
        what: is done, for the progress line and Spark's page.

    Returns:
        The results, in the order of the tasks.

    Raises:
        InputError: a task refused its input, or was lost as often as `spark.task.maxFailures` says.
    """
    if not tasks:
        return []
    context = session.sparkContext
    refusals: Accumulator[list[_Refusal]] = context.accumulator([], _Lists())  # type: ignore[arg-type]
    context.setJobDescription(what)
    numbered = context.parallelize(list(enumerate(tasks)), len(tasks))
    try:
        with _watched(context, what, len(tasks), lambda: bool(refusals.value)):
            results = numbered.map(partial(_done, work, refusals)).collect()
    except Exception as error:
        if not _is_of_spark(error):
            raise
        if not refusals.value:  # else it was we who cancelled the job
            raise InputError(
                f"{what}: Spark gave up: {reason_of(error)}. What was finished is kept; see the "
                f"executors' logs{_page(context)}, and give the same command again"
            ) from error
    if refusals.value:
        number, message = min(refusals.value)
        raise InputError(f"{what}, task {number + 1} of {len(tasks)}: {message}")
    return [result for (result,) in results]


def _done(
    work: Callable[[T], R], refusals: Accumulator[list[_Refusal]], numbered: tuple[int, T]
) -> list[R]:
    """A task's only result, on an executor; none if it refuses."""
    number, task = numbered
    try:
        with one_thread():
            return [work(task)]
    except (InputError, ItemError) as error:
        refusals.add([_Refusal(number, str(error))])
        return []


class _Lists:
    """How Spark adds up lists: a `pyspark.AccumulatorParam`, without importing it."""

    def zero(self, value: list[Any]) -> list[Any]:
        """Nothing."""
        return []

    def addInPlace(self, value1: list[Any], value2: list[Any]) -> list[Any]:  # noqa: N802
        """Both."""
        return value1 + value2


def _is_of_spark(error: Exception) -> bool:
    """Whether the JVM, or pyspark, has raised it."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return isinstance(error, (Py4JError, PySparkException))


def _page(context: SparkContext) -> str:
    return f", by {context.uiWebUrl}" if context.uiWebUrl else ""


@contextmanager
def _watched(
    context: SparkContext, what: str, total: int, refused: Callable[[], bool]
) -> Iterator[None]:
    """Within the block, a line tells how many tasks are done, as Spark's own status has it.

    Once one has refused, all are cancelled: the others' work would be for nothing.
    """
    ended = threading.Event()
    with Progress(what, total, "tasks") as display:

        def watch() -> None:
            done = 0
            while not ended.wait(PATIENCE):
                now = _completed(context.statusTracker())
                display.add(max(0, now - done))
                done = max(done, now)
                if refused():
                    context.cancelAllJobs()
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _completed(tracker: Any) -> int:
    """Tasks of the running stages that are done."""
    stages = [tracker.getStageInfo(number) for number in tracker.getActiveStageIds()]
    return sum(stage.numCompletedTasks for stage in stages if stage)
