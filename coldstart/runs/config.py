"""A run's configuration, and the configs that come with the package. It imports nothing heavy."""

from __future__ import annotations

import codecs
import copy
import difflib
import functools
import re
from collections.abc import Sequence
from locale import getpreferredencoding as system_encoding
from pathlib import Path
from typing import Any

import yaml

from coldstart.errors import InputError
from coldstart.files import MISSING, StrPath, is_remote, unusable
from coldstart.forms.content import (
    anything,
    at_least,
    either,
    flag,
    list_of,
    must_have_form,
    or_none,
    place,
    record,
    table_of,
    text,
    whole,
)
from coldstart.forms.yaml_text import text_in, yaml_in


def configs_folder() -> Path:
    """Where the shipped configs lie: in the package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


MOVED = {
    "coldstart.callbacks.": "coldstart.training.prediction_writers.",
    "coldstart.results.": "coldstart.training.reports.",
    "coldstart.run_checkpoint.": "coldstart.training.run_checkpoint.",
}
"""Class paths that configs written by version 0.1 hold → where the classes lie since 0.2."""

_PART = record({"class_path": text}, {"init_args": or_none(table_of(anything))}, others=True)

CONFIG = record(
    {
        "data": record(
            {"shards": place},
            {
                "factors": or_none(place),
                "batch_size": at_least(1, whole),
                "workers": at_least(0, whole),
                "shuffle_buffer": at_least(1, whole),
                "memory_mb": at_least(0, whole),
                "folds": or_none(at_least(1, whole)),
                "fold": or_none(at_least(0, whole)),
                "test_tracks": or_none(place),
                "missing": at_least(0),
                "drop": or_none(list_of(text)),
            },
        ),
        "model": record(
            {"encoders": table_of(_PART)},
            {"fusion": or_none(_PART), "target": or_none(_PART)},
            others=True,
        ),
    },
    {
        "trainer": or_none(record({}, {"default_root_dir": or_none(place)}, others=True)),
        "seed_everything": or_none(either(flag, whole)),
    },
    others=True,
)
"""The form of a run's configuration, as far as it isn't Lightning that reads it."""


def shipped_configs() -> list[str]:
    """Names of the configs that come with the package and can be fitted."""
    kinds = ("ablation", "space_", "small_large")  # of other verbs
    names = sorted(path.name for path in configs_folder().glob("*.yaml"))
    return [name for name in names if not name.startswith(kinds)]


def find_configs(args: Sequence[str]) -> list[str]:
    """Replace the names of configs by what can be parsed; see `find_config` and `readable`."""
    out = list(args)
    for i, arg in enumerate(out):
        if arg.startswith("--config="):
            out[i] = f"--config={readable(find_config(arg.removeprefix('--config=')))}"
        elif i and args[i - 1] in ("--config", "-c"):
            out[i] = readable(find_config(arg))
    return out


def find_config(name: str) -> str:
    """The path of a config: as it is, or of a shipped one by its bare name.

    Raises:
        InputError: it is neither here nor among the shipped ones; says the nearest, or lists them.
    """
    if Path(name).is_file() or not name.endswith((".yaml", ".yml")):
        return name
    shipped = configs_folder() / name
    if "/" not in name and shipped.is_file():
        return str(shipped)
    names = sorted(path.name for path in configs_folder().glob("*.yaml"))
    nearest = difflib.get_close_matches(Path(name).name, names, n=1)
    hint = f". Did you mean {nearest[0]}?" if nearest else ""
    raise InputError(
        f"{name}: there is no such config here, and the shipped ones are: {', '.join(names)}{hint}"
    )


def readable(path: str) -> str:
    """The path of a config; or, where it names classes by paths of before, its text with today's.

    The parser takes either. It reads files in the system's encoding, but ours are UTF-8: where
    that differs, it gets the text, in ASCII.
    """
    if not Path(path).is_file():
        return path
    content = text_in(path)
    values = yaml_in(content, path)  # the parser has no limits
    if any(old in content for old in MOVED):
        content = _with_todays_paths(content)
        values = yaml_in(content, path)
    elif content.isascii() or codecs.lookup(system_encoding(False)).name.startswith("utf"):
        return path
    return content if content.isascii() else yaml.safe_dump(values, sort_keys=False)


def content_of_config(config: str) -> Any:
    """What a config says, of which there is a YAML file's path, or its text."""
    is_file = "\n" not in config and Path(config).is_file()
    return yaml_in(text_in(config) if is_file else config, "config")


def _with_todays_paths(text: str) -> str:
    for old, new in MOVED.items():
        text = re.sub(rf"(?<![\w.]){re.escape(old)}(?=\w+\b(?!\.))", new, text)
    return text


def read_config(folder: StrPath) -> dict[str, Any]:
    """The configuration that the run was fitted with.

    Raises:
        InputError: the folder holds none, or one that isn't such as a fit writes.
    """
    path = Path(folder) / "config.yaml"
    if unusable(path) == MISSING:
        raise InputError(f"{folder}: not a run (config.yaml is missing)")
    config: dict[str, Any] = copy.deepcopy(_parsed(text_in(path), str(path)))
    must_have_form(config, CONFIG, path, "mend it, or copy the run again")
    return config


@functools.lru_cache(maxsize=8)
def _parsed(text: str, place: str) -> Any:
    """What a run's config says: a verb asks for it many times, and parsing takes long."""
    return yaml_in(_with_todays_paths(text), place)


def set_flag(config: dict[str, Any], flag: str, value: Any) -> None:
    """Put a fit's dotted flag into its configuration; an encoder's argument by its bare name.

    >>> config = {"model": {"encoders": {"mgp": {"class_path": "MGP"}}}}
    >>> set_flag(config, "model.encoders.mgp.dropout", 0.1)
    >>> set_flag(config, "trainer.max_epochs", 3)
    >>> config["model"]["encoders"]["mgp"]["init_args"], config["trainer"]
    ({'dropout': 0.1}, {'max_epochs': 3})
    """
    *folders, last = flag.split(".")
    if folders[:2] == ["model", "encoders"] and len(folders) > 2:
        folders = [*folders[:3], "init_args", *folders[3:]]
    place = config
    for folder in folders:
        place = place.setdefault(folder, {})
    place[last] = value


def absolute_data(data: Any) -> None:
    """A run must find its data from whatever folder it is opened: make its paths absolute."""
    for key in ("shards", "factors", "test_tracks"):
        if data[key] is not None and not is_remote(data[key]):
            data[key] = str(Path(data[key]).absolute())
