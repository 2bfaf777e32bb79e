"""What Lightning, torch and the parser say of a wrong setting, in a sentence that names its key."""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonargparse
import lightning
import torch.optim
from lightning.fabric.utilities.exceptions import MisconfigurationException

from coldstart.errors import InputError, one_line
from coldstart.runs.config import content_of_config

_THEIRS = tuple(
    str(Path(package.__file__).parent)
    for package in (lightning, jsonargparse, torch.optim)
    if package.__file__
)
"""Folders of code that looks at nothing but settings, or is told nothing but them."""


_PARTS = {"lr_scheduler": "lr_scheduler.py", "optimizer": "*.py"}
"""Key of the configuration → file of torch.optim that complains of its values."""

GROUPS = ("model", "data", "trainer", "checkpoint")
"""Keys whose values are settings of one class; others name the class, too."""

_NO_SETTINGS = ("help", "print_config", "config")

_PLANS = {"parts": "ablate", "rows": "ablate", "models": "benchmark", "rivals": "benchmark"}
"""Keys of other verbs' plans → the verb."""


@contextmanager
def of(key: str) -> Iterator[None]:
    """What can't be made of a part of the configuration is an InputError that names the key.

    >>> with of("trainer"):
    ...     raise ValueError("`max_epochs` is\\n-5")
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: trainer: `max_epochs` is -5
    """
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, OSError) as error:
        raise InputError(f"{key}: {_sentence(error)}") from error
    except (MisconfigurationException, ImportError, AttributeError) as error:
        raise InputError(f"{key}: {_sentence(error)}") from error


@contextmanager
def named_in_errors() -> Iterator[None]:
    """An error that Lightning or an optimizer itself raises is about a setting: an InputError.

    Errors of our own code, or of torch's arithmetic, stay what they are.
    """
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        file = frames[-1].filename if frames else ""
        if not (file.startswith(_THEIRS) or isinstance(error, MisconfigurationException)):
            raise
        key = next(
            (part for part in _PARTS if Path(file).match(f"optim/{_PARTS[part]}")), "trainer"
        )
        raise InputError(f"{key}: {_sentence(error)}") from error


def must_be_few(devices: Any) -> None:
    """Raise InputError for more processes than any machine of this size has use for.

    Lightning would start them all.

    >>> must_be_few("auto"), must_be_few(2)
    (None, None)
    """
    number = len(devices) if isinstance(devices, list) else str(devices).strip()
    most = max(16, os.cpu_count() or 1)
    if str(number).isdecimal() and int(number) > most:
        raise InputError(
            f"trainer.devices: {number} would be as many processes, and this machine has "
            f"{os.cpu_count()} CPUs; give {most} at most"
        )


def _sentence(error: BaseException) -> str:
    """An error's text in one line."""
    text = one_line(error)[:600] or type(error).__name__
    if isinstance(error, (ArithmeticError, LookupError, AttributeError, TypeError)):
        line = traceback.extract_tb(error.__traceback__)[-1].line
        return f"a value is out of range or of the wrong kind ({text}, in `{line}`)"
    return text


def must_exist(config: str, keys: Iterable[str]) -> None:
    """Raise InputError for a key of a configuration that there isn't, with the nearest that is.

    Args:
        config: the path of a YAML file, or its text.
        keys: dotted, of all settings.

    >>> must_exist("model: {fuson: }", ["model.fusion", "seed_everything"])
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: config: there is no setting 'model.fuson'; did you mean 'fusion'?
    >>> must_exist("parts: {audio: audio.yaml}", ["model.fusion"])
    Traceback (most recent call last):
    ...
    coldstart.errors.InputError: config: is a plan, and no fit: coldstart ablate --config FILE
    """
    is_file = "\n" not in config and Path(config).is_file()
    content = content_of_config(config)
    if not isinstance(content, Mapping):
        return  # the parser says so
    known: dict[str, set[str]] = {}
    for key in keys:
        top, _, inner = key.partition(".")
        if top not in _NO_SETTINGS:
            known.setdefault(top, set()).update({inner} - {"", "help"})
    for name, value in content.items():
        if verb := _PLANS.get(name):
            raise InputError(
                f"{config if is_file else 'config'}: is a plan, and no fit: "
                f"coldstart {verb} --config {config if is_file else 'FILE'}"
            )
        _must_be_among(known, str(name), "", config if is_file else "config")
        if name in GROUPS and isinstance(value, Mapping):
            for inner in value:
                _must_be_among(known[name], str(inner), f"{name}.", config if is_file else "config")


def _must_be_among(known: Collection[str], name: str, above: str, place: str) -> None:
    if "." in name or name.rstrip("+") in known:  # of a dotted key the parser says what is wrong
        return
    found = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{found[0]}'?" if found else f"there are: {', '.join(sorted(known))}"
    raise InputError(f"{place}: there is no setting '{above}{name}'; {hint}")
