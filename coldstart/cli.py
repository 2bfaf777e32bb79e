"""The command line: verb → function, in one table; four verbs are Lightning's CLI."""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import version
from typing import Any

from coldstart.errors import InputError, Preempted
from coldstart.reporting.log import shown
from coldstart.runs.config import find_configs

VERBS = {
    "demo": ("commands.demo", "demo", "the whole path on an invented catalogue"),
    "dataset": ("datasets", "LOADERS", "a public data set → tables"),
    "factorize": (
        "commands.factorize",
        "factorize",
        "a listening log → track and user vectors",
    ),
    "split": (
        "commands.split",
        "split",
        "tracks → train, val and test; reports what leaks",
    ),
    "shard": ("commands.shard", "shard", "tracks, audio and attributes → shards"),
    "fit": ("commands.fit", "fit", "train a model (Lightning's CLI)"),
    "validate": (
        "commands.validate",
        "validate",
        "a run's validation loss (Lightning's CLI)",
    ),
    "test": (
        "commands.test",
        "test",
        "a run's figures beside floors and rivals (Lightning's CLI)",
    ),
    "predict": (
        "commands.predict",
        "predict",
        "all tracks' vectors, from content (Lightning's CLI)",
    ),
    "recommend": (
        "commands.recommend",
        "recommend",
        "unheard tracks for a track, a file or a user",
    ),
    "ablate": (
        "studies.ablate.ablate",
        "ablate",
        "subsets of modalities, several seeds → one table",
    ),
    "benchmark": (
        "studies.benchmark.benchmark",
        "benchmark",
        "models and rivals over several splits → one table",
    ),
    "tune": (
        "studies.tune.tune",
        "tune",
        "search for a fit's settings, on validation tracks",
    ),
    "neighbours": (
        "commands.neighbours",
        "neighbours",
        "a track's nearest, by plays, by attributes and by a model",
    ),
    "plugins": ("commands.plugins", "plugins", "list encoders, fusion heads and targets"),
    "new-encoder": (
        "commands.new_encoder",
        "new_encoder",
        "a plugin package to start from, which works as generated",
    ),
}
"""Verb → module of this package, function, and what it is for."""
LIGHTNING_VERBS = ("fit", "validate", "test", "predict")


def usage() -> str:
    """What `coldstart --help` prints."""
    lines = [f"  {verb:<11} {about}" for verb, (_, _, about) in VERBS.items()]
    return "\n".join(
        [
            "usage: coldstart VERB [ARGUMENTS]     coldstart VERB --help     coldstart --version",
            "",
            "Recommend music that nobody has heard yet: from a track's content to its place in",
            "collaborative-filtering space.",
            "",
            *lines,
            "",
            "Begin with: coldstart demo",
        ]
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: as after `coldstart`; the process's own by default.

    Returns:
        Exit status: 0; 2 for wrong input (one message on stderr, no traceback); 143 after a
        SIGTERM, when what is needed to go on has been saved.
    """
    try:
        with shown():
            status = _run(list(sys.argv[1:] if args is None else args))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if given[0] == "--version":
        print(f"coldstart {version('coldstart')}")
        return 0
    verb, rest = given[0], given[1:]
    if verb not in VERBS:
        print(f"coldstart: there is no verb '{verb}'\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        if verb in LIGHTNING_VERBS:
            from coldstart.training.lightning_cli import lightning_cli

            lightning_cli(verb, rest)
        else:
            _call(verb, rest)
    except InputError as error:
        print(f"coldstart {verb}: {error}", file=sys.stderr)
        return 2
    except Preempted as stop:
        print(f"coldstart {verb}: {stop}", file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print(f"coldstart {verb}: interrupted; what was finished is kept", file=sys.stderr)
        return 130
    return 0


def _call(verb: str, rest: list[str]) -> None:
    """Call a verb's function with arguments made from its signature and docstring."""
    from jsonargparse import auto_cli

    module, name, _ = VERBS[verb]
    found = getattr(
        importlib.import_module(f"coldstart.{module}"), name
    )  # a function, or some by their names
    functions = list(found.values()) if isinstance(found, dict) else [found]
    parameters = [each for one in functions for each in inspect.signature(one).parameters.values()]
    flags = {f"--{each.name}" for each in parameters if each.annotation in (bool, "bool")}
    if any(each.name == "overrides" for each in parameters):
        _call_with_fit_flags(verb, found, rest)
    else:
        auto_cli(found, args=find_configs(_as_python(rest, flags)), prog=f"coldstart {verb}")


def _call_with_fit_flags(verb: str, function: Callable[..., Any], rest: list[str]) -> None:
    """Call a function whose `config` is a fit's; flags that aren't its own are its `overrides`."""
    from jsonargparse import ArgumentParser

    own = [*inspect.signature(function).parameters, "help"]
    args, overrides = list[str](), dict[str, str]()
    given = iter(rest)
    for arg in given:
        (python,) = _as_python([arg])
        name, equals, value = arg.removeprefix("--").partition("=")
        if not arg.startswith("--") or python[2:].partition("=")[0] in own:
            args.append(python)
            continue
        if not equals:
            value = next(given, "--")
        if value.startswith("--"):
            raise InputError(f"--{name}: needs a value, as any flag of fit that is given here")
        overrides[name] = value
    about = (function.__doc__ or "").partition("Args:")[0]
    parser = ArgumentParser(prog=f"coldstart {verb}", description=about)
    parser.add_function_arguments(function, as_group=False, skip={"overrides"})
    function(**parser.parse_args(args).as_dict(), overrides=overrides)


def _as_python(args: list[str], flags: Collection[str] = ()) -> list[str]:
    """`--skip-broken` is Python's skip_broken; and a lone `--json`, a flag, means `--json=true`."""
    out = []
    for arg, after in itertools.zip_longest(args, args[1:], fillvalue=""):
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = re.sub(r"(?<=\w)-(?=\w)", "_", name) + equals + value
        if arg in flags and after not in ("true", "false"):
            arg += "=true"
        out.append(arg)
    return out
