"""SIGINT and SIGTERM at every verb: a sentence and a status, soon; and nothing is left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from helpers import SMALL_AUDIO, Fitted, World, data_flags

from coldstart.cli import VERBS

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="looks at processes in /proc"
)

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM"}
SOON = 2.0
"""Seconds that a verb may take to end, of a machine that has nothing else to do."""

SAVED = 30.0
"""Seconds that one may take which first saves what it has trained."""

SAVERS = ("fit", "predict", "ablate", "benchmark", "tune", "listen")

KEPT = (".parts", ".progress")
"""What may stay, so that the next call goes on: no temporary files."""

ENDLESS = ["--trainer.max_epochs=100000", "--checkpoint.minutes=0"]
QUIET = "--trainer.enable_progress_bar=false"
AUDIO = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]


class Stopped(NamedTuple):
    """How a verb ended.

    Attributes:
        status: its exit status.
        seconds: from the signal on.
        said: stdout and stderr.
        orphans: its processes that outlived it.
    """

    status: int
    seconds: float
    said: str
    orphans: list[int]


class Started(NamedTuple):
    """A verb at work, and the file that takes what it says."""

    process: subprocess.Popen[bytes]
    output: Path


def start(output: Path, *args: str) -> Started:
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "coldstart", *args],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=file,
            start_new_session=True,
            # A shell's background ignores SIGINT, and so would what is started from it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    return Started(process, output)


def stop(started: Started, number: signal.Signals, at: Callable[[int], bool]) -> Stopped:
    """Wait for a moment, given by the process's id, and send a signal."""
    process, output = started
    end = time.monotonic() + 180
    while not at(process.pid):
        assert process.poll() is None, output.read_text()[-3000:]
        assert time.monotonic() < end, f"it never came: {output.read_text()[-3000:]}"
        time.sleep(0.005)
    process.send_signal(number)
    sent = time.monotonic()
    status = process.wait(60)
    seconds = time.monotonic() - sent
    end = time.monotonic() + SOON
    while (orphans := members(process.pid)) and time.monotonic() < end:
        time.sleep(0.02)
    return Stopped(status, seconds, output.read_text(errors="replace"), orphans)


