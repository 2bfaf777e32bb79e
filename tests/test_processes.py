"""Processes start from a script without a main guard, from -c and from stdin."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = """
import coldstart as cs
print("once")
cs.make_catalogue("catalogue", tracks=20, users=5, workers=2)
cs.shard("catalogue/tracks.parquet", out="shards", sample_rate=8000, shard_size=10, workers=2)
"""


@pytest.mark.parametrize("way", ["script", "stdin"])
def test_no_main_guard_is_needed(way: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CODE, encoding="utf-8")
    args = {"script": [str(script)], "stdin": []}[way]
    stdin = CODE if way == "stdin" else None
    done = subprocess.run(
        [sys.executable, *args], input=stdin, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("once") == 1
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "catalogue" / "audio").glob("*.flac"))) == 20
    assert len(list((tmp_path / "shards").rglob("*.tar"))) > 2


NOT_OURS = """
import multiprocessing
from coldstart.processes import OwnContext

def grandchild():
    import time
    time.sleep(0.6)  # longer than a process of ours waits between two looks for its parent

def child():
    process = multiprocessing.get_context("spawn").Process(target=grandchild)
    process.start()
    process.join()
    print(process.exitcode)

if __name__ == "__main__":
    ours = OwnContext().Process(target=print, args=("ours",))
    ours.start()
    ours.join()
    theirs = multiprocessing.get_context("spawn").Process(target=child)
    theirs.start()
    theirs.join()
"""


def test_processes_that_others_start_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(NOT_OURS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.split(), done.stderr) == (["ours", "0"], "")


ORPHANS = """
import os, signal, sys, time
from coldstart.processes import OwnContext
for number in range(3):
    process = OwnContext().Process(target=time.sleep, args=(60,))
    process.start()
    print(process.pid, flush=True)
time.sleep(float(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
@pytest.mark.parametrize("after", ["0.3", "1.5"])
def test_no_process_outlives_a_parent_that_was_killed(after: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS, after], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    end = time.monotonic() + 10
    pids = [int(line) for line in done.stdout.split()]
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert (len(pids), left) == (3, [])


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended, but isn't asked for, doesn't count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
