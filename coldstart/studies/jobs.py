"""Fits, tests and other steps as jobs: skipped where finished, side by side, each with its log."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from filelock import FileLock, Timeout
from tqdm import tqdm

from coldstart.errors import InputError, Preempted
from coldstart.files import atomic, fingerprint, write_json


@dataclass(frozen=True)
class Work:
    """What can be run: a `Job` or a `Step`. A subclass says what decides the outcome, and does it.

    Attributes:
        folder: what it fills; its log lies beside it.
        about: what a table or a message says of it: input, step, seed, …
    """

    folder: Path
    about: dict[str, Any]

    @property
    def key(self) -> str:
        """Fingerprint of what decides the outcome."""
        raise NotImplementedError

    def work(self) -> None:
        """Fill the folder; goes on with what was cut off."""
        raise NotImplementedError

    @property
    def made_by(self) -> str | None:
        """Key of the work that finished in this folder."""
        note = self.folder / "job.json"
        key: str | None = json.loads(note.read_bytes())["key"] if note.is_file() else None
        return key

    @property
    def done(self) -> bool:
        """Whether this very work has finished."""
        return self.made_by == self.key

    def finish(self) -> None:
        """Note that it has."""
        write_json(self.folder / "job.json", {"key": self.key, **self.about})


@dataclass(frozen=True)
class Job(Work):
    """One run: a fit, then its tests.

    Attributes:
        config: the whole configuration, as in a YAML file; it lies beside the run's folder.
        flags: of `fit`, beside the configuration.
        tests: suffix of the results' name → flags of that `test`.
        predicts: also `predict`, for a listener.
    """

    config: dict[str, Any]
    flags: list[str]
    tests: dict[str, list[str]]
    predicts: bool = False

    @property
    def key(self) -> str:
        """Of the fit and its tests."""
        return fingerprint(self.config, self.flags, self.tests)

    def result(self, name: str) -> dict[str, Any]:
        """What a test wrote, and how the fit went."""
        results: dict[str, Any] = json.loads((self.folder / f"results{name}.json").read_bytes())
        return {**results, "fit": json.loads((self.folder / "fit.json").read_bytes())}

    def work(self) -> None:
        """Fit, and test; goes on with a fit that was cut off."""
        from coldstart.runs.run import begin
        from coldstart.training.lightning_cli import lightning_cli

        going_on = begin(self.folder, self.key)
        config = Path(f"{self.folder}.yaml")
        with atomic(config) as temporary:
            temporary.write_text(yaml.safe_dump(self.config, sort_keys=False), encoding="utf-8")
        run = ["--run", str(self.folder)]
        lightning_cli("fit", ["--config", str(config), *run, *self.flags, *going_on])
        for name, flags in self.tests.items():
            lightning_cli("test", [*run, "--results", f"results{name}", *flags])
        if self.predicts:
            lightning_cli("predict", run)
        self.finish()


@dataclass(frozen=True)
class Step(Work):
    """A function that fills a folder, and goes on by itself with what an earlier call has left.

    Attributes:
        function: `module:name`; it gets `out`, the folder, beside its arguments.
        arguments: plain values.
    """

    function: str
    arguments: dict[str, Any]

    @property
    def key(self) -> str:
        """Of the function and its arguments."""
        return fingerprint(self.function, self.arguments)

    def work(self) -> None:
        """Call the function."""
        pkgutil.resolve_name(self.function)(**self.arguments, out=self.folder)
        self.finish()


@contextlib.contextmanager
def alone(root: Path, verb: str) -> Iterator[None]:
    """The folder is for one command at a time; the lock goes with the process.

    Raises:
        InputError: another one is at work there.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(f"{root}: another {verb} is at work here") from error


def run_jobs(
    jobs: Sequence[Work],
    processes: int,
    overwrite: bool,
    after_each: Callable[[], Any] = lambda: None,
    alone: bool = False,
) -> None:
    """Run the jobs that aren't done.

    Args:
        jobs: in the order in which they start.
        processes: how many side by side.
        overwrite: replace what other settings have made; else that is an error.
        after_each: called when a job has finished.
        alone: each in a process of its own, which may die without taking another down.

    Raises:
        InputError: jobs failed (all others are run first), or a folder holds another job's run.
    """
    for job in jobs:
        if not overwrite and job.made_by not in (None, job.key):
            raise InputError(
                f"{job.folder}: was made with other settings; choose another --out, or pass "
                "--overwrite to replace it"
            )
    waiting = [job for job in jobs if not job.done]
    if not waiting:
        return
    if len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are there already, going on")
    failed: list[str] = []
    with tqdm(total=len(waiting), desc="runs", unit="run", file=sys.stderr) as bar:
        for job, outcome, seconds in (_each_alone if alone else _outcomes)(waiting, processes):
            said = " ".join(f"{key} {value}" for key, value in job.about.items())
            bar.write(f"{said}: {outcome or 'done'} ({seconds:,.0f} s)", file=sys.stderr)
            bar.update()
            if outcome:
                failed.append(f"{job.folder}: {outcome}; see {job.folder}.log")
            else:
                after_each()
    if failed:
        raise InputError(
            f"{len(failed)} of {len(waiting)} runs failed; what has finished is kept:\n"
            + "\n".join(failed)
        )


