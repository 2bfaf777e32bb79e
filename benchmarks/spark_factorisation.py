"""`factorize --engine spark` beside the same verb on one machine, each in processes of its own.

By Spark ML's ALS, and by half-steps alone (`--spark.coldstart.als=rows`). All run on this machine,
so the ratio is what the engine costs, not what more machines gain. Memory is the largest sum over
all processes at one time: for Spark the verb, the JVM that it starts, and two executors with their
Python workers. Linux alone.

    python -m benchmarks.spark_factorisation
    LISTENS=10000000 python -m benchmarks.spark_factorisation
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.factorisation import LISTENS, log
from benchmarks.memory import Run
from benchmarks.table import Row, main, seconds

MASTER = os.environ.get("MASTER", "local-cluster[2,1,3072]")
OPTIONS = ("--factors=32", "--iterations=10", "--quiet")
SPARK = ("--engine=spark", f"--master={MASTER}", "--spark.executor.memory=3g")
WAYS = {"ml": "Spark ML's ALS", "rows": "half-steps on executors"}


def whole(command: Sequence[str]) -> Run:
    """Seconds and peak memory of a command with all processes that it starts."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, tree_mb(process.pid))
        time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"{command[3]} ended with {process.returncode}")
    return Run(time.perf_counter() - began, peak, 0.0)


def tree_mb(root: int) -> float:
    """Resident MB of a process and all below it."""
    parents, resident = dict[int, int](), dict[int, float]()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(place.name)] = int(fields[1])
        resident[int(place.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    total = 0.0
    for process in resident:
        line = process
        while line not in (0, root):
            line = parents.get(line, 0)
        total += resident[process] if line == root else 0.0
    return total


def measure(rounds: int = 3) -> list[Row]:
    """Once, whatever `rounds`: it takes minutes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        listens, splits = log(Path(folder))
        verb = [sys.executable, "-m", "coldstart", "factorize", str(listens)]
        verb += [f"--splits={splits}", *OPTIONS]
        here = whole([*verb, f"--out={folder}/here"])
        for way, what in WAYS.items():
            flags = [*SPARK, f"--spark.coldstart.als={way}", f"--out={folder}/{way}"]
            there = whole([*verb, *flags])
            item = (
                f"factorise {LISTENS:,} listens into 32 factors, 10 iterations, by {what} in "
                f"{MASTER} beside `implicit` (once; peak memory {there.peak_mb:,.0f} MB beside "
                f"{here.peak_mb:,.0f})"
            )
            ratio = there.seconds / here.seconds
            rows.append(Row(item, seconds(there.seconds), seconds(here.seconds), ratio, "–"))
    return rows


if __name__ == "__main__":
    main(measure)
