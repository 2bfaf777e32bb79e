"""One Spark for all tests of it: a master, two workers, an executor each, as real processes."""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from coldstart.spark.session import SparkOptions, spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASTER = "local-cluster[2,1,1024]"


@pytest.fixture(scope="session")
def spark() -> Iterator["SparkSession"]:
    """An open session: a verb with `--engine spark` uses it, whatever its master says."""
    pytest.importorskip("pyspark", reason="Spark is NOT tested: there is no pyspark")
    if shutil.which("java") is None:
        pytest.skip("Spark is NOT tested: there is no Java")
    with spark_session(SparkOptions(MASTER, {"spark.sql.shuffle.partitions": "2"})) as session:
        yield session
