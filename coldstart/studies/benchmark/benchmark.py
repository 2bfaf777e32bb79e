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
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coldstart.errors import InputError, Preempted, one_of
from coldstart.files import fingerprint, write_json
from coldstart.runs.config import set_flag
from coldstart.sigterm import answering
from coldstart.studies.benchmark import table
from coldstart.studies.benchmark.plan import OWN_RIVALS, Model, Plan, read_plan
from coldstart.studies.jobs import Job, Step, Work, alone, run_jobs
from coldstart.studies.wandb_view import Mode, log_table, run_logger


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
    a process. A benchmark that was interrupted goes on by the same command: what has finished is
    kept, and a fit that was cut off goes on from its last checkpoint.

    Args:
        plan: a YAML file: tables, split, seeds, models and rivals; see docs/benchmark.md.
        out: folder to write.
        jobs: processes side by side; with several GPUs, each takes one in turn.
        wandb: log each fit, and the table with a bar chart, to W&B.
        project: of W&B.

    Returns:
        What is in results.json.

    Raises:
        InputError: wrong input, the folder is another plan's, or steps failed (what has finished
            is kept, and is in the table where all seeds have it).
        Preempted: a SIGTERM came; fits have saved where they were.
    """
    # Absolute, as what has finished is known by the paths of what it was made from.
    began, root = time.perf_counter(), Path(out).absolute()
    one_of("wandb", wandb, ("off", "offline", "online"))
    if jobs < 1:
        raise InputError("jobs is at least 1")
    wanted = read_plan(plan)
    with alone(root, "benchmark"), _until_sigterm(root):
        _same_plan(root, wanted)
        run_jobs([_data(root, wanted, seed) for seed in wanted.seeds], jobs, False, alone=True)
        steps = [step for seed in wanted.seeds for step in _rivals(root, wanted, seed)]
        fits = {
            (name, seed): _fit(root, wanted, name, seed, wandb, project)
            for seed in wanted.seeds
            for name in wanted.models
        }
        try:
            all_work: list[Work] = [*fits.values(), *steps]
            run_jobs(all_work, jobs, False, alone=True)
        finally:
            results = table.write(root, wanted, fits, [step for step in steps if step.done])
    if wandb != "off":
        chart = ("method", table.NDCG, f"{table.NDCG} by method")
        log_table(root, "benchmark", table.flat(results), chart, wandb, project)
    print(table.markdown(results))
    seconds = time.perf_counter() - began
    print(f"wrote {Path(out) / 'results.md'}, .csv and .json in {seconds:,.0f} s")
    for name, seed in list(fits)[:1]:
        run = Path(out) / f"s{seed}" / "models" / name
        print(f"next: coldstart recommend --run {run} --like TRACK_ID")
    return results


def _data(root: Path, plan: Plan, seed: int) -> Step:
    arguments = {
        "tracks": plan.tracks,
        "listens": plan.listens,
        "attributes": plan.attributes,
        "method": plan.split,
        "factorisations": plan.factorisations,
        "seed": seed,
    }
    about = {"step": "split, factorise, shard", "seed": seed}
    place = root / f"s{seed}" / "data"
    return Step(place, about, "coldstart.studies.benchmark.steps:prepare", arguments)


def _fit(root: Path, plan: Plan, name: str, seed: int, wandb: Mode, project: str) -> Job:
    model, data = plan.models[name], root / f"s{seed}" / "data"
    config = _config(model, data, seed)
    if wandb != "off":
        key = fingerprint(str(root.absolute()), name, seed)
        logger = run_logger(root, f"{name}-s{seed}", key, [name, f"s{seed}"], wandb, project)
        config["trainer"]["logger"] = logger
    flags = [] if model.stages is None else ["--stages", str(model.stages)]
    tests = {"": ["--no-rivals", "--candidates", plan.candidates]}
    about = {"model": name, "seed": seed}
    return Job(root / f"s{seed}" / "models" / name, about, config, flags, tests)


def _config(model: Model, data: Path, seed: int) -> dict[str, Any]:
    """A fit's configuration, on the data of a seed."""
    config: dict[str, Any] = json.loads(json.dumps(model.config))
    for part in ("data", "trainer"):
        config[part] = config.get(part) or {}
    for key, value in {"trainer.enable_progress_bar": False, **model.settings}.items():
        set_flag(config, key, value)
    config["seed_everything"] = seed
    factors = str(data / "factors" / model.factors)
    config["data"] |= {"shards": str(data / "shards"), "factors": factors}
    return config


def _rivals(root: Path, plan: Plan, seed: int) -> Iterator[Step]:
    """Ours in one process, as they share the content; each of others' in one of its own."""
    data = root / f"s{seed}" / "data"
    own = [name for name in plan.rivals if name in OWN_RIVALS]
    groups = {"own": own} if own else {}
    groups |= {name: [name] for name in plan.rivals if name not in own}
    for group, names in groups.items():
        arguments = {
            "names": names,
            "shards": str(data / "shards"),
            "factors": [str(data / "factors" / name) for name in plan.factorisations],
            "content": plan.content,
            "candidates": plan.candidates,
            "seed": seed,
        }
        about = {"rivals": ", ".join(names), "seed": seed}
        place = root / f"s{seed}" / "rivals" / group
        yield Step(place, about, "coldstart.studies.benchmark.steps:rivals", arguments)


def _same_plan(root: Path, plan: Plan) -> None:
    """The folder is for one plan: its parts are kept, and must belong together."""
    path, given = root / "plan.json", json.loads(json.dumps(plan.as_dict()))
    if not path.is_file():
        write_json(path, given)
        return
    there = json.loads(path.read_bytes())
    if changed := [key for key in given if there.get(key) != given[key]]:
        raise InputError(
            f"{root}: holds the benchmark of another plan ({', '.join(changed)} differ); choose "
            "another --out"
        )


def _until_sigterm(root: Path) -> contextlib.AbstractContextManager[None]:
    """A SIGTERM ends the block by `Preempted`, so that processes are told and save first."""

    def stop(*_: Any) -> None:
        raise Preempted(root)

    return answering(stop)
