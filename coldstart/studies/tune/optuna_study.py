"""Optuna's part of a search: its record on disk, and what it proposes. It need not be installed."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coldstart.errors import InputError
from coldstart.studies.tune.space import Choices, Space

Trial = Any
"""Optuna's."""


def need_optuna() -> Any:
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
    """Optuna's study, begun or gone on with; whoever has the folder's lock is alone with it.

    Raises:
        InputError: the folder is of another search.
    """
    path = root / "study.journal"
    if path.is_file():  # a line that was cut off is nothing that anybody has acted on
        whole = path.read_bytes().rpartition(b"\n")
        if whole[2]:
            with path.open("r+b") as file:
                file.truncate(len(whole[0]) + len(whole[1]))
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # left by one that was killed
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="tune",
        direction=f"{plan['direction']}imize",
        load_if_exists=True,
    )
    before = study.user_attrs.get("plan")
    if before is None:
        study.set_user_attr("plan", dict(plan))
    else:
        now = json.loads(json.dumps(plan))
        differs = _differing(before, now)
        if differs:
            raise InputError(
                f"{root}: holds a search with another {', '.join(differs)}; choose another "
                "--out, or go on with the one that is there by its own command"
            )
    return study


def _differing(one: Mapping[str, Any], two: Mapping[str, Any], where: str = "") -> list[str]:
    """Dotted names of what differs.

    >>> _differing({"seed": 0, "config": {"data": {"a": 1}}}, {"seed": 0, "config": {"data": {}}})
    ['config.data.a']
    """
    names: list[str] = []
    for key in [*one, *(key for key in two if key not in one)]:
        a, b = one.get(key), two.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += _differing(a, b, f"{where}{key}.")
        elif a != b:
            names.append(where + key)
    return names


def ask(study: Any, space: Space, seed: int, number: int) -> tuple[Trial, dict[str, Any]]:
    """A trial that was begun, or a new one, and the settings that it has.

    Args:
        study: Optuna's.
        space: what is chosen.
        seed: of the search.
        number: the trial's.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import Trial as OptunaTrial

    # A sampler for each trial, seeded by its number: what a search proposes depends on what has
    # ended before, and not on whether it was interrupted. Optuna itself doesn't keep its state.
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the option is called experimental
        study.sampler = TPESampler(seed=own, constant_liar=True)
    begun = study.get_trials(deepcopy=False)
    known = number < len(begun)
    # Asked again, a trial gives what it was given, and draws what it hasn't got yet.
    trial = OptunaTrial(study, begun[number]._trial_id) if known else study.ask()
    values = {}
    for key, dimension in space.items():
        if isinstance(dimension, Choices):
            written = [json.dumps(choice) for choice in dimension.choices]
            values[key] = json.loads(trial.suggest_categorical(key, written))
        elif dimension.int:
            values[key] = trial.suggest_int(
                key, int(dimension.low), int(dimension.high), log=dimension.log
            )
        else:
            values[key] = trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)
    return trial, values
