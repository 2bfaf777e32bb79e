"""The verb `tune`: fits with settings that Optuna chooses, judged on the validation split alone.

out/
  base.yaml                   the fit's whole configuration, before anything is chosen
  study.journal               Optuna's: what was tried, and what came of it
  trials/0007/                a run for each trial; beside it 0007.yaml and 0007.log
  results.json, results.csv   all trials, written anew after each
  best.yaml                   the configuration of the best so far, for `fit --config`
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from tqdm import tqdm

from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError, Preempted, one_of
from coldstart.files import atomic, fingerprint
from coldstart.model.checkpoint import best_checkpoint, read_checkpoint
from coldstart.runs.config import absolute_data, find_config
from coldstart.sigterm import Sigterm, answering
from coldstart.studies.jobs import Job, Started, Work, alone, start
from coldstart.studies.tune import table
from coldstart.studies.tune.optuna_study import Trial, ask, need_optuna, open_study
from coldstart.studies.tune.space import Space, as_flags, corners, plain, read_space
from coldstart.studies.wandb_view import Mode, run_logger
from coldstart.training import stages
from coldstart.training.lightning_cli import OWN_FLAGS, lightning_cli

Config = dict[str, Any]


class Search(NamedTuple):
    """What a search is made of.

    Attributes:
        root: its folder.
        study: Optuna's.
        base: the fit's whole configuration, before anything is chosen.
        space: what is chosen.
        figure: of the validation.
        seed: of the sampler.
        logger: number of a trial → its `trainer.logger`, or None for the configuration's own.
    """

    root: Path
    study: Any
    base: Config
    space: Space
    figure: str
    seed: int
    logger: Callable[[int], Config | None]


def tune(
    *,
    config: str,
    space: str,
    trials: int,
    out: str = "runs/tune",
    timeout: float | None = None,
    jobs: int = 1,
    seed: int = 0,
    figure: str = "val_loss",
    direction: Literal["min", "max"] | None = None,
    wandb: Mode = "off",
    project: str = "coldstart",
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Search for good settings of a fit, by what it measures on the validation tracks.

    Each trial is an ordinary run in a process of its own. A search that was interrupted goes on by
    the same command: trials that have ended are kept, and one that was cut off goes on from its
    last checkpoint. On the command line any flag of `fit` may be given: --data.shards shards.

    Args:
        config: of the fit: a YAML file, or the bare name of a shipped one.
        space: a YAML file, from a fit's flags to what they may be; see docs/tuning.md.
        trials: how many in all, those of interrupted searches and failed ones too.
        out: folder to write.
        timeout: minutes, of this command, after which no further trial begins.
        jobs: trials side by side; with several GPUs, each takes one in turn.
        seed: of the sampler. The fits' own is `seed_everything`, the same for all trials.
        figure: what a validation logs; of a trial it is that of the checkpoint that is kept.
        direction: min or max; needed for another figure than val_loss, which is minimised.
        wandb: log each trial, and the table with a bar chart, to W&B.
        project: of W&B.
        overrides: flags of the fit: `{"data.shards": "shards", "trainer.max_epochs": 5}`.

    Returns:
        What is in results.json.

    Raises:
        InputError: wrong input, the folder is of another search, or no trial succeeded.
        Preempted: a SIGTERM came; trials have saved where they were.
    """
    began, root = time.perf_counter(), Path(out)
    one_of("wandb", wandb, ("off", "offline", "online"))
    if trials < 1 or jobs < 1 or seed < 0 or (timeout is not None and timeout <= 0):
        raise InputError("tune needs trials and jobs of at least 1, seed ≥ 0 and timeout > 0")
    if direction is None and figure != "val_loss":
        raise InputError(f"--figure {figure}: say --direction min or --direction max")
    direction = direction or "min"
    one_of("direction", direction, ("min", "max"))
    wanted, optuna = read_space(space), need_optuna()
    base = _base(config, overrides or {}, wanted)
    plan = {
        "config": base,
        "space": plain(wanted),
        "figure": figure,
        "direction": direction,
        "seed": seed,
    }

    def logger(number: int) -> Config | None:
        if wandb == "off":
            return None
        name, key = f"{root.name} {number:04}", fingerprint(str(root.absolute()), number)
        return run_logger(root, name, key, list(base["model"]["encoders"]), wandb, project)

    with alone(root, "tune"):
        study = open_study(optuna, root, plan)
        _write(root / "base.yaml", base)
        search = Search(root, study, base, wanted, figure, seed, logger)
        sampler = {"name": "TPE", "optuna": optuna.__version__, "seed": seed}
        budget = {"trials": trials, "timeout_minutes": timeout, "jobs": jobs}
        about = {**plan, "fit": config, "sampler": sampler, "budget": budget}
        earlier, written = table.wall_seconds(root), dict[str, int]()

        def so_far() -> dict[str, Any]:
            budget["wall_seconds"] = round(earlier + time.perf_counter() - began, 1)
            content = table.write(root, study, list(wanted), about)
            best = content["best"]
            if best and best["number"] != written.get("best"):
                resolved = _resolve([f"--config={root / 'base.yaml'}"], best["params"])
                said = f"trial {best['number']}, {figure} {best[figure]:.6g}"
                _write(root / "best.yaml", resolved, f"# Found by coldstart tune: {said}\n")
                written["best"] = best["number"]
            return content

        deadline = time.monotonic() + 60 * timeout if timeout is not None else None
        try:
            _run(search, trials, jobs, deadline, so_far)
        finally:
            content = so_far()
    print(table.markdown(content))
    if not content["best"]:
        raise InputError(f"no trial of {len(content['trials'])} succeeded: see {root}/trials/*.log")
    if wandb != "off":
        table.to_wandb(root, content, project, wandb)
    joint = " --stages 1" if len(base["model"]["encoders"]) > 1 else ""
    print(f"wrote {root / 'results.json'}, results.csv and best.yaml")
    best = f"--config {root / 'best.yaml'}{joint}"
    print(f"again, with another seed: coldstart fit {best} --seed_everything 1")
    print(f"next: coldstart test --run {table.folder(root, content['best']['number'])}")
    return content


