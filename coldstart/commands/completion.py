"""The verb `completion`: what a shell needs to complete our verbs, flags, configs and plugins."""

from __future__ import annotations

import argparse
import importlib
import inspect
import logging
import os
import types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import shtab
from docstring_parser import parse

from coldstart.reporting.usage import hyphenated
from coldstart.runs.config import configs_folder
from coldstart.training.flags import ABOUT, FLAGS, Verb

if TYPE_CHECKING:
    from coldstart.registry import Kind

log = logging.getLogger(__name__)

Shell = Literal["bash", "zsh", "fish"]

PLACES = {
    "bash": "~/.local/share/bash-completion/completions/coldstart",
    "zsh": "~/.zfunc/_coldstart (a folder of `fpath`, set before `compinit`)",
    "fish": "~/.config/fish/completions/coldstart.fish",
}
"""Where each shell looks for such scripts."""

FILES = {"run", "shards", "factors", "splits", "space", "plan", "exclude", "like_run", "picture"}
"""Arguments that name a file or a folder, though they are typed as text."""

OF_A_FIT: dict[str, Any] = {
    "--data.shards": shtab.DIRECTORY,
    "--data.factors": shtab.DIRECTORY,
    "--data.batch_size": None,
    "--data.workers": None,
    "--trainer.max_epochs": None,
    "--trainer.accelerator": ("auto", "cpu", "gpu"),
    "--trainer.devices": None,
    "--trainer.precision": ("32-true", "16-mixed", "bf16-mixed"),
    "--trainer.logger": ("CSVLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"),
    "--seed_everything": None,
}
"""Those of Lightning's hundreds of flags that are typed by hand → their values."""


def completion(shell: Shell) -> str:
    """Print a script that completes the command line in a shell.

    Write it where the shell looks for such scripts, and open a new one; write it again when
    coldstart or a plugin has been installed: configs and plugins stand in the script, so that
    completing starts no Python.

    Args:
        shell: bash, zsh or fish.

    Returns:
        The script.
    """
    # The table of verbs names its verbs' files as text, and so does this: none imports the other.
    verbs = importlib.import_module("coldstart.cli").VERBS
    text = script(shell, verbs)
    print(text)
    log.info(f"for {shell}, write this to {PLACES[shell]}")
    return text


def script(shell: Shell, verbs: Mapping[str, Any]) -> str:
    """What `completion` prints.

    Args:
        shell: bash, zsh or fish.
        verbs: the command line's table.
    """
    parser = argparse.ArgumentParser(prog="coldstart", add_help=False)
    parser.add_argument("--version", action="store_true", help="versions, for reports of faults")
    parser.add_argument("--help", action="store_true", help="all verbs")
    subparsers = parser.add_subparsers()
    for verb, entry in verbs.items():
        about = entry.about.replace("`", "")
        child = subparsers.add_parser(verb, help=about, description=about, add_help=False)
        lightning_verb = next((name for name in FLAGS if name == verb), None)
        if lightning_verb is not None:
            _add_flags_of_fit(child, lightning_verb)
        else:
            function = getattr(importlib.import_module(f"coldstart.{entry.module}"), entry.function)
            _add_function(child, verb, function, entry.several)
    configs = " ".join(sorted(path.name for path in configs_folder().glob("*.yaml")))
    preambles = {
        "bash": f'_coldstart_configs() {{ compgen -W "{configs}" -- "$1"; compgen -f -- "$1"; }}',
        "zsh": f"_coldstart_configs() {{ compadd {configs}; _files }}",
    }
    return str(shtab.complete(parser, shell, preamble=preambles.get(shell, "")))


def _add_function(
    parser: argparse.ArgumentParser, verb: str, function: Callable[..., Any], several: bool
) -> None:
    """Add the arguments of a verb's function; of several functions, as sub-commands."""
    if several:
        subparsers = parser.add_subparsers()
        for name, each in function().items():
            about = (each.__doc__ or "").partition("\n")[0]
            child = subparsers.add_parser(name, help=about, description=about, add_help=False)
            _add_function(child, verb, each, False)
        return
    abouts = {each.arg_name: each.description for each in parse(function.__doc__ or "").params}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name != "overrides":
            _add_parameter(parser, verb, function, parameter, abouts.get(parameter.name) or "")
    if "overrides" in inspect.signature(function).parameters:
        for flag, values in OF_A_FIT.items():
            _add(parser, flag, "of the fit", values)
    _add_common(parser)


