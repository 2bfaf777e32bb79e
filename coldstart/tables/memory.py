"""How much memory this process can still have, and the refusal of what surely doesn't fit.

What doesn't fit would end the process: the readers of tables give no error that can be shown.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from coldstart.errors import InputError
from coldstart.files import StrPath

_GROUPS = (
    ("/sys/fs/cgroup{}/memory.max", "memory.current", r"^0::(.*)$", "inactive_file"),
    (
        "/sys/fs/cgroup/memory{}/memory.limit_in_bytes",
        "memory.usage_in_bytes",
        r"^\d+:memory:(.*)$",
        "total_inactive_file",
    ),
)
"""Where Linux keeps what a container may use, in its two ways, and what of that can be freed."""


def free_memory() -> float:
    """Bytes of memory that this process can still have; infinity where the system doesn't tell.

    >>> free_memory() > 0
    True
    """
    bounds = [math.inf]
    meminfo = _numbers("/proc/meminfo")
    if "MemAvailable" in meminfo:
        bounds.append((meminfo["MemAvailable"] + meminfo.get("SwapFree", 0)) * 1024)
    for limit, usage, own, cache in _GROUPS:
        place = re.search(own, _text("/proc/self/cgroup"), re.MULTILINE)
        for name in {place[1].rstrip("/") if place else "", ""}:
            file = Path(limit.format(name))
            most, used = _text(file), _text(file.with_name(usage))
            if most.isdigit() and used.isdigit():
                freed = _numbers(file.with_name("memory.stat")).get(cache, 0)
                bounds.append(int(most) - int(used) + freed)
    bounds.append(_left_by_ulimit())
    return max(0.0, min(bounds))


def _left_by_ulimit() -> float:
    """Bytes up to the limit that a shell's `ulimit -v` sets."""
    try:
        import resource  # not on Windows

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
    except ImportError:
        return math.inf
    used = _numbers("/proc/self/status").get("VmSize")
    return most - used * 1024 if used and most != resource.RLIM_INFINITY else math.inf


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _numbers(path: str | Path) -> dict[str, int]:
    """A file of names and numbers of the system."""
    return {
        name: int(number)
        for name, number in re.findall(r"^(\w+):?\s+(\d+)(?: kB)?$", _text(path), re.MULTILINE)
    }


def check_fits(path: StrPath, needed: float) -> None:
    """Raise InputError about a file that needs more memory than there is.

    Args:
        path: of the file.
        needed: bytes, at least.
    """
    free = free_memory()
    if needed > free:
        raise InputError(
            f"{path}: needs at least {_size(needed)} of memory once it is unpacked, and "
            f"{_size(free)} are free; leave out rows and columns that aren't needed, or use a "
            "machine with more memory"
        )


def _size(number: float) -> str:
    """Bytes for people.

    >>> _size(2.5e9), _size(3e15)
    ('2.50 GB', '3,000,000.00 GB')
    """
    return f"{number / 1e9:,.2f} GB"
