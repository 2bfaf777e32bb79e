"""What the command line's parser says to people: help, and what is wrong with arguments."""

from __future__ import annotations

import difflib
import re
from argparse import HelpFormatter
from collections.abc import Iterable
from typing import Any

from jsonargparse import ArgumentParser

from coldstart.errors import InputError


class VerbParser(ArgumentParser):
    """Of a verb: flags are shown as they are written everywhere, and errors say the nearest."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise InputError; the parser's own usage of many lines would hide the message."""
        flags = [hyphenated(flag) for flag in self._option_string_actions]
        said = with_nearest(_plain(message), flags)
        raise InputError(f"{said}\n`{without_options(self.prog)} --help` lists all flags")

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """With hyphens in flags."""
        return hyphenated(super().format_help(formatter))


def hyphenated(text: str) -> str:
    """Text with the flags as people write them; keys within a flag's value stay.

    >>> hyphenated("--skip_broken {true,false}, --data.batch_size, hash_audio")
    '--skip-broken {true,false}, --data.batch_size, hash_audio'
    """
    return re.sub(r"--\w+(?![\w.])", lambda flag: flag[0].replace("_", "-"), text)


def with_nearest(message: str, known: Iterable[str]) -> str:
    """What a parser says of arguments, with the flag or the choice that is meant, if one is near.

    Args:
        message: the parser's.
        known: all flags.

    >>> with_nearest("unrecognized arguments: --ovrewrite --k 3", ["--overwrite", "--out", "--k"])
    'unrecognized arguments: --ovrewrite --k 3. Did you mean --overwrite?'
    >>> with_nearest("--method: Expected one of 'random', 'artist'. Got value: randon", [])
    "--method: Expected one of 'random', 'artist'. Got value: randon. Did you mean random?"
    >>> with_nearest("invalid choice: 'x' (choose from 'a', 'b')", [])
    "invalid choice: 'x' (choose from 'a', 'b')"
    """
    said, choices = "", list[str]()
    if flag := re.match(r"[Uu]nrecognized arguments:.*?(--[^\s=]+)", message):
        said, choices = flag[1], list(known)
    elif choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
        said, choices = choice[1], re.findall(r"[\w.-]+", choice[2])
    elif choice := re.search(r"Expected one of (.*)\. Got value: (\S+)$", message):
        said, choices = choice[2], re.findall(r"[\w.-]+", choice[1])
    near = difflib.get_close_matches(said, choices, n=1)
    return f"{message}. Did you mean {near[0]}?" if near else message


def without_options(prog: str) -> str:
    """A command as it is typed, of what the parser calls it.

    >>> without_options("coldstart [options] fit")
    'coldstart fit'
    """
    return prog.replace(" [options]", "")


def _plain(message: str) -> str:
    """A parser's message without the names of Python's types, and with the flag as it is typed.

    >>> _plain('''Parser key "per_artist":   Expected a <class 'int'>. Got value: x''')
    '--per-artist: Expected a whole number. Got value: x'
    """
    kinds = {"int": "whole number", "float": "number", "bool": "true or false", "NoneType": "null"}
    text = re.sub(r'^Parser key "([\w.]+)":\s+', lambda k: f"{hyphenated(f'--{k[1]}')}: ", message)
    text = re.sub(r"<class '(\w+)'>", lambda kind: kinds.get(kind[1], kind[1]), text)
    union = r"Does not validate against any .* subtypes\s+Subtypes: \[(.*?)\]\n.*Given value: (.*)$"
    if found := re.search(union, text, re.DOTALL):
        expected = found[1].replace(", ", " or ")
        text = f"{text[: found.start()]}Expected {expected}. Got value: {found[2]}"
    return re.sub(r"(?:a )?typing\.Literal\[(.*?)\]", r"one of \1", text)
