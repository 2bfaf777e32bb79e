"""A Spark session: from the flags `--master` and `--spark.KEY`, or from `spark-submit`."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from coldstart.errors import InputError, one_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

ComputeEngine = Literal["local", "spark"]
"""What runs a verb: this machine, or a Spark cluster."""

HERE = ("local", "local-cluster")
"""Masters that run on this machine alone."""

_CAUSE = re.compile(r"(Caused by: )?[\w.]+(Error|Exception)\b.*: ")
"""A line that names an error, of Java or Python."""

_SUBMITTED = "PYSPARK_GATEWAY_PORT"
"""Variable that `spark-submit` sets: the master is chosen already."""


class SparkOptions(NamedTuple):
    """How a cluster is reached.

    Attributes:
        master: such as `spark://host:7077`, `yarn`, `k8s://…`, `local[4]`, or, for tests,
            `local-cluster[2,1,1024]` (workers, cores, MB: processes of this machine). None: what
            `spark-submit` or Spark's own configuration says; without those, `local[*]`.
        settings: Spark's settings, such as `spark.executor.memory`: `4g`.
    """

    master: str | None = None
    settings: Mapping[str, str] = {}


def spark_options(
    engine: str, master: str | None, settings: Mapping[str, Any] | None
) -> SparkOptions | None:
    """What the flags `--engine`, `--master` and `--spark.KEY` of a verb say.

    Args:
        engine: of `ComputeEngine`.
        master: as in `SparkOptions`.
        settings: keys with or without `spark.`, nested as a parser of dots gives them, or not.

    Returns:
        None if the engine is this machine.

    Raises:
        InputError: an unknown engine, or settings of Spark without it.

    >>> spark_options("spark", "local[2]", {"executor": {"memory": "4g"}, "ui.port": 4050}).settings
    {'spark.executor.memory': '4g', 'spark.ui.port': '4050'}
    """
    one_of("engine", engine, ("local", "spark"))
    if engine == "spark":
        return SparkOptions(master, dict(_flat("spark", settings or {})))
    if master is not None or settings:
        flag = "--master" if master is not None else "--spark.KEY"
        raise InputError(f"{flag} is of --engine spark, which isn't given")
    return None


def _flat(prefix: str, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        name = f"{prefix}.{key.removeprefix('spark.')}"
        if isinstance(value, Mapping):
            yield from _flat(name, value)
        elif value is None or str(value) == "":
            raise InputError(f"--{name}: needs a value, such as --spark.executor.memory=4g")
        else:  # Spark writes booleans in small letters
            yield name, str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def spark_session(options: SparkOptions) -> Iterator[SparkSession]:
    """A session for the length of the block; one that is open already is used, and stays open.

    Executors need Python with the same packages as this one, and the paths that a job names: a
    shared file system. Without a master elsewhere, everything listens on this machine alone.

    Args:
        options: how the cluster is reached.

    Raises:
        InputError: pyspark or Java is missing, a setting is refused, or no cluster answers.
    """
    session_type = installed_spark()
    if (active := session_type.getActiveSession()) is not None:
        yield active
        return
    here = options.master is None or options.master.partition("[")[0] in HERE
    submitted = _SUBMITTED in os.environ
    scratch = Path(tempfile.mkdtemp(prefix="coldstart-spark-"))
    mine = scratch if here and not submitted else None
    with _environment(mine):
        session = None
        try:
            with _interrupts_kept():
                session = _begun(session_type, options, mine)
            context = session.sparkContext
            log.info(
                f"Spark {session.version}, {context.master}"
                + (f", its page: {context.uiWebUrl}" if context.uiWebUrl else "")
            )
            yield session
        finally:
            if session is not None:
                session.stop()
            shutil.rmtree(scratch, ignore_errors=True)


def installed_spark() -> type[SparkSession]:
    """Its class of sessions.

    Raises:
        InputError: pyspark or Java is missing.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise InputError(
            "--engine spark needs the package pyspark: pip install 'coldstart[spark]'"
        ) from error
    java = Path(os.environ.get("JAVA_HOME", ""), "bin", "java")
    if shutil.which("java") is None and not java.is_file() and _SUBMITTED not in os.environ:
        raise InputError(
            "--engine spark needs Java 17 or 21, and there is none: install it (Debian and Ubuntu: "
            "apt install default-jre-headless; conda: conda install -c conda-forge openjdk=17), or "
            "let JAVA_HOME name it"
        )
    return SparkSession


def _begun(
    session_type: type[SparkSession], options: SparkOptions, scratch: Path | None
) -> SparkSession:
    defaults: dict[str, str] = {
        "spark.app.name": "coldstart",
        "spark.ui.showConsoleProgress": "false",  # there is one of our own
    }
    if scratch is not None:
        properties = Path(__file__).with_name("log4j2.properties").as_uri()
        # Libraries that Java unpacks would stay behind an executor that was killed.
        java = f'-Dlog4j2.configurationFile={properties} "-Djava.io.tmpdir={scratch}"'
        defaults |= {f"spark.{side}.extraJavaOptions": java for side in ("driver", "executor")}
    builder = session_type.builder
    if options.master is not None:
        builder = builder.master(options.master)
    for key, value in {**defaults, **options.settings}.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # of the JVM through py4j: whatever a cluster answers
        raise InputError(
            f"Spark can't begin{f' at {options.master}' if options.master else ''}: "
            f"{reason_of(error)}; see that the master and the settings are right"
        ) from error


def reason_of(error: BaseException) -> str:
    """What an error from the JVM or a worker's Python says: of its causes, the innermost.

    >>> reason_of(ValueError("thrown from the Python worker:\\n Traceback\\nKeyError: 'a'\\n"))
    "KeyError: 'a'"
    """
    text = str(getattr(error, "java_exception", None) or error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if _CAUSE.match(line)]
    return (causes or lines or [repr(error)])[-1 if causes else 0][:500]


@contextmanager
def _environment(scratch: Path | None) -> Iterator[None]:
    """Within the block, processes of this machine listen on loopback, run this Python (by default
    `python3`, which need not be the same), and write to `scratch`; None: all is as it was.
    """
    if scratch is None:
        yield
        return
    new = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    new["SPARK_LOCAL_DIRS"] = str(scratch)
    added = {name: value for name, value in new.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """A session that begins puts a handler of its own in the place of ours; ours comes back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, ours)
