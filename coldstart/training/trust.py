"""What a run's own configuration may build: a run may come from a stranger.

Lightning's parser builds whatever a configuration names. So, before the parser sees the
configuration of a run, each class in it must be a registered plugin, or one of coldstart's,
Lightning's or torch's that a trainer takes; and nothing in it may lead to another file.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from lightning.pytorch.cli import ReduceLROnPlateau
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from coldstart import registry
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.forms.yaml_text import yaml_in
from coldstart.runs.config import read_config

KINDS = (
    *(Callback, Logger, Profiler, Strategy, Accelerator),
    *(Precision, LayerSync, CheckpointIO, ClusterEnvironment, RichProgressBarTheme),
    *(Optimizer, LRScheduler, ReduceLROnPlateau),
)
"""What a trainer is put together from."""

PLACES = (
    "coldstart.training",
    "lightning.fabric.plugins",
    "lightning.pytorch.accelerators",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.cli",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "torch.optim",
)
"""Where these classes lie that a run's configuration may name; importing them does nothing else."""

BARE = (
    *("coldstart", "lightning.pytorch.callbacks", "lightning.pytorch.loggers", "torch.optim"),
    *("torch.optim.lr_scheduler", "lightning.pytorch.profilers", "lightning.pytorch.strategies"),
    *("lightning.pytorch.plugins", "lightning.pytorch.accelerators"),
)
"""Whose public names stand without a path."""

_NOT_BUILT = ("data", "trainer.default_root_dir", "like_run")
"""Keys whose values are places and numbers, whatever they look like."""


def must_be_known(run: StrPath, named: str = "") -> None:
    """Raise InputError if a run's configuration would build anything but known parts.

    Nothing that it names is imported.

    Args:
        run: folder of the run.
        named: text in which the user himself has named classes, such as the configuration that
            the run has just been fitted with.
    """
    path = Path(run) / "config.yaml"
    own = set(re.findall(r"[\w.]+", named))
    try:
        config = read_config(run)
        leaves = list(_leaves(config))
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    for key, value in leaves:
        fault = _fault_of(key, value, Path(run), own)
        if fault and _is_word(key, value, config):
            continue
        if fault:
            raise InputError(
                f"{path}, {key}: {fault}, which no run of coldstart's own parts needs; if you "
                "trust whoever made this run, give --trust (to fit, validate, test or predict)"
            )


def no_pickles(config: Any, place: str) -> None:
    """Raise InputError where a configuration, from whomever, would let pickles be read.

    Args:
        config: of a verb, parsed or not.
        place: of the configuration, for the message.
    """
    for key, value in _leaves(config):
        if _last(key) == "weights_only" and value not in (None, True):
            raise InputError(
                f"{place}, {key}: {value!r} would execute what is pickled in a checkpoint; "
                "coldstart reads checkpoints with weights_only=True alone: remove the key"
            )


def _fault_of(key: str, value: Any, run: Path, own: set[str]) -> str:
    if _last(key) == "class_path":
        good = isinstance(value, str) and (value in own or _is_known(value))
        return "" if good else f"would build {value}"
    if not isinstance(value, str) or key.startswith(_NOT_BUILT) or value in own:
        return ""
    if _is_importable(value) and not _is_known(value):
        return f"would use {value}"
    if "://" in value or "::" in value or _is_file(Path(value)) or _is_file(run / value):
        return f"would read more settings from {value[:200]}, a file or an address"
    return ""


