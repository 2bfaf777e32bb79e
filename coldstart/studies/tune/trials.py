"""A search's trials: the run that a trial stands for, and what is recorded when it has ended."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

from coldstart.errors import InputError
from coldstart.files import fingerprint
from coldstart.model.checkpoint import best_checkpoint, read_checkpoint
from coldstart.studies.job_runner import Outcome
from coldstart.studies.jobs import FitJob
from coldstart.studies.tune.base_config import Config
from coldstart.studies.tune.optuna_study import Trial, ask
from coldstart.studies.tune.space import SearchSpace, as_flags
from coldstart.studies.tune.table import trial_folder
from coldstart.studies.wandb_view import Mode, run_logger


class Search(NamedTuple):
    """What a search is made of.

    Attributes:
        root: its folder.
        study: Optuna's.
        base: the fit's whole configuration, before anything is chosen.
        space: what is chosen.
        figure: of the validation.
        seed: of the sampler.
        wandb: whether each trial is logged to W&B.
        project: of W&B.
    """

    root: Path
    study: Any
    base: Config
    space: SearchSpace
    figure: str
    seed: int
    wandb: Mode
    project: str


def trial_job(search: Search, number: int) -> tuple[Trial, FitJob]:
    """A trial, a new one or one that was begun, and its fit."""
    trial, values = ask(search.study, search.space, search.seed, number)
    config = copy.deepcopy(search.base)
    if config["trainer"].get("enable_progress_bar") is None:
        config["trainer"]["enable_progress_bar"] = False
    if search.wandb != "off":
        config["trainer"]["logger"] = _wandb_logger(search, number)
    flags = ["--stages", "1", "--no-hint", *as_flags(values)]
    about = {"input": "+".join(config["model"]["encoders"]), "trial": number, "params": values}
    return trial, FitJob(trial_folder(search.root, number), about, config, flags, {})


def _wandb_logger(search: Search, number: int) -> dict[str, Any]:
    name = f"{search.root.name} {number:04}"
    key = fingerprint(str(search.root.absolute()), number)
    tags = list(search.base["model"]["encoders"])
    return run_logger(search.root, name, key, tags, search.wandb, search.project)


def record(search: Search, trial: Trial, run: Path, outcome: Outcome) -> str:
    """Record how a trial ended.

    Returns:
        The same in words.

    Raises:
        InputError: see `measured`.
    """
    from optuna.trial import TrialState

    add_seconds(trial, outcome.seconds)
    failure, value = outcome.failure, None
    if not failure:
        facts, value = measured(run, search.figure)
        for key, fact in facts.items():
            trial.set_user_attr(key, fact)
        if value is None:
            failure = f"{search.figure} is not finite"
    if failure:
        trial.set_user_attr("failure", f"{failure}; see {run}.log")
        search.study.tell(trial, state=TrialState.FAIL)
        return f"failed: {failure} ({outcome.seconds:,.0f} s)"
    search.study.tell(trial, value)
    return f"{search.figure} {value:.6g} ({outcome.seconds:,.0f} s)"


def add_seconds(trial: Trial, seconds: float) -> None:
    """Add to the time that a trial has taken so far."""
    before = trial.user_attrs.get("seconds", 0.0)
    trial.set_user_attr("seconds", round(before + seconds, 2))


def measured(run: Path, figure: str) -> tuple[dict[str, Any], float | None]:
    """How a fit went, and its figure at the validation whose checkpoint is kept.

    Raises:
        InputError: its validations have no figure of that name; the message lists those they have.
    """
    report = json.loads((run / "fit.json").read_bytes())
    best_step = read_checkpoint(best_checkpoint(run))["global_step"]
    validation = [row for row in report["validations"] if row["step"] <= best_step][-1]
    if figure not in validation:
        names = ", ".join(sorted(set(validation) - {"epoch", "step"}))
        raise InputError(
            f"--figure {figure}: a validation of this fit logs no such figure, but {names}; "
            "choose one of them and another --out"
        )
    facts = {
        "epochs": report["epochs"],
        "best_epoch": validation["epoch"],
        "parameters": report["parameters"],
    }
    return facts, validation[figure]
