"""The text of arguments, as the parser reads it: lists, brackets, flags that stand alone; and as it
was typed: an id `null`, `~` or `#1` is no YAML.
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, get_args

import yaml


class LiteralText:
    """Keeps the text of arguments from the parser, which reads all values as YAML.

    A text that YAML reads as something else is replaced by a token, and put back afterwards.

    >>> def like(*, track: str | None = None, k: int = 1): ...
    >>> texts = LiteralText()
    >>> parameters = inspect.signature(like, eval_str=True).parameters.values()
    >>> args = texts.protected(["--track", "null", "--k", "2"], parameters)
    >>> args[1:], args[0].startswith("--track="), "null" in args[0]
    (['--k', '2'], True, False)
    >>> texts.restored({"track": args[0].removeprefix("--track=")})
    {'track': 'null'}
    """

    def __init__(self) -> None:
        self._texts: dict[str, str | list[str]] = {}

    def protected(
        self,
        args: Sequence[str],
        parameters: Iterable[inspect.Parameter],
        positionals: bool = True,
    ) -> list[str]:
        """The arguments, with tokens for text.

        Args:
            args: of a verb; each flag has a value, in the same argument or in the next one.
            parameters: of its function, with their types resolved.
            positionals: whether arguments without a flag are text, and no sub-command.
        """
        types = {each.name: _parts(each.annotation) for each in parameters}
        out: list[str] = []
        rest = iter(args)
        for arg in rest:
            if not arg.startswith("-") or (arg[1:2] != "-" and " " in arg):
                out.append(self._token(arg) if positionals else arg)
                continue
            flag, equals, value = arg.partition("=")
            name, dot, _ = flag.removeprefix("--").removesuffix("+").partition(".")
            if not equals and flag in ("-h", "--help", "--print_config"):  # they have no value
                out.append(arg)
                continue
            if not equals:
                following = next(rest, None)
                if following is None or following.startswith("--"):
                    out += [arg] if following is None else [arg, following]
                    continue
                if not arg.startswith("--") or name not in types:
                    out += [arg, following]
                    continue
                equals, value = "=", following
            is_item = bool(dot) or flag.endswith("+")
            literal = self._literal(value, types.get(name, set()), is_item)
            if literal == value and "=" not in arg and not value.startswith("-"):
                out += [arg, value]
            else:
                out.append(f"{flag}{equals}{literal}")
        return out

    def restored(self, value: Any) -> Any:
        """A value that the parser has made, with the text in the place of tokens."""
        if isinstance(value, str):
            return self._texts.get(value, value)
        if isinstance(value, list):
            return [self.restored(item) for item in value]
        if isinstance(value, dict):
            return {key: self.restored(item) for key, item in value.items()}
        return value

    def _literal(self, value: str, types: set[Any], is_item: bool) -> str:
        """The value of a flag of these types."""
        lists, mappings = types & {list[str]}, types & {dict[str, str]}
        if is_item:
            return self._token(value) if lists or mappings else value
        if mappings and str in types:  # either is read from the text by the verb itself
            return self._token(value)
        if (lists and value.startswith("[")) or (mappings and value.startswith("{")):
            return self._tokens(value, whole=str in types)
        return self._token(value) if types and types <= {str, list[str]} and str in types else value

    def _tokens(self, value: str, whole: bool) -> str:
        """A list, or a mapping, in which each item is text.

        Args:
            value: as it was typed.
            whole: one token for all of it: of text or a list, the parser would make text.
        """
        try:
            content = yaml.load(value, yaml.BaseLoader)  # noqa: S506  all scalars are text
        except yaml.YAMLError:
            return value
        if isinstance(content, list) and all(isinstance(item, str) for item in content):
            if whole:
                return self._new_token(content)
            return json.dumps([self._token(item) for item in content])
        if isinstance(content, dict) and all(isinstance(item, str) for item in content.values()):
            return json.dumps({key: self._token(item) for key, item in content.items()})
        return value

    def _token(self, text: str) -> str:
        try:
            if text and yaml.safe_load(text) == text:
                return text
        except (yaml.YAMLError, ValueError):  # a date that there is not, such as 2020-13-45
            pass
        return self._new_token(text)

    def _new_token(self, content: str | list[str]) -> str:
        token = f"\ue000{len(self._texts)}\ue000"  # of the private use area: nobody types it
        self._texts[token] = content
        return token


def _parts(annotation: Any) -> set[Any]:
    """The types of an annotation, without None; a path is text."""
    args = set(get_args(annotation)) if _is_union(annotation) else {annotation}
    return {str if part == os.PathLike[str] else part for part in args} - {type(None)}


def _is_union(annotation: Any) -> bool:
    return type(None) in get_args(annotation) or os.PathLike[str] in get_args(annotation)


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