def _outcomes(jobs: Sequence[Work], processes: int) -> Iterator[tuple[Work, str, float]]:
    if min(processes, len(jobs)) == 1:
        yield from ((job, *run_job(job)) for job in jobs)
        return
    # Spawned, not forked: neither CUDA nor the table library's threads survive a fork.
    context = multiprocessing.get_context("spawn")
    turn = context.Value("i", 0)
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_settle, initargs=(turn, processes)
    ) as pool:
        futures = {pool.submit(run_job, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield (futures[future], *future.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _each_alone(jobs: Sequence[Work], processes: int) -> Iterator[tuple[Work, str, float]]:
    waiting, running = deque(jobs), dict[int, Started]()
    try:
        while waiting or running:
            for slot in sorted(set(range(processes)) - set(running))[: len(waiting)]:
                running[slot] = start(waiting.popleft(), slot, processes)
            wait([started.process.sentinel for started in running.values()])
            ended = [slot for slot, its in running.items() if not its.process.is_alive()]
            for slot in ended:
                started = running.pop(slot)
                yield (started.job, *started.outcome())
    finally:  # whoever is still at work saves what is needed to go on
        for started in running.values():
            started.process.terminate()
        for started in running.values():
            started.process.join()


def _settle(turn: Any, processes: int) -> None:
    with turn.get_lock():
        mine, turn.value = turn.value, turn.value + 1
    _take_share(mine, processes)


def _take_share(mine: int, processes: int) -> None:
    """Give a worker process its share of the cores, and one GPU, if there are any; end it with the
    process that started it: else it would write beside the one that goes on.
    """
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    if gpus := torch.cuda.device_count():
        os.environ["CUDA_VISIBLE_DEVICES"] = str(mine % gpus)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


class Started(NamedTuple):
    """A job in a process of its own, which may die without taking anything else down.

    Attributes:
        job: what runs.
        slot: which share of the machine it has, from 0.
        process: its process.
        said: its end, when it has come to one: what went wrong, and seconds.
        began: when, by `time.perf_counter`.
    """

    job: Work
    slot: int
    process: SpawnProcess
    said: Connection[None, tuple[str, float]]
    began: float

    @property
    def preempted(self) -> bool:
        """Whether a SIGTERM has ended it: then it can be gone on with."""
        return self.process.exitcode in (-signal.SIGTERM, Preempted.status)

    def outcome(self) -> tuple[str, float]:
        """As `run_job` gave it, once the process has ended."""
        self.process.join()
        if self.said.poll():
            with contextlib.suppress(EOFError):
                return self.said.recv()
        how = f"its process ended with status {self.process.exitcode}: out of memory, perhaps"
        return how, time.perf_counter() - self.began


def start(job: Work, slot: int, slots: int) -> Started:
    """Start a job in a process of its own.

    Args:
        job: a fit and its tests, or a step.
        slot: which of the shares of the machine it gets, from 0.
        slots: how many there are.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_run_alone, args=(job, slot, slots, there))
    process.start()
    there.close()
    return Started(job, slot, process, here, time.perf_counter())


def _run_alone(job: Work, slot: int, slots: int, said: Connection[tuple[str, float], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and sends a SIGTERM
    _take_share(slot, slots)
    try:
        said.send(run_job(job))
    except Preempted:  # what it says is the parent's to say
        sys.exit(Preempted.status)


def run_job(job: Work) -> tuple[str, float]:
    """Do it; all that is printed goes to the log.

    Returns:
        What went wrong, empty if nothing did; and the seconds it took.
    """
    began, failure = time.perf_counter(), ""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    import coldstart.training.lightning_cli  # noqa: F401  Lightning's loggers must be there to be redirected

    with _logged(Path(f"{job.folder}.log")):
        try:
            job.work()
        except InputError as error:
            print(error)
            failure = str(error)
        except Exception as error:  # a bug in one run must not take the others down
            traceback.print_exc()
            failure = repr(error)
        finally:
            if "wandb" in sys.modules:  # Lightning leaves the run open; the next job has its own
                sys.modules["wandb"].finish()
    return failure, time.perf_counter() - began


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send prints, progress bars and Lightning's messages to a file."""
    streams = [
        handler
        for name in ("lightning.pytorch", "lightning.fabric")
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    with (
        path.open("a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        before = [handler.setStream(log) for handler in streams]
        try:
            yield
        finally:
            for handler, stream in zip(streams, before, strict=True):
                if stream is not None:
                    handler.setStream(stream)
