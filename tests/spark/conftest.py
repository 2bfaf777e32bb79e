"""One Spark for all tests of it: a master, two workers, an executor each, as real processes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from spark_processes import QUICK_JAVA

from coldstart.spark.session import SparkOptions, spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASTER = "local-cluster[2,1,1024]"

SETTINGS = {
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.defaultJavaOptions": QUICK_JAVA,
    "spark.executor.defaultJavaOptions": QUICK_JAVA,
    # What a killed executor held isn't asked for three times, five seconds apart.
    "spark.shuffle.io.maxRetries": "1",
    "spark.shuffle.io.retryWait": "100ms",
}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator["SparkSession"]:
    """An open session: a verb with `--engine spark` uses it, whatever its master says."""
    pyspark = pytest.importorskip("pyspark", reason="Spark is NOT tested: there is no pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark is NOT tested: there is no Java")
    begun = spark_session(SparkOptions(MASTER, SETTINGS))
    # An application is called by the second in which it begins, and its executors work in a folder
    # of that name: two test processes must not begin in one second.
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "spark.lock"):
        session = begun.__enter__()
    home = Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent)
    folder = home / "work" / str(session.sparkContext.applicationId)
    try:
        yield session
    finally:
        begun.__exit__(None, None, None)
        shutil.rmtree(folder, ignore_errors=True)  # Spark leaves it behind