def _base(config: str, overrides: Mapping[str, Any], space: Space) -> Config:
    """The fit's whole configuration; refuses what can't be searched, before anything runs."""
    for name in [*overrides, *space]:
        if f"--{name}" in OWN_FLAGS and (name != "stages" or name in space):
            raise InputError(f"--{name} is not for tune, whose trials are runs of its own")
    given = [f"--config={find_config(config)}"]
    base = _resolve(given, overrides)
    joint = str(overrides.get("stages", 2 if stages.wanted(base) else 1))
    if joint != "1":
        raise InputError(
            "a fit of several modalities has two stages, whose first writes vectors of all tracks, "
            "test tracks too, into the shards at each trial: search with --stages 1 (all encoders "
            "and the head together), or for one modality at a time"
        )
    devices = base["trainer"]["devices"]
    one = len(devices) == 1 if isinstance(devices, list) else str(devices) in ("auto", "1", "-1")
    if not one or base["trainer"]["num_nodes"] != 1:
        raise InputError(
            f"trainer.devices {devices}: a trial is one process on one device; use several by "
            "--jobs, a trial on each"
        )
    data = ColdStartData(**base["data"])
    if data.factors is not None:
        data.known_factors()
    for values in corners(space):
        try:
            _resolve(given, {**overrides, **values})
        except InputError as error:
            raise InputError(f"the search space has what a fit doesn't accept: {error}") from error
    return base


