"""A search: trials side by side, and its files, written anew after each of them."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

from coldstart.errors import Preempted
from coldstart.reporting.progress import Progress
from coldstart.sigterm import Sigterm, sigterm_handler
from coldstart.studies.job_runner import Outcome, RunningJob, folder_lock, start_job, stop_jobs
from coldstart.studies.jobs import Job
from coldstart.studies.tune import table
from coldstart.studies.tune.base_config import Config, resolve, write_config
from coldstart.studies.tune.optuna_study import Trial, import_optuna, open_study
from coldstart.studies.tune.space import SearchSpace, plain
from coldstart.studies.tune.trials import Search, add_seconds, record, trial_job
from coldstart.studies.wandb_view import Mode

log = logging.getLogger(__name__)


class RunningTrial(NamedTuple):
    """A trial, and its fit in a process of its own."""

    trial: Trial
    fit: RunningJob


def run_search(
    root: Path,
    config: str,
    base: Config,
    space: SearchSpace,
    *,
    trials: int,
    timeout: float | None,
    jobs: int,
    seed: int,
    figure: str,
    direction: str,
    wandb: Mode,
    project: str,
    start: float,
) -> dict[str, Any]:
    """Run the trials that haven't ended, and write the search's files after each.

    Args:
        root: the search's folder.
        config: the name of the fit's configuration.
        base: all of it, before anything is chosen.
        space: what is chosen.
        trials: how many in all.
        timeout: minutes after which no further trial begins.
        jobs: trials side by side.
        seed: of the sampler.
        figure: of the validation.
        direction: min or max.
        wandb: whether each trial is logged to W&B.
        project: of W&B.
        start: when the command started, by `time.perf_counter`.

    Returns:
        What is in results.json.

    Raises:
        InputError: the folder is of another search.
        Preempted: a SIGTERM came.
    """
    optuna = import_optuna()
    plan = {
        "config": base,
        "space": plain(space),
        "figure": figure,
        "direction": direction,
        "seed": seed,
    }
    sampler = {"name": "TPE", "optuna": optuna.__version__, "seed": seed}
    budget: dict[str, Any] = {"trials": trials, "timeout_minutes": timeout, "jobs": jobs}
    about = {**plan, "fit": config, "sampler": sampler, "budget": budget}
    best_number: int | None = None
    with folder_lock(root, "tune"):
        study = open_study(optuna, root, plan)
        write_config(root / "base.yaml", base)
        earlier_seconds = table.wall_seconds(root)

        def write_results() -> dict[str, Any]:
            nonlocal best_number
            budget["wall_seconds"] = round(earlier_seconds + time.perf_counter() - start, 1)
            content = table.write(root, study, list(space), about)
            best = content["best"]
            if best and best["number"] != best_number:
                _write_best(root, best, figure)
                best_number = best["number"]
            return content

        search = Search(root, study, base, space, figure, seed, wandb, project)
        deadline = time.monotonic() + 60 * timeout if timeout is not None else None
        try:
            _run_trials(search, trials, jobs, deadline, write_results)
        finally:
            content = write_results()
    return content


def _write_best(root: Path, best: dict[str, Any], figure: str) -> None:
    config = resolve([f"--config={root / 'base.yaml'}"], best["params"])
    trial = f"trial {best['number']}, {figure} {best[figure]:.6g}"
    write_config(root / "best.yaml", config, f"# Found by coldstart tune: {trial}\n")


def _run_trials(
    search: Search,
    trials: int,
    jobs: int,
    deadline: float | None,
    after_each: Callable[[], Any],
) -> None:
    """Continue interrupted trials, and begin new ones, side by side, until there are enough."""
    existing = search.study.trials
    interrupted = [trial.number for trial in existing if not trial.state.is_finished()]
    ended = len(existing) - len(interrupted)
    if existing:
        log.info(f"{ended} of {trials} trials are there already, continuing with the others")
    queue = deque([*interrupted, *range(len(existing), trials)])
    running: dict[int, RunningTrial] = {}
    sigterm = Sigterm()
    with (
        Progress("tuning", trials, "trials", done=ended) as display,
        sigterm_handler(sigterm.receive),
    ):

        def end(trial: Trial, job: Job, outcome: Outcome) -> None:
            message = record(search, trial, job.folder, outcome)
            log.info(f"trial {trial.number}: {message}")
            display.add()
            after_each()

        try:
            while True:
                if deadline is None or time.monotonic() < deadline:
                    _fill_slots(search, queue, running, jobs, end)
                if not running:
                    return
                for slot in _ended_slots(running):
                    trial, fit = running[slot]
                    outcome = fit.outcome()
                    if fit.preempted:  # it can be continued, so it hasn't ended
                        sigterm.received = True
                        continue
                    del running[slot]
                    end(trial, fit.job, outcome)
                if sigterm.received:
                    raise Preempted(search.root)
        finally:
            stop_jobs([fit for _, fit in running.values()])
            for trial, fit in running.values():
                add_seconds(trial, time.perf_counter() - fit.start)


def _fill_slots(
    search: Search,
    queue: deque[int],
    running: dict[int, RunningTrial],
    jobs: int,
    end: Callable[[Trial, Job, Outcome], None],
) -> None:
    """Start trials in the free slots, as long as there are any."""
    for slot in range(jobs):
        while queue and slot not in running:
            trial, job = trial_job(search, queue.popleft())
            if job.finished:  # but the search was interrupted before it was recorded
                end(trial, job, Outcome("", 0.0))
            else:
                running[slot] = RunningTrial(trial, start_job(job, slot, jobs))


def _ended_slots(running: dict[int, RunningTrial]) -> list[int]:
    """Slots whose process has ended, after half a second at most."""
    ended = wait([each.fit.process.sentinel for each in running.values()], timeout=0.5)
    return [slot for slot, each in running.items() if each.fit.process.sentinel in ended]
