"""The settings that a search may choose: a YAML file, from a fit's dotted flags to distributions.

model.encoders.mgp.hidden: {choices: [[512], [1024, 1024]]}
model.encoders.mgp.dropout: {low: 0, high: 0.7}
data.batch_size: {low: 64, high: 1024, log: true, int: true}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.forms.yaml_text import text_in, yaml_in
from coldstart.runs.config import find_config

_SYNTAX = "write {choices: [...]}, or {low: 0, high: 1} with log: true and int: true where wanted"

_RESERVED = ("run", "config", "ckpt_path", "seed", "trainer.default_root_dir", "trainer.logger")
"""Flags that `tune` itself gives to each trial."""


class Choices(NamedTuple):
    """One of several values.

    Attributes:
        choices: whatever a flag may have: a number, a name, a list, a class with its arguments.
    """

    choices: list[Any]

    @property
    def samples(self) -> list[Any]:
        """Values that a config must accept: all of them."""
        return self.choices


class Range(NamedTuple):
    """A number, both ends included.

    Attributes:
        low: the least.
        high: the greatest.
        log: drawn evenly by its logarithm.
        int: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    int: bool = False

    @property
    def samples(self) -> list[Any]:
        """Values that a config must accept: the ends."""
        return [self.low, self.high]


SearchSpace = dict[str, Choices | Range]


def read_space(name: StrPath) -> SearchSpace:
    """Read a search space.

    Args:
        name: a YAML file, or the bare name of a shipped one.

    Raises:
        InputError: not a file, not YAML, or a distribution that makes no sense; the message names
            the line.
    """
    path = Path(find_config(str(name)))
    if not path.is_file():
        raise InputError(f"{name}: there is no such search space")
    text = text_in(path)
    content, node = yaml_in(text, path), yaml.compose(text, yaml.SafeLoader)
    if not isinstance(content, dict) or not content or not isinstance(node, yaml.MappingNode):
        raise InputError(
            f"{path}: a search space has lines such as `data.batch_size: ...`; {_SYNTAX}"
        )
    space: SearchSpace = {}
    for key, _ in node.value:
        where = f"{path}, line {key.start_mark.line + 1}, {key.value}"
        if key.value in space:
            raise InputError(f"{where}: is there twice; keep one")
        if key.value in _RESERVED:
            raise InputError(f"{where}: is not for a search to choose; leave it out")
        # YAML reads `1: ...` or `on: ...` as a number or a truth value, not as this text.
        if key.value not in content:
            raise InputError(f"{where}: is no fit flag, such as data.batch_size")
        space[key.value] = _dimension(where, content[key.value])
    return space


def _dimension(where: str, content: Any) -> Choices | Range:
    if not isinstance(content, dict):
        raise InputError(f"{where}: {content!r} is no distribution; {_SYNTAX}")
    if set(content) == {"choices"}:
        return Choices(_choices(where, content["choices"]))
    if not {"low", "high"} <= set(content) <= {"low", "high", "log", "int"}:
        raise InputError(f"{where}: {content} is no distribution; {_SYNTAX}")
    flags = {name: content.get(name, False) for name in ("log", "int")}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InputError(f"{where}: {name} is true or false, not {value!r}")
    low = _number(where, "low", content["low"], flags["int"])
    high = _number(where, "high", content["high"], flags["int"])
    if not low < high:
        raise InputError(f"{where}: low ({low}) must be below high ({high})")
    if flags["log"] and low <= 0:
        raise InputError(f"{where}: with log, low must be above 0, not {low}")
    return Range(low, high, **flags)


def _choices(where: str, content: Any) -> list[Any]:
    if not isinstance(content, list) or not content:
        raise InputError(f"{where}: choices is a list of at least one value, not {content!r}")
    try:
        texts = [json.dumps(choice, allow_nan=False) for choice in content]
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: choices has a value that JSON can't hold ({error})") from error
    if len(set(texts)) < len(texts):
        raise InputError(f"{where}: choices has a value twice; keep one")
    return content


def _number(where: str, name: str, content: Any, whole: bool) -> float:
    """A number; also from text, since YAML 1.1 reads `1e-4`, without a point, as text."""
    try:
        number = float(content) if not isinstance(content, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: {name} is a number, not {content!r}")
    if not whole:
        return number
    if not number.is_integer():
        raise InputError(f"{where}: with int, {name} is a whole number, not {content!r}")
    return int(number)


def as_flags(values: Mapping[str, Any]) -> list[str]:
    """Settings as flags of `fit`: text as it is, anything else as JSON.

    >>> as_flags({"model.fusion": "Gated", "optimizer.lr": 0.1, "model.encoders.mgp.hidden": [8]})
    ['--model.fusion=Gated', '--optimizer.lr=0.1', '--model.encoders.mgp.hidden=[8]']
    """
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in values.items()
    ]


def corners(space: SearchSpace) -> list[dict[str, Any]]:
    """A few settings in which each choice, and both ends of each range, occur.

    >>> corners({"a": Range(0, 1), "b": Choices(["x", "y", "z"])})
    [{'a': 0, 'b': 'x'}, {'a': 1, 'b': 'y'}, {'a': 1, 'b': 'z'}]
    """
    samples = {key: dimension.samples for key, dimension in space.items()}
    most = max(len(values) for values in samples.values())
    return [
        {key: values[min(i, len(values) - 1)] for key, values in samples.items()}
        for i in range(most)
    ]


def plain(space: SearchSpace) -> dict[str, Any]:
    """The space as JSON holds it."""
    return {key: dimension._asdict() for key, dimension in space.items()}