def _resolve(given: list[str], values: Mapping[str, Any]) -> Config:
    """What `fit --print_config` prints for such flags, without what is each run's own."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            lightning_cli("fit", [*given, *as_flags(values), "--print_config"])
    except SystemExit as stop:
        if stop.code:
            raise
    config: Config = yaml.safe_load(out.getvalue())
    config["trainer"].pop("default_root_dir")
    absolute_data(config["data"])
    return config


def _write(path: Path, config: Config, said: str = "") -> None:
    with atomic(path) as temporary:
        temporary.write_text(said + yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _run(
    search: Search,
    trials: int,
    jobs: int,
    deadline: float | None,
    after_each: Callable[[], Any],
) -> None:
    """Go on with interrupted trials, and begin new ones, side by side, until there are enough."""
    there = search.study.trials
    waiting = [trial.number for trial in there if not trial.state.is_finished()]
    ended = len(there) - len(waiting)
    if there:
        print(f"{ended} of {trials} trials are there already, going on", file=sys.stderr)
    numbers = itertools.chain(waiting, range(len(there), trials))
    slots, running = list(range(jobs)), dict[int, tuple[Trial, Started]]()
    bar = tqdm(total=trials, initial=ended, desc="trials", unit="trial", file=sys.stderr)

    def ends(trial: Trial, job: Work, failure: str, seconds: float) -> None:
        bar.write(
            f"trial {trial.number}: {_tell(search, trial, job, failure, seconds)}", sys.stderr
        )
        bar.update()
        after_each()

    sigterm = Sigterm()
    with answering(sigterm.hear):
        try:
            while True:
                in_time = deadline is None or time.monotonic() < deadline
                while slots and in_time and (number := next(numbers, None)) is not None:
                    trial, job = _job(search, number)
                    if job.done:  # and was cut off before it was recorded
                        ends(trial, job, "", 0.0)
                        continue
                    started = start(job, slots.pop(0), jobs)
                    running[started.process.sentinel] = trial, started
                if not running:
                    return
                ready = wait(list(running), timeout=0.5)
                for sentinel, (trial, started) in list(running.items()):
                    if sentinel not in ready:
                        continue
                    failure, seconds = started.outcome()
                    if started.preempted:
                        sigterm.came = True
                        continue
                    del running[sentinel]
                    slots.append(started.slot)
                    ends(trial, started.job, failure, seconds)
                if sigterm.came:
                    raise Preempted(search.root)
        finally:
            bar.close()
            for _, started in running.values():
                started.process.terminate()  # all of them at once: each saves where it is
            for trial, started in running.values():
                started.process.join()
                _add_seconds(trial, time.perf_counter() - started.began)


def _job(search: Search, number: int) -> tuple[Trial, Job]:
    """A trial that was begun, or a new one, and the fit that it stands for."""
    trial, values = ask(search.study, search.space, search.seed, number)
    config = json.loads(json.dumps(search.base))
    if config["trainer"].get("enable_progress_bar") is None:
        config["trainer"]["enable_progress_bar"] = False
    if logger := search.logger(number):
        config["trainer"]["logger"] = logger
    flags = ["--stages", "1", "--no-hint", *as_flags(values)]
    about = {"input": "+".join(config["model"]["encoders"]), "trial": number, "params": values}
    return trial, Job(table.folder(search.root, number), about, config, flags, {})


def _add_seconds(trial: Trial, seconds: float) -> None:
    before = trial.user_attrs.get("seconds", 0.0)
    trial.set_user_attr("seconds", round(before + seconds, 2))


def _tell(search: Search, trial: Trial, job: Work, failure: str, seconds: float) -> str:
    """Record how a trial ended; returns it in words."""
    from optuna.trial import TrialState

    _add_seconds(trial, seconds)
    value = None
    if not failure:
        facts, value = _measured(job.folder, search.figure)
        for key, fact in facts.items():
            trial.set_user_attr(key, fact)
        failure = "" if value is not None else f"{search.figure} is not finite"
    if failure:
        trial.set_user_attr("failure", f"{failure}; see {job.folder}.log")
        search.study.tell(trial, state=TrialState.FAIL)
        return f"failed: {failure} ({seconds:,.0f} s)"
    search.study.tell(trial, value)
    return f"{search.figure} {value:.6g} ({seconds:,.0f} s)"


def _measured(run: Path, figure: str) -> tuple[dict[str, Any], float | None]:
    """How a fit went, and its figure at the validation whose model is kept.

    Raises:
        InputError: its validations have no figure of that name; the message lists those they have.
    """
    fit = json.loads((run / "fit.json").read_bytes())
    kept = read_checkpoint(best_checkpoint(run))["global_step"]
    *_, at = [row for row in fit["validations"] if row["step"] <= kept]
    if figure not in at:
        names = ", ".join(sorted(set(at) - {"epoch", "step"}))
        raise InputError(
            f"--figure {figure}: a validation of this fit logs no such figure, but {names}; "
            "choose one of them and another --out"
        )
    facts = {"epochs": fit["epochs"], "best_epoch": at["epoch"], "parameters": fit["parameters"]}
    return facts, at[figure]
