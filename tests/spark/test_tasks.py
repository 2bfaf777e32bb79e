"""Tasks over executors, and how a session is reached, in real worker processes."""

import operator
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from helpers import World
from spark_processes import LINUX, QUICK_JAVA, executors

import coldstart
from coldstart.errors import InputError, one_of
from coldstart.spark.session import spark_options, spark_session
from coldstart.spark.tasks import spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(autouse=True)
def _sent_whole() -> None:
    """Functions of this file go to the executors whole: there is no such module there."""
    cloudpickle = pytest.importorskip("pyspark.cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_results_come_in_the_order_of_the_tasks(spark: "SparkSession") -> None:
    tasks = list(range(40))
    assert spread(spark, tasks, partial(operator.mul, 3), "tripling") == [3 * n for n in tasks]
    assert spread(spark, [], partial(operator.mul, 3), "tripling") == []
    assert len(set(spread(spark, tasks, partial(_process, "x"), "asking"))) > 1


def _process(_: str, number: int) -> int:
    return os.getpid()


def test_a_task_that_refuses_is_named_and_ends_the_others(spark: "SparkSession") -> None:
    check = partial(one_of, "letter", choices=("a", "b"))
    with pytest.raises(InputError, match="checking, task 3 of 40: letter: 'x' is none of a, b"):
        spread(spark, ["a", "b", "x", *"ab" * 18, "a"], check, "checking")


def test_an_error_of_ours_is_named_with_where_to_look(spark: "SparkSession") -> None:
    with pytest.raises(InputError, match="halving: Spark gave up: ZeroDivisionError") as error:
        spread(spark, [1, 0], partial(operator.truediv, 1), "halving")
    assert str(spark.sparkContext.uiWebUrl) in str(error.value)


@LINUX
def test_a_task_whose_executor_is_lost_is_done_again(spark: "SparkSession", tmp_path: Path) -> None:
    before = set(executors())
    work = partial(_fatal_once, tmp_path / "lost")
    assert spread(spark, list(range(8)), work, "counting") == list(range(8))
    assert (tmp_path / "lost").read_text() == "3"
    assert not before <= set(executors())


def _fatal_once(note: Path, number: int) -> int:
    """At the third task, the first time: the death of the executor, with all of its processes."""
    if number == 3 and not note.exists():
        note.write_text("3")
        executor = os.getppid()  # pyspark's daemon, a child of the executor's JVM
        executor = int(Path(f"/proc/{executor}/stat").read_text().split()[3])
        os.kill(executor, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_settings_need_the_engine_and_values() -> None:
    assert spark_options("local", None, None) is None
    with pytest.raises(InputError, match="--master is of --engine spark"):
        spark_options("local", "yarn", None)
    with pytest.raises(InputError, match=r"--spark\.executor\.memory: needs a value"):
        spark_options("spark", None, {"executor": {"memory": ""}})
    with pytest.raises(InputError, match="engine: 'dask' is none of local, spark"):
        spark_options("dask", None, None)


def test_a_session_of_a_script_listens_on_loopback_and_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "from coldstart.spark.session import SparkOptions, spark_session\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "with spark_session(SparkOptions('local[1]')) as session:\n"
        "    assert signal.getsignal(signal.SIGINT) is before\n"
        "    print(session.conf.get('spark.driver.host'), session.sparkContext.uiWebUrl)\n"
    )
    run = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "JDK_JAVA_OPTIONS": QUICK_JAVA, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    host, page = run.stdout.split()
    assert host in ("127.0.0.1", "localhost")
    assert page.startswith(("http://127.0.0.1:", "http://localhost:"))
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_a_job_that_is_submitted_takes_the_master_it_was_given(
    tiny_world: World, tmp_path: Path
) -> None:
    submit = Path(sys.executable).with_name("spark-submit")
    verb = Path(coldstart.__file__).with_name("__main__.py")
    tables = [
        str(tiny_world.catalogue / "tracks.parquet"),
        "--out",
        str(tmp_path / "splits.parquet"),
    ]
    environment = {"JDK_JAVA_OPTIONS": QUICK_JAVA, "SPARK_LOCAL_IP": "127.0.0.1"}
    run = subprocess.run(
        [submit, "--master", "local[1]", verb, "split", *tables, "--engine", "spark"],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "local[1]" in run.stdout  # Spark passes on what Python says
    assert pl.read_parquet(tmp_path / "splits.parquet").equals(pl.read_parquet(tiny_world.splits))


def test_what_is_missing_or_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = spark_options("spark", "local[1]", None)
    assert options is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with (
        pytest.raises(InputError, match=r"needs Java 17 or 21, .* apt install"),
        spark_session(options),
    ):
        pass
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with (
        pytest.raises(InputError, match=r"pip install 'coldstart\[spark\]'"),
        spark_session(options),
    ):
        pass
