"""How the service's process takes memory from the system, so that it gives back what it frees."""

from __future__ import annotations

import ctypes
import os
import sys

SETTINGS = {
    # GNU's names for malloc: its default is 8 heaps for each core, and threads that come and go
    # leave holes in all of them. With one, memory stayed the same over half an hour of changes,
    # where it had grown by 5 MB a minute; Python's lock leaves little for which threads would wait.
    "MALLOC_ARENA_MAX": (-8, 1),
    # Larger blocks are taken from the system and given back one by one. By default this limit
    # rises to the size of what was freed, and then arrays are cut from heaps as well.
    "MALLOC_MMAP_THRESHOLD_": (-3, 512 << 10),
    "MALLOC_TRIM_THRESHOLD_": (-1, 1 << 20),
}
"""Variable of the environment that says the same → number of the parameter, and its value."""


def steady() -> bool:
    """Set them, before threads start; what the environment says goes first.

    Returns:
        Whether there was something to set: only the GNU C library has these parameters.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        bool(mallopt(*parameter)) for name, parameter in SETTINGS.items() if name not in os.environ
    )
