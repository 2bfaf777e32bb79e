"""The text of arguments as the parser reads it: lists, brackets, flags that stand alone."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Sequence


def as_python(args: list[str], flags: Collection[str] = ()) -> list[str]:
    """`--skip-broken` is Python's skip_broken; and a lone `--json`, a flag, means `--json=true`."""
    out = []
    for arg, following in itertools.zip_longest(args, args[1:], fillvalue=""):
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = re.sub(r"(?<=\w)-(?=\w)", "_", name) + equals + value
        if arg in flags and following not in ("true", "false"):
            arg += "=true"
        out.append(arg)
    return out


def joined_flags(args: Sequence[str], repeated: Collection[str]) -> list[str]:
    """Flags that are given several times as one flag with a list.

    >>> joined_flags(["--like", "a", "--k", "3", "--like=[b]"], ["--like"])
    ['--k', '3', '--like=["a", "[b]"]']
    """
    values: dict[str, list[str]] = {}
    others: list[str] = []
    rest = iter(args)
    for arg in rest:
        flag, equals, value = arg.partition("=")
        if flag not in repeated:
            others.append(arg)
        elif equals:
            values.setdefault(flag, []).append(value)
        else:
            values.setdefault(flag, []).extend(itertools.islice(rest, 1))
    lists = [f"{flag}={json.dumps(texts, ensure_ascii=False)}" for flag, texts in values.items()]
    return [*others, *lists]


def in_brackets(args: Sequence[str], flags: Collection[str]) -> list[str]:
    """`--fractions 1,0,0` as the parser reads several numbers.

    >>> in_brackets(["--fractions", "1,0,0", "--fractions=[1,0,0]"], ["--fractions"])
    ['--fractions', '[1,0,0]', '--fractions=[1,0,0]']
    """
    out: list[str] = []
    for arg in args:
        flag, equals, value = arg.partition("=")
        if flag in flags and equals and value[:1] not in ("[", "("):
            arg = f"{flag}=[{value}]"
        elif out and out[-1] in flags and arg[:1] not in ("[", "("):
            arg = f"[{arg}]"
        out.append(arg)
    return out


def gathered(args: list[str], name: str) -> list[str]:
    """All arguments that are no flags as one flag with a list; other flags have a value each.

    >>> gathered(["a", "--shards", "x", "b", "--undo=true", "-5"], "ids")
    ['--shards', 'x', '--undo=true', '--ids=["a", "b", "-5"]']
    """
    flags: list[str] = []
    others: list[str] = []
    rest = iter(args)
    for arg in rest:
        if not arg.startswith("--") and arg != "-h":
            others.append(arg)
            continue
        flags.append(arg)
        if "=" not in arg and arg not in ("-h", "--help"):
            flags += itertools.islice(rest, 1)
    return [*flags, f"--{name}={json.dumps(others, ensure_ascii=False)}"] if others else flags