def _is_word(key: str, value: Any, config: Mapping[str, Any]) -> bool:
    """Whether a value is a plain word, for a key where the parser takes a text for itself.

    Where a class may stand, as `auto` of a trainer's `strategy`, the parser looks for a file of
    that name, and reads it; so no word is harmless there.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[\w-]+", value):
        return False
    *above, name = key.split(".")
    if name == "class_path":
        return False
    owner: Any = Trainer if above == ["trainer"] else None
    if above[-1:] == ["init_args"]:
        owner = _known_class(_at(config, [*above[:-1], "class_path"]))
    try:
        hint = get_type_hints(owner.__init__)[name]
    except (AttributeError, KeyError, NameError, TypeError):
        return False
    return _is_plain(hint)


def _at(config: Any, keys: list[str]) -> Any:
    for key in keys:
        if isinstance(config, list) and key.isdigit() and int(key) < len(config):
            config = config[int(key)]
        else:
            config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _is_plain(hint: Any) -> bool:
    """Whether a type is of texts, numbers and lists of them alone: of no class."""
    if get_origin(hint) is Literal:
        return True
    if parts := get_args(hint):
        of_parts = get_origin(hint) in (Union, UnionType, list, tuple, dict, Sequence, Mapping)
        return of_parts and all(part is ... or _is_plain(part) for part in parts)
    return hint in (str, int, float, bool, type(None))


def _leaves(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of all that a configuration holds, also in texts that are YAML."""
    if depth > 50:
        raise InputError(f"{key[:80]}…: nested too deeply")
    if isinstance(value, str) and re.search(r"[:{\[\n]", value) and not key.startswith(_NOT_BUILT):
        try:
            inner = yaml_in(value, key)
        except InputError as error:
            if _is_yaml(value):  # but of more than we look at
                raise InputError(f"{key}: text that is YAML again, and too large") from error
            inner = None  # then it is text for the parser, too
        if isinstance(inner, (dict, list)):
            yield from _leaves(inner, key, depth + 1)
            return
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(part, f"{key}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from _leaves(part, f"{key}.{number}", depth + 1)
    else:
        yield key, value


def _last(key: str) -> str:
    """The name at the end of a dotted key.

    >>> _last("trainer.callbacks+.0.class_path")
    'class_path'
    """
    return key.rpartition(".")[2].rstrip("+ ")


def _known_class(path: Any) -> Any:
    """The class that such a path names; None if it isn't known."""
    if not isinstance(path, str) or not _is_known(path):
        return None
    name = path.rpartition(".")[2]
    for kind in registry.KIND_OF.values():
        if name in registry.discover(kind):
            return _loaded(kind, name)
    places = (f"{place}.{path}" for place in BARE) if "." not in path else [path]
    return next((part for part in map(_resolved, places) if _is_part(part)), None)


def _is_known(path: str) -> bool:
    """Whether a class path, full or short, names a plugin or a trainer's part that is shipped."""
    name = path.rpartition(".")[2]
    for kind in registry.KIND_OF.values():
        for point in registry.discover(kind).get(name, []):
            if path in (name, point.value.replace(":", "."), f"coldstart.{name}"):
                return True
            # By another path of the same package, such as `package.Encoder`.
            top = point.value.partition(".")[0].partition(":")[0]
            if path.startswith(f"{top}.") and _resolved(path) is _loaded(kind, name):
                return True
    if "." not in path:
        return any(_is_part(_resolved(f"{place}.{path}")) for place in BARE)
    inside = path.startswith(tuple(f"{place}." for place in PLACES))
    public = re.fullmatch(r"coldstart\.\w+", path)
    return bool(inside or public) and _is_part(_resolved(path))


def _resolved(path: str) -> Any:
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return None


def _loaded(kind: registry.Kind, name: str) -> Any:
    try:
        return registry.load(kind, name)
    except InputError:
        return None


def _is_part(value: Any) -> bool:
    """Whether it is a class of a part, and is defined where such parts are."""
    here = getattr(value, "__module__", "")
    return (
        isinstance(value, type)
        and issubclass(value, KINDS)
        and any(here == place or here.startswith(f"{place}.") for place in PLACES)
    )


def _is_importable(text: str) -> bool:
    """Whether a text is a path such as `os.system`, which the parser takes for what it names."""
    if not re.fullmatch(r"[^\s/\\]+(\.[^\s/\\]+)+", text):
        return False
    try:
        return importlib.util.find_spec(text.partition(".")[0]) is not None
    except (ValueError, ImportError):
        return True  # `__main__`


def _is_yaml(text: str) -> bool:
    try:
        yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return False
    except RecursionError:
        pass
    return True


def _is_file(path: Path) -> bool:
    try:
        return path.expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # it is no path
        return False
