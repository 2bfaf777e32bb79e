"""The verb `benchmark`: models and rivals over several splits, by one command, in one table.

out/
  plan.json                      what is compared; a folder is for one plan
  s<seed>/data/                  splits.parquet, shards/, factors/NAME/
  s<seed>/models/<model>/        a run; beside it its .yaml and .log
  s<seed>/rivals/<name>/         results.json, results.csv, by_user.parquet; `own`: all of ours
  results.json, .csv, .md        the table over all seeds
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from coldstart.errors import InputError, Preempted, one_of
from coldstart.files import writable
from coldstart.sigterm import sigterm_handler
from coldstart.studies.job_runner import folder_lock, run_jobs
from coldstart.studies.wandb_view import Mode


def benchmark(
    plan: str,
    *,
    out: str = "runs/benchmark",
    jobs: int = 1,
    wandb: Mode = "off",
    project: str = "coldstart",
) -> dict[str, Any]:
    """Split, factorise, fit and test models and rivals over several seeds, and write one table.

    Each seed has a split, factorisations and shards of its own; each fit and each set of rivals is
    a process. An interrupted benchmark continues when the same command is given again: what has
    finished is kept, and an interrupted fit continues from its last checkpoint.

    Args:
        plan: a YAML file: tables, split, seeds, models and rivals; see docs/comparison.md.
        out: folder to write.
        jobs: processes side by side; with several GPUs, each takes one in turn.
        wandb: log each fit, and the table with a bar chart, to W&B.
        project: of W&B.

    Returns:
        What is in results.json.

    Raises:
        InputError: wrong input, the folder is another plan's, or jobs failed (what has finished
            is kept, and is in the table where all seeds have it).
        Preempted: a SIGTERM came; what was running can be continued.
    """
    start = time.perf_counter()
    # Absolute, as a job's key depends on the paths of what it reads.
    root = writable(out).absolute()
    one_of("wandb", wandb, ("off", "offline", "online"))
    if jobs < 1:
        raise InputError("jobs is at least 1")
    from coldstart.studies.benchmark import seed_jobs, table  # heavy
    from coldstart.studies.benchmark.plan import read_plan, save_plan

    parsed_plan = read_plan(plan)
    with folder_lock(root, "benchmark"), _preemptible(root):
        save_plan(parsed_plan, root)
        data_jobs = [seed_jobs.data_job(root, parsed_plan, seed) for seed in parsed_plan.seeds]
        run_jobs(data_jobs, jobs, isolated=True)
        fits = seed_jobs.fit_jobs(root, parsed_plan, wandb, project)
        rivals = seed_jobs.rival_jobs(root, parsed_plan)
        try:
            run_jobs([*fits, *rivals], jobs, isolated=True)
        finally:
            results = table.write(root, parsed_plan, fits, rivals)
    if wandb != "off":
        table.to_wandb(root, results, project, wandb)
    print(table.markdown(results))
    seconds = time.perf_counter() - start
    print(f"wrote {Path(out) / 'results.md'}, .csv and .json in {seconds:,.0f} s")
    print(f"next: coldstart report --run {out}")
    return results


def _preemptible(root: Path) -> contextlib.AbstractContextManager[None]:
    """A SIGTERM ends the block by `Preempted`, so that running jobs are ended, and save first."""

    def stop(*_: Any) -> None:
        raise Preempted(root)

    return sigterm_handler(stop)
