"""Rows of the benchmarks' table, how they are timed, and how they are written.

A benchmark is a module of this package with `def measure(rounds: int = 3) -> list[Row]`, and ends
with `if __name__ == "__main__": main(measure)`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate


class Row(NamedTuple):
    """One line: what was measured, ours, the floor, ours ÷ floor, and what it should be.

    `ours` and `floor` are texts with their units; `target` is such as `≤ 1.1`.
    """

    item: str
    ours: str
    floor: str
    ratio: float
    target: str


class Times(NamedTuple):
    """Medians over rounds, in seconds; the ratio is the median of the rounds' ratios."""

    ours: float
    floor: float
    ratio: float

    def row(self, item: str, target: str) -> Row:
        return Row(item, seconds(self.ours), seconds(self.floor), self.ratio, target)


def in_turn(ours: Callable[[], float], floor: Callable[[], float], rounds: int) -> Times:
    """Run both in turn, so that the machine's other work affects both alike.

    Args:
        ours: runs once and returns its seconds.
        floor: the same for the floor.
        rounds: how often; which of the two is first changes from round to round.
    """
    pairs: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2:
            own_seconds = ours()
            floor_seconds = floor()
        else:
            floor_seconds = floor()
            own_seconds = ours()
        pairs.append((own_seconds, floor_seconds))
    return summary(pairs)


def summary(pairs: Sequence[tuple[float, float]]) -> Times:
    """Medians of the (ours, floor) of each round."""
    return Times(
        statistics.median(ours for ours, _ in pairs),
        statistics.median(floor for _, floor in pairs),
        statistics.median(ours / floor for ours, floor in pairs),
    )


def now() -> float:
    """Seconds by the clock that BENCH_CLOCK names: `wall`, or `cpu` for this process's own time,
    which other programs on a busy machine affect less; it leaves out waiting.
    """
    cpu = os.environ.get("BENCH_CLOCK", "wall") == "cpu"
    return time.process_time() if cpu else time.perf_counter()


def clocked(work: Callable[[], object], clock: Callable[[], float] = now) -> float:
    """Seconds that the work takes. For work in other processes the clock is `time.perf_counter`."""
    began = clock()
    work()
    return clock() - began


def seconds(value: float) -> str:
    """Three digits, in seconds or milliseconds.

    >>> seconds(12.345), seconds(0.012345)
    ('12.3 s', '12.3 ms')
    """
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    cells = [(*row[:3], f"{row.ratio:.2f}", row.target) for row in rows]
    headers = ["what", "ours", "floor", "ratio", "target"]
    align = ("left", "right", "right", "right", "left")
    return tabulate(cells, headers, tablefmt="github", colalign=align, disable_numparse=True)


def main(measure: Callable[[int], list[Row]]) -> None:
    """Run one benchmark: print its rows, and write them as JSON where `--json` asks for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    arguments = parser.parse_args()
    rows = measure(arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps([row._asdict() for row in rows], ensure_ascii=False))
    print(markdown(rows))
