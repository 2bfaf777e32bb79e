"""Random SIGKILLs over the verbs that take long: the same command goes on, to the same end.

    python tests/end_to_end/kills.py --kills 1000 --seed 0 --only shard,fit

A verb runs in a process that was forked from one which has imported everything (`Nursery`), and is
killed there, alone, as the system does where memory runs out: its own processes must end by
themselves. A kill is aimed at a moment (drawn over what the verb takes), at a change of the folder
(just before the file system is asked to open, rename or remove something), or at a temporary file
(as soon as one is seen). Some calls that go on are killed again. Then the command runs to its end,
and what it leaves is compared with what one that was never killed has left.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from end_to_end.kill_scenes import Scene

SHARES = {
    "shard": 0.2,
    "add": 0.2,
    "predict": 0.15,
    "update": 0.2,
    "ablate": 0.03,
    "fit": 0.12,
    "extract": 0.1,
}
"""How many of the kills are each verb's; an ablation takes longest."""

AIMS = {"moment": 0.5, "change": 0.35, "temporary": 0.15}
KEPT = ("lock", ".progress", ".parts")
"""Ends of names with a dot that tell no half-written file: a lock, and what a job goes on from."""

PATIENCE = 2.0
"""Seconds within which the processes of one that was killed must have ended."""

CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree")


class Call(NamedTuple):
    """How a call of the command line ended.

    Attributes:
        killed: whether it was, while it ran.
        status: exit status; negative: the signal.
        seconds: it ran.
        changes: of its folder, that Python made, until the end.
        temporaries: that were seen.
        log: all that it said.
    """

    killed: bool
    status: int
    seconds: float
    changes: int
    temporaries: int
    log: str


# The process that has imported everything: it forks one for each call. It must run nothing itself,
# for neither polars' threads nor torch's would survive a fork.


def nurse() -> None:
    """Answer requests, one a line of JSON on stdin, until it ends."""
    import coldstart.commands.add
    import coldstart.commands.extract
    import coldstart.commands.shard
    import coldstart.commands.update
    import coldstart.factors.update
    import coldstart.runs.predictions
    import coldstart.shards.build
    import coldstart.shards.extension
    import coldstart.shards.matching
    import coldstart.studies.ablate.fits
    import coldstart.studies.ablate.table  # noqa: F401
    from coldstart.training.lightning_cli import printed_config

    # Nothing is computed for this; and the parser keeps most of what takes it long.
    printed_config(["--config=mgp_genres.yaml", "--data.shards=x", "--data.factors=x"])
    gc.freeze()
    counter = mmap.mmap(-1, 8)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), counter)), flush=True)


def _answer(request: dict[str, Any], counter: mmap.mmap) -> dict[str, Any]:
    """Fork, run, perhaps kill."""
    folder, aim, at = request["folder"], request["aim"], request["at"]
    counter[:8] = bytes(8)
    began = time.perf_counter()
    process = os.fork()
    if process == 0:
        _live(request, counter)
    seen: set[str] = set()
    ended = 0
    while not ended:
        ended, status = os.waitpid(process, os.WNOHANG)
        if aim in ("temporary", "watch"):
            seen |= temporaries(folder)
        late = aim == "moment" and time.perf_counter() - began >= at
        if not ended and (late or (aim == "temporary" and len(seen) >= at)):
            os.kill(process, signal.SIGKILL)
            ended, status = os.waitpid(process, 0)
        time.sleep(0.0005)
    return {
        "process": process,
        "status": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - began,
        "changes": int.from_bytes(counter[:8], "little"),
        "temporaries": len(seen),
    }