def members(session: int) -> list[int]:
    """Processes of a session that are running."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended meanwhile
            continue
        if int(number) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def heeds(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def has_loaded(library: str) -> Callable[[int], bool]:
    return lambda pid: library in Path(f"/proc/{pid}/maps").read_text()


def there(folder: Path, pattern: str) -> Callable[[int], bool]:
    return lambda _: any(folder.glob(pattern))


def check(verb: str, number: signal.Signals, stopped: Stopped, folder: Path) -> None:
    assert stopped.status == STATUS[number], stopped.said[-3000:]
    lines = [line for line in stopped.said.splitlines() if line.startswith("coldstart")]
    assert len(lines) == 1, stopped.said[-3000:]
    assert lines[0].startswith(f"coldstart {verb}: {SAID[number]}; "), stopped.said[-3000:]
    assert "give the same command again" in lines[0] or "again, give" in lines[0]
    for strange in ("Traceback", "ignored in", "leaked", "terminate called"):
        assert strange not in stopped.said, stopped.said[-3000:]
    assert stopped.orphans == []
    busy = max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert stopped.seconds < (SAVED if verb in SAVERS else SOON) * busy
    hidden = [path for path in folder.rglob(".*") if not path.name.endswith(".lock")]
    assert [path for path in hidden if path.name not in KEPT] == []


class Place(NamedTuple):
    """Where a verb works: copies of what it changes, and a folder for what it makes."""

    root: Path
    world: World
    attributes_run: Path
    audio_run: Path

    def copy(self, source: Path) -> str:
        target = self.root / source.name
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("predictions"))
        return str(target)


def tracks_of(place: Place) -> str:
    return str(place.world.catalogue / "tracks.parquet")


def listens_of(place: Place) -> str:
    return str(place.world.catalogue / "listens.parquet")


def demo(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    out = place.root / "demo"
    return [f"--out={out}", "--sound=true", "--tracks=300", "--users=40"], there(
        out, "catalogue/audio/*.flac"
    )


def factorize(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    flags = [f"--out={place.root / 'factors'}", "--iterations=1000000"]
    return [listens_of(place), *flags], has_loaded("implicit/cpu/_als")


def shard(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    out = place.root / "shards"
    flags = [f"--splits={place.world.splits}", "--workers=2", "--shard_size=1", f"--out={out}"]
    return [tracks_of(place), *flags], there(out, "**/audio/*.tar")


def add(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    shards = place.copy(place.world.shards)
    flags = [f"--shards={shards}", "--replace", "--workers=2", "--modalities=[audio]"]
    before = len(list(Path(shards).rglob("*.tar")))
    return [tracks_of(place), *flags], lambda _: len(list(Path(shards).rglob("*.tar"))) > before


def listen(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    out = place.root / "listener"
    flags = [f"--shards={place.copy(place.world.shards)}", f"--out={out}", "--folds=2", QUIET]
    return [*flags, *AUDIO, *ENDLESS, "--data.workers=0"], there(out, "**/last.ckpt")


def extract(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    out = place.root / "heard"
    flags = [f"--audio={place.world.catalogue / 'audio'}", f"--out={out}", "--workers=1"]
    return ["MFCC", *flags], there(out, ".parts/[!.]*.parquet")


def fit(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    run = place.root / "run"
    flags = ["--config=audio.yaml", f"--run={run}", *data_flags(place.world), *AUDIO, *ENDLESS]
    return [*flags, "--data.workers=1", QUIET], there(run, "checkpoints/last.ckpt")


def predict(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    run = place.copy(place.audio_run)
    flags = [f"--run={run}", "--data.batch_size=1", "--data.workers=1", "--checkpoint.minutes=0"]
    return flags, there(Path(run), ".parts/*/0-*")


def ablate(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    out, world = place.root / "ablation", place.world
    endless = "{trainer.max_epochs: 100000, checkpoint.minutes: 0, data.workers: 0}"
    flags = ["--parts={mgp: mgp.yaml, genres: genres.yaml}", f"--settings={endless}", "--jobs=2"]
    data = [f"--shards={world.shards}", f"--factors={world.factors}", f"--out={out}"]
    return [*flags, *data], there(out, "**/last.ckpt")


def benchmark(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    out, catalogue = place.root / "benchmark", place.world.catalogue
    endless = {"trainer.max_epochs": 100_000, "data.workers": 0, "checkpoint.minutes": 0}
    plan = {
        "tracks": tracks_of(place),
        "listens": listens_of(place),
        "attributes": {"mgp": str(catalogue / "mgp.parquet")},
        "seeds": [0],
        "factorize": {"factors": 8, "iterations": 5},
        "models": {"talk": {"config": "mgp.yaml", "settings": endless}},
        "rivals": ["popularity"],
    }
    file = place.root / "plan.yaml"
    file.write_text(yaml.safe_dump(plan))
    return [str(file), f"--out={out}"], there(out, "**/last.ckpt")


def tune(place: Place) -> tuple[list[str], Callable[[int], bool]]:
    pytest.importorskip("optuna")
    out, space = place.root / "tune", place.root / "space.yaml"
    space.write_text("model.encoders.mgp.dropout: {choices: [0.0, 0.1]}\n")
    flags = ["--config=mgp.yaml", f"--space={space}", f"--out={out}", "--trials=4"]
    flags += ["--data.workers=0", *data_flags(place.world), *ENDLESS]
    return flags, there(out, "**/last.ckpt")


LONG = {
    each.__name__: each
    for each in (
        demo,
        factorize,
        shard,
        add,
        listen,
        extract,
        fit,
        predict,
        ablate,
        benchmark,
        tune,
    )
}
"""Verbs that are stopped at their work; the others as soon as the command line has begun."""


def arguments(verb: str, place: Place) -> list[str]:
    """Of a verb that takes a moment."""
    run, out = f"--run={place.attributes_run}", f"--out={place.root / 'out'}"
    return {
        "dataset": ["hetrec-lastfm", f"--source={place.root}", out],
        "update": [str(place.world.factors)],
        "split": [tracks_of(place), f"{out}.parquet"],
        "remove": ["t000001", f"--shards={place.world.shards}"],
        "validate": [run],
        "test": [run],
        "recommend": [run, "--users=all", f"{out}.parquet"],
        "export": [run, out],
        "neighbours": [run, "--like=t000001"],
        "plugins": [],
        "completion": ["bash"],
        "index": [run],
        "serve": [run],
        "report": [run, f"{out}.html"],
        "new-encoder": ["Poems", out],
    }[verb]


ONCE = ("demo", "listen", "ablate", "benchmark")
"""Verbs that take long to begin, and end as others do: one signal is enough for each."""


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_ends_soon_with_a_sentence_and_leaves_nothing(
    verb: str, tiny_world: World, mgp_genres: Fitted, tiny_audio_run: Path, tmp_path: Path
) -> None:
    begun = []
    for number in [signal.SIGTERM] if verb in ONCE else STATUS:  # side by side, for time
        root = tmp_path / number.name
        root.mkdir()
        place = Place(root, tiny_world, mgp_genres.run, tiny_audio_run)
        args, at = LONG[verb](place) if verb in LONG else (arguments(verb, place), heeds)
        begun.append((number, root, at, start(tmp_path / f"{number.name}.txt", verb, *args)))
    try:
        for number, root, at, started in begun:
            check(verb, number, stop(started, number, at), root)
    finally:
        for *_, started in begun:
            started.process.kill()


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("library", ["", "libtorch_python", "polars"])
def test_a_process_that_is_still_importing_ends_as_well(
    library: str, number: signal.Signals, mgp_genres: Fitted, tmp_path: Path
) -> None:
    """C++ that is being imported must not see an exception: it would abort."""
    started = start(tmp_path / "said.txt", "test", f"--run={mgp_genres.run}")
    stopped = stop(started, number, has_loaded(library) if library else heeds)
    check("test", number, stopped, tmp_path)


def test_a_second_sigint_ends_what_saves_and_a_double_one_is_one(
    tiny_world: World, tmp_path: Path
) -> None:
    """`timeout` and others send it to the process and to its group."""
    place = Place(tmp_path, tiny_world, tmp_path, tmp_path)
    args, at = tune(place)
    started = start(tmp_path / "said.txt", "tune", *args)

    def twice(pid: int) -> bool:
        if not at(pid):
            return False
        os.killpg(pid, signal.SIGINT)
        return True

    check("tune", signal.SIGINT, stop(started, signal.SIGINT, twice), tmp_path)


SLOW_C = """
import sys, time
import numpy as np
from coldstart import cli
def plugins():
    matrix = np.ones((6000, 6000))
    while True:
        np.linalg.svd(matrix)
