"""Optuna's part of a search, an optional package: its record on disk, and what it proposes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coldstart.errors import InputError
from coldstart.studies.tune.space import Choices, Range, SearchSpace

Trial = Any
"""Optuna's."""


def import_optuna() -> Any:
    """The package, or an InputError that says how to get it."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("tune needs Optuna, which is not here: pip install coldstart[tune]") from (
            error
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_study(optuna: Any, root: Path, plan: Mapping[str, Any]) -> Any:
    """Optuna's study, a new one or that of the folder, whose lock the caller holds.

    Raises:
        InputError: the folder is of another search.
    """
    path = root / "study.journal"
    if path.is_file():  # the last line may be incomplete: then nothing has followed from it
        content = path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            with path.open("r+b") as file:
                file.truncate(complete)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # of a process that was killed
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="tune",
        direction=f"{plan['direction']}imize",
        load_if_exists=True,
    )
    earlier_plan = study.user_attrs.get("plan")
    if earlier_plan is None:
        study.set_user_attr("plan", dict(plan))
        return study
    changes = _differences(earlier_plan, json.loads(json.dumps(plan)))
    if changes:
        raise InputError(
            f"{root}: holds a search with another {', '.join(changes)}; choose another --out, or "
            "continue that search by its own command"
        )
    return study


def _differences(one: Mapping[str, Any], two: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of what differs.

    >>> _differences({"seed": 0, "config": {"data": {"a": 1}}}, {"seed": 0, "config": {"data": {}}})
    ['config.data.a']
    """
    names: list[str] = []
    for key in {**one, **two}:
        a, b = one.get(key), two.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            names.append(prefix + key)
    return names


def ask(study: Any, space: SearchSpace, seed: int, number: int) -> tuple[Trial, dict[str, Any]]:
    """A trial, a new one or one that was begun, and its settings.

    Args:
        study: Optuna's.
        space: what is chosen.
        seed: of the search.
        number: the trial's.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import Trial as OptunaTrial

    # A sampler for each trial, seeded by its number: what a search proposes depends on which trials
    # have ended before, not on interruptions. Optuna itself doesn't keep a sampler's state.
    sampler_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the option is called experimental
        study.sampler = TPESampler(seed=sampler_seed, constant_liar=True)
    existing = study.get_trials(deepcopy=False)
    # A trial that was begun gives its earlier values again, and draws only what it lacks.
    if number < len(existing):
        trial = OptunaTrial(study, existing[number]._trial_id)
    else:
        trial = study.ask()
    return trial, {key: _suggest(trial, key, dimension) for key, dimension in space.items()}


def _suggest(trial: Trial, key: str, dimension: Choices | Range) -> Any:
    """The trial's value of one setting."""
    if isinstance(dimension, Choices):
        choices = [json.dumps(choice) for choice in dimension.choices]
        return json.loads(trial.suggest_categorical(key, choices))
    if dimension.int:
        return trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)
