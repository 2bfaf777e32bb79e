"""Threads share one heap, and large blocks are given back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coldstart.service.allocation import SETTINGS

# Prints how many heaps there are after threads have allocated at the same time.
HEAPS = """
import ctypes, sys, threading
from coldstart.service.allocation import steady
assert steady() or sys.argv[2] == "other"
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(4)
def work():
    together.wait()
    kept = [libc.malloc(50_000) for _ in range(200)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[each.start() for each in threads]
[each.join() for each in threads]
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
print(open(sys.argv[1]).read().count("<heap nr="))
"""


def heaps(path: Path, said: str, **environment: str) -> int:
    variables = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", HEAPS, str(path), said],
        capture_output=True,
        text=True,
        env=variables | environment,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of the GNU C library")
def test_threads_share_a_heap_unless_the_environment_says_otherwise(tmp_path: Path) -> None:
    assert heaps(tmp_path / "info.xml", "ours") == 1
    assert heaps(tmp_path / "info.xml", "other", MALLOC_ARENA_MAX="8") > 1
