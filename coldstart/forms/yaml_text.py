"""YAML that people and coldstart write: refused where reading it, or what it says, has no end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from coldstart.errors import InputError
from coldstart.files import StrPath, unusable

LONGEST = 1 << 18
"""Bytes of a file; a configuration has some thousands."""

MOST = 20_000
"""Values, each alias counted as often as it stands for something; a configuration has hundreds."""


def text_in(path: StrPath) -> str:
    """The text of a configuration file.

    Raises:
        InputError: it is no file, too long, or no text.
    """
    if reason := unusable(path):
        raise InputError(f"{path}: {reason}")
    with Path(path).open("rb") as file:
        content = file.read(LONGEST + 1)
    if len(content) > LONGEST:
        raise InputError(f"{path}: longer than {LONGEST:,} bytes, so it is no configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text in UTF-8 ({error}); save it as UTF-8") from error


def yaml_in(text: str, place: StrPath) -> Any:
    """What a text says.

    Args:
        text: of a file.
        place: of the file, for messages.

    Raises:
        InputError: it is no YAML, nested too deeply, or its aliases stand for too much, or for
            what they are in.

    >>> yaml_in("a: &x [1, 2]\\nb: *x", "a.yaml")
    {'a': [1, 2], 'b': [1, 2]}
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST:,} values; remove some")
        return loader.construct_document(node)
    except RecursionError as error:
        raise InputError(f"{place}: nested too deeply") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise InputError(f"{place}: not readable YAML ({reason})") from error
    # A tag, or what looks like a date, can be followed by anything.
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{place}: holds a value that can't be read ({error})") from error


def _size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """How many values a node stands for; each node is looked at once."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in sizes:
        size = sizes[id(node)]
        if size is None:
            mark = node.start_mark
            raise yaml.YAMLError(f"an alias in line {mark.line + 1} stands for what it is in")
        return size
    sizes[id(node)] = None
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    else:
        parts = list(node.value)
    total = 1 + sum(_size(part, sizes) for part in parts)
    sizes[id(node)] = total
    return total