cli.VERBS["plugins"] = cli.Entry("slow", "plugins", "")
sys.modules["coldstart.slow"] = sys.modules["__main__"]
sys.argv = ["coldstart", "plugins"]
print("begun", flush=True)
sys.exit(cli.main())
"""


@pytest.mark.parametrize("number", STATUS)
def test_c_code_that_does_not_come_back_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    with (tmp_path / "said.txt").open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW_C],
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    started, since = Started(process, tmp_path / "said.txt"), time.monotonic()
    stopped = stop(started, number, lambda pid: heeds(pid) and time.monotonic() > since + 2)
    check("plugins", number, stopped, tmp_path)


HASTY = """
import multiprocessing, socket, sys, time
from multiprocessing import resource_sharer
from coldstart.sigterm import heed
heed()
def lend(pipe):
    pipe.send(resource_sharer.DupFd(1)._id[0])
    pipe.recv()
    sys.excepthook(ValueError, ValueError("a fault"), None)
context = multiprocessing.get_context("fork")
ours, theirs = context.Pipe()
worker = context.Process(target=lend, args=(theirs,))
worker.start()
address = ours.recv()
with socket.socket(socket.AF_UNIX) as parent:
    parent.connect(address)
time.sleep(0.5)
ours.send(None)
worker.join()
"""


def test_a_worker_whose_parent_hangs_up_is_silent_and_its_own_faults_are_told() -> None:
    """A loader's worker lends a batch by a thread, which the parent may leave in the middle."""
    done = subprocess.run([sys.executable, "-c", HASTY], capture_output=True, text=True)
    assert done.stderr == "ValueError: a fault\n"
