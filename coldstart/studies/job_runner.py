"""Running jobs: finished ones are skipped, the others run side by side, each with its log."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from coldstart.errors import InputError, Preempted
from coldstart.processes import OwnContext, OwnProcess
from coldstart.reporting.log import output_to, shown
from coldstart.reporting.progress import Progress
from coldstart.sigterm import saving
from coldstart.studies.jobs import Job

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How a job ended.

    Attributes:
        failure: what went wrong; empty if nothing did.
        seconds: how long it ran.
    """

    failure: str
    seconds: float


@contextlib.contextmanager
def folder_lock(root: Path, verb: str) -> Iterator[None]:
    """Reserve a folder for one command at a time; the lock ends with the process.

    Raises:
        InputError: another command is running in this folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(f"{root}: another {verb} is at work here") from error


def run_jobs(
    jobs: Sequence[Job],
    processes: int,
    *,
    overwrite: bool | None = None,
    after_each: Callable[[], Any] = lambda: None,
    isolated: bool = False,
) -> None:
    """Run the jobs that haven't finished.

    Args:
        jobs: in the order in which they start.
        processes: how many run side by side.
        overwrite: replace what other settings have made; otherwise that is an error. None: the
            verb has no such option.
        after_each: called when a job has finished.
        isolated: each job in a process of its own, which may die without ending another.

    Raises:
        InputError: jobs failed (all others are run first), or a folder holds another job's run.
    """
    for job in jobs:
        if not overwrite and job.finished_key not in (None, job.key):
            remedy = "" if overwrite is None else ", or pass --overwrite to replace it"
            raise InputError(
                f"{job.folder}: was made with other settings, or by another version of coldstart; "
                f"choose another --out{remedy}"
            )
    unfinished = [job for job in jobs if not job.finished]
    if not unfinished:
        return
    if len(unfinished) < len(jobs):
        finished = len(jobs) - len(unfinished)
        log.info(f"{finished} of {len(jobs)} runs are there already, continuing with the others")
    isolated = isolated or min(processes, len(unfinished)) > 1
    outcomes = _run_isolated if isolated else _run_here
    failures: list[str] = []
    with Progress("running", len(unfinished), "runs") as display:
        for job, outcome in outcomes(unfinished, processes):
            name = " ".join(f"{key.replace('_', ' ')} {value}" for key, value in job.about.items())
            log.info(f"{name}: {outcome.failure or 'done'} ({outcome.seconds:,.0f} s)")
            display.add()
            if outcome.failure:
                failures.append(f"{job.folder}: {outcome.failure}; see {job.folder}.log")
            else:
                after_each()
    if failures:
        raise InputError(
            f"{len(failures)} of {len(unfinished)} runs failed; what has finished is kept:\n"
            + "\n".join(failures)
        )


def _run_here(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Outcome]]:
    """One after another in this process."""
    for job in jobs:
        yield job, run_job(job)


def _run_isolated(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Outcome]]:
    """Each in a process of its own."""
    queue = deque(jobs)
    running: dict[int, RunningJob] = {}
    try:
        while queue or running:
            free_slots = sorted(set(range(processes)) - set(running))
            for slot in free_slots[: len(queue)]:
                running[slot] = start_job(queue.popleft(), slot, processes)
            wait([each.process.sentinel for each in running.values()])
            ended = [slot for slot, each in running.items() if not each.process.is_alive()]
            for slot in ended:
                each = running.pop(slot)
                yield each.job, each.outcome()
    finally:
        stop_jobs(list(running.values()))


def _take_slot(slot: int, slots: int) -> None:
    """Limit this process to its share of the cores and, if there are GPUs, to one of them."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // slots))
    if gpus := torch.cuda.device_count():
        os.environ["CUDA_VISIBLE_DEVICES"] = str(slot % gpus)


class RunningJob(NamedTuple):
    """A job in a process of its own, which may die without ending another.

    Attributes:
        job: what runs.
        slot: which share of the machine it has, from 0.
        process: its process.
        receiver: gives the job's outcome once it has one.
        start: when it started, by `time.perf_counter`.
    """

    job: Job
    slot: int
    process: OwnProcess
    receiver: Connection[None, Outcome]
    start: float

    @property
    def preempted(self) -> bool:
        """Whether a SIGTERM has ended it: then a later command can continue it."""
        return self.process.exitcode in (-signal.SIGTERM, Preempted.status)

    def outcome(self) -> Outcome:
        """As `run_job` returned it, once the process has ended."""
        self.process.join()
        if self.receiver.poll():
            with contextlib.suppress(EOFError):
                return self.receiver.recv()
        status = self.process.exitcode
        why = ": out of memory, perhaps" if status == -signal.SIGKILL else ""
        failure = f"its process ended with status {status}{why}"
        return Outcome(failure, time.perf_counter() - self.start)


def start_job(job: Job, slot: int, slots: int) -> RunningJob:
    """Start a job in a process of its own.

    Args:
        job: what to run.
        slot: which share of the machine it gets, from 0.
        slots: into how many shares the machine is divided.
    """
    context = OwnContext()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_in_slot, args=(job, slot, slots, sender))
    process.start()
    sender.close()
    return RunningJob(job, slot, process, receiver, time.perf_counter())


def stop_jobs(running: Sequence[RunningJob]) -> None:
    """End jobs; each saves first what is needed to continue it."""
    with saving():
        for each in running:  # all at once, before waiting for the first one
            each.process.terminate()
        for each in running:
            each.process.join()


def _run_in_slot(job: Job, slot: int, slots: int, sender: Connection[Outcome, None]) -> None:
    _take_slot(slot, slots)
    try:
        sender.send(run_job(job))
    except Preempted:  # the parent prints its message
        sys.exit(Preempted.status)


def run_job(job: Job) -> Outcome:
    """Run a job; everything that it prints or logs goes into its log file."""
    start, failure = time.perf_counter(), ""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    with output_to(Path(f"{job.folder}.log")), shown():
        try:
            job.run()
        except InputError as error:
            print(error)
            failure = str(error)
        except Exception as error:  # a bug in one run must not end the others
            traceback.print_exc()
            failure = repr(error)
        finally:
            if "wandb" in sys.modules:  # Lightning leaves the run open; the next job has its own
                sys.modules["wandb"].finish()
    return Outcome(failure, time.perf_counter() - start)
