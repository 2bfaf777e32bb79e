"""Seconds and peak memory of a function, in a fresh process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.table import now


class Run(NamedTuple):
    """What a run took: seconds, peak resident MB of its process, MB before it began."""

    seconds: float
    peak_mb: float
    before_mb: float

    @property
    def own_mb(self) -> float:
        """Beyond what libraries take."""
        return self.peak_mb - self.before_mb


def apart(work: Callable[..., object], *args: Any) -> Run:
    """Run a module's function in a fresh process (Linux)."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, work, args).result()


def _measured(work: Callable[..., object], args: tuple[Any, ...]) -> Run:
    before = _resident("VmRSS")
    began = now()
    work(*args)
    return Run(now() - began, _resident("VmHWM"), before)


def _resident(name: str) -> float:
    """MB, from the kernel; getrusage would count the memory of the parent process, too."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1000
    raise OSError(f"/proc/self/status has no line {name}")