def _add_parameter(
    parser: argparse.ArgumentParser,
    verb: str,
    function: Callable[..., Any],
    parameter: inspect.Parameter,
    about: str,
) -> None:
    name, annotation = parameter.name, _annotation(function, parameter)
    about = about.partition("\n")[0].replace("`", "")
    if annotation is bool:
        flag = hyphenated(f"--{name}")
        if parameter.default is False:
            parser.add_argument(flag, action="store_true", help=about)
        else:
            _add(parser, flag, about, ("true", "false"))
        return
    parts = [part for each in (annotation, *get_args(annotation)) for part in _flat(each)]
    values: Any = tuple(part for part in parts if isinstance(part, str)) or None
    if (verb, name) == ("extract", "name"):
        values = _plugins("extractors")
    elif name == "config":
        values = _CONFIGS
    elif values is None and (os.PathLike in parts or name in FILES):
        values = shtab.FILE
    is_flag = parameter.kind is inspect.Parameter.KEYWORD_ONLY
    _add(parser, hyphenated(f"--{name}") if is_flag else name, about, values)


def _flat(annotation: Any) -> Iterable[Any]:
    """A type's own parts: the values of a Literal, the class of a generic."""
    origin = getattr(annotation, "__origin__", None)
    yield from (get_args(annotation) if origin is Literal else (origin or annotation,))


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """A parameter's type; None where its name is known to type checkers alone."""
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(alone, inspect.unwrap(function).__globals__)[parameter.name]
    except NameError:
        return None


def _add_flags_of_fit(parser: argparse.ArgumentParser, verb: Verb) -> None:
    """Our flags of one of Lightning's verbs, and those of Lightning's that are typed by hand."""
    parser.description = ABOUT[verb]
    for flag, options in FLAGS[verb].items():
        about = str(options.get("help", ""))
        if options.get("action") == "store_true":
            parser.add_argument(flag, action="store_true", help=about)
        else:
            place = shtab.DIRECTORY if options.get("metavar") == "DIR" else None
            _add(parser, flag, about, options.get("choices") or place)
    for flag, values in OF_A_FIT.items():
        _add(parser, flag, "", values)
    if verb == "fit":
        _add(parser, "--config", "a shipped one, or a file", _CONFIGS)
        _add(parser, "--model.fusion", "", _plugins("fusion"))
        _add(parser, "--model.target", "", _plugins("targets"))
    _add_common(parser)


def _plugins(kind: Kind) -> tuple[str, ...]:
    """Names of the plugins that are installed."""
    from coldstart.registry import discover  # it imports torch

    return tuple(discover(kind))


def _add_common(parser: argparse.ArgumentParser) -> None:
    known = parser._option_string_actions
    if "--config" not in known and "--run" not in known:
        _add(parser, "--config", "a file with the arguments", _CONFIGS)
    for flag, about in (
        ("--help", "what there is"),
        ("--quiet", "results and errors alone"),
        ("--verbose", "all that there is"),
    ):
        parser.add_argument(flag, action="store_true", help=about)


_CONFIGS = {"bash": "_coldstart_configs", "zsh": "_coldstart_configs"}
"""Completes the names of shipped configs, and files; in fish, files."""


def _add(parser: argparse.ArgumentParser, name: str, about: str, values: Any) -> None:
    """Add an argument with a value.

    Args:
        parser: of the verb.
        name: of a flag, or of an argument that has none.
        about: a line for people.
        values: those that there are; or what completes them; None: anything.
    """
    choices = list(values) if isinstance(values, tuple) else None
    about = about.replace("%", "%%")
    action = parser.add_argument(name, help=about, choices=choices)
    if isinstance(values, dict):
        action.complete = values  # type: ignore[attr-defined]