def _live(request: dict[str, Any], counter: mmap.mmap) -> None:
    """Be the process of one call; it never returns."""
    os.setsid()  # by which its processes are found afterwards; only it itself is killed
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(file, descriptor)
    random.seed()
    status = 70
    try:
        from coldstart.cli import main

        folder, at = request["folder"], request["at"] if request["aim"] == "change" else 0
        if request["aim"] in ("change", "watch"):
            sys.addaudithook(lambda event, args: _count(event, args, folder, counter, at))
        status = main(request["args"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _count(event: str, args: tuple[Any, ...], folder: str, counter: mmap.mmap, at: int) -> None:
    """Count a change of the folder that is about to be made; be killed before number `at`."""
    if event not in CHANGES or not args or not str(args[0]).startswith(folder):
        return
    if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
        return
    number = int.from_bytes(counter[:8], "little") + 1
    counter[:8] = number.to_bytes(8, "little")
    if number == at:
        os.kill(os.getpid(), signal.SIGKILL)


class Nursery:
    """Calls of the command line, each in a process that starts at once."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--nurse"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        )
        self.session = self.process.pid

    def call(self, args: list[str], folder: Path, aim: str = "none", at: float = 0) -> Call:
        """Run a command, and kill it at what is aimed at, unless it has ended before.

        Args:
            args: as after `coldstart`.
            folder: whose changes and temporaries are looked at.
            aim: one of AIMS; `watch`: count what could be aimed at; `none`.
            at: seconds, or the number of the change or of the temporary, from 1.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        log = folder.with_name("log")
        request = {"args": args, "folder": str(folder), "aim": aim, "at": at, "log": str(log)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        self.session = answer.pop("process")
        killed = answer["status"] == -signal.SIGKILL
        return Call(killed=killed, **answer, log=log.read_text(errors="replace"))

    def survivors(self) -> list[int]:
        """Processes of the last call that are there after `PATIENCE`."""
        until = time.monotonic() + PATIENCE
        while (left := _of_session(self.session)) and time.monotonic() < until:
            time.sleep(0.02)
        return left

    def close(self) -> None:
        """End it."""
        self.process.communicate()


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start one, and end it."""
    made = Nursery()
    try:
        yield made
    finally:
        made.close()


def _of_session(session: int) -> list[int]:
    """Living processes of a session (Linux)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            state, _, _, its = (place / "stat").read_text().rpartition(") ")[2].split()[:4]
            if int(its) == session and state not in "ZX":
                found.append(int(place.name))
    return found


def temporaries(folder: str | Path) -> set[str]:
    """Half-written files and folders: their names begin with a dot, and tell no lock."""
    found: set[str] = set()
    for root, folders, files in os.walk(folder):
        found.update(
            f"{root}/{name}"
            for name in [*folders, *files]
            if name.endswith(".tmp") or (name[0] == "." and not name.endswith(KEPT))
        )
    return found


# A trial: kills, then the same command to its end.


class Undisturbed(NamedTuple):
    """A call that nobody killed: what it leaves, and what it takes."""

    folder: Path
    call: Call


class Trial(NamedTuple):
    """What came of a trial.

    Attributes:
        aims: of the kills that came while the verb ran.
        faults: what was wrong at the end; empty if nothing was.
        left: how many temporaries the kills had left.
    """

    aims: list[str]
    faults: list[str]
    left: int


def undisturbed(verb: str, scene: Scene, nurse: Nursery) -> Undisturbed:
    """Run a verb to its end."""
    work = scene.prepare(verb)
    call = nurse.call(scene.command(verb), work, "watch")
    assert call.status == 0, call.log[-3000:]
    whole = work.with_name(f"whole-{verb}")
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(work, whole)
    return Undisturbed(whole, call)


def trial(
    verb: str, scene: Scene, nurse: Nursery, whole: Undisturbed, draw: random.Random, most: int
) -> Trial:
    """Kill a verb once to three times (at most `most` times), go on to the end, and compare."""
    work, args, faults = scene.prepare(verb), scene.command(verb), []
    aims: list[str] = []
    left: set[str] = set()
    words = ""
    for _ in range(min(most, draw.choice([1, 1, 1, 2, 2, 3]))):
        aim = draw.choices(list(AIMS), list(AIMS.values()))[0]
        most = {"moment": 0, "change": whole.call.changes, "temporary": whole.call.temporaries}[aim]
        at = draw.randint(1, max(1, most)) if most else draw.uniform(0, whole.call.seconds)
        at_once = draw.random() < 0.5
        call = nurse.call(args, work, aim if most else "moment", at)
        words += call.log
        if not call.killed:
            if call.status:
                faults.append(f"going on ended with status {call.status}: {call.log[-2000:]}")
            break
        aims.append(aim if most else "moment")
        if not at_once and (alive := nurse.survivors()):
            faults.append(f"processes {alive} outlive the one that was killed")
        left |= temporaries(work)
    call = nurse.call(args, work)
    words += call.log
    if alive := nurse.survivors():
        faults.append(f"processes {alive} outlive a call")
    if call.status:
        faults.append(f"going on ended with status {call.status}: {call.log[-2000:]}")
    else:
        try:
            scene.compare(verb, whole.folder, work)
        except AssertionError as error:
            faults.append(f"another outcome: {str(error)[:1000]}")
        more, less = _names(work) - _names(whole.folder), _names(whole.folder) - _names(work)
        if more or less:
            faults.append(f"left over {sorted(more)}, missing {sorted(less)}")
        words += "".join(path.read_text(errors="replace") for path in work.rglob("*.log"))
        faults += [f"not a word about {path}" for path in left if not scene.is_told(path, words)]
    return Trial(aims, faults, len(left))


def _names(folder: Path) -> set[str]:
    """All that is in a folder, but for what a log may have more of."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {name for name in names if "/logs/" not in f"/{name}/"}


# All kills, and a table of them.


def kills_of(
    verb: str, kills: int, seed: int, scene: Scene, nurse: Nursery, only: int | None = None
) -> Iterator[Trial]:
    """Trials of a verb until it was killed so often, or the one with the number `only`."""
    whole = undisturbed(verb, scene, nurse)
    for number in itertools.count() if only is None else [only]:
        draw = random.Random(f"{seed} {verb} {number}")
        one = trial(verb, scene, nurse, whole, draw, kills)
        faults = [f"{verb}, seed {seed}, trial {number}: {fault}" for fault in one.faults]
        yield one._replace(faults=faults)
        kills -= len(one.aims)
        if kills <= 0:
            return


def main() -> int:
    """Run the kills, print a table; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(SHARES), help="verbs, with commas")
    parser.add_argument("--trial", type=int, help="of each verb this one alone")
    parser.add_argument("--nurse", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.nurse:
        nurse()
        return 0
    verbs = args.only.split(",")
    together = sum(SHARES[verb] for verb in verbs)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, str(Path(__file__).parents[1]))  # where `helpers` is
        from end_to_end.kill_scenes import Scene

        scene = Scene(Path(folder))
        print(f"{'verb':<9}{'trials':>7}{'kills':>7}  of them at", *AIMS, " left  wrong  seconds")
        for verb in verbs:
            number, began = round(args.kills * SHARES[verb] / together), time.monotonic()
            trials: list[Trial] = []
            with nursery() as own:  # other hashes of texts than those of the scene
                for one in kills_of(verb, number, args.seed, scene, own, args.trial):
                    trials.append(one)
                    for fault in one.faults:
                        print(fault, file=sys.stderr, flush=True)
            at = Counter(aim for one in trials for aim in one.aims)
            failed = sum(bool(one.faults) for one in trials)
            print(
                f"{verb:<9}{len(trials):>7}{at.total():>7}            ",
                *(f"{at[aim]:>{len(aim)}}" for aim in AIMS),
                f"{sum(one.left for one in trials):>5}{failed:>7}{time.monotonic() - began:>9.0f}",
                flush=True,
            )
            wrong += failed
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
