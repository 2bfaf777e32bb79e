"""The command line: verb → function, in one table; four verbs are Lightning's CLI."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import os
import platform
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, get_origin, get_type_hints

from coldstart import sigterm
from coldstart.argument_text import LiteralText, as_python, gathered, in_brackets, joined_flags
from coldstart.errors import InputError, Preempted, Stopped
from coldstart.files import is_disk_full, is_write_refused
from coldstart.reporting.log import HOW_MUCH, VERBOSITY, Verbosity, shown, verbosity
from coldstart.reporting.progress import is_watched
from coldstart.reporting.terminal import write_plainly
from coldstart.runs.config import find_configs
from coldstart.training.flags import Verb, help_text


class Entry(NamedTuple):
    """Where a verb's function is.

    Attributes:
        module: of this package.
        function: its name.
        about: what the verb is for.
        several: calling the function gives several, by their names: sub-commands.
        repeated: flags that may be given several times.
        many: the argument that takes all that are no flags, such as `ids`.
        kept: what is said when a signal has stopped it: what is there, and how to go on.
        bars: whether it shows progress.
    """

    module: str
    function: str
    about: str
    several: bool = False
    repeated: tuple[str, ...] = ()
    many: str = ""
    kept: str = "what was finished is kept; to go on, give the same command again"
    bars: bool = True


WHOLE = "nothing is half-written; to begin again, give the same command"
"""Of verbs that write once, at their end, or not at all."""

VERBS = {
    "demo": Entry("commands.demo", "demo", "the whole path on an invented catalogue"),
    "dataset": Entry("commands.dataset", "commands", "a public data set → tables", several=True),
    "factorize": Entry(
        "commands.factorize", "factorize", "a listening log → track and user vectors", kept=WHOLE
    ),
    "update": Entry(
        "commands.update",
        "update",
        "listens since the fit → the same space; how far it has aged",
        kept=WHOLE,
    ),
    "split": Entry(
        "commands.split", "split", "tracks → train, val and test; reports what leaks", kept=WHOLE
    ),
    "shard": Entry("commands.shard", "shard", "tracks, audio and attributes → shards"),
    "add": Entry("commands.add", "add", "new tracks → an existing dataset; no model changes"),
    "remove": Entry(
        "commands.remove",
        "remove",
        "tracks are recommended no more; --undo brings them back",
        many="ids",
        kept=WHOLE,
    ),
    "listen": Entry(
        "commands.listen", "listen", "sound → attributes of all tracks, by listeners fitted here"
    ),
    "extract": Entry(
        "commands.extract",
        "extract",
        "sound → vectors and tags by a pretrained net, for shard",
        repeated=("--audio",),
    ),
    "fit": Entry(
        "commands.fit",
        "main",
        "train a model (Lightning's CLI)",
        kept="checkpoints are kept; to go on, give the same command again with --ckpt_path last",
    ),
    "validate": Entry(
        "commands.validate", "main", "a run's validation loss (Lightning's CLI)", kept=WHOLE
    ),
    "test": Entry(
        "commands.test",
        "main",
        "a run's figures beside floors and rivals (Lightning's CLI)",
        kept=WHOLE,
    ),
    "predict": Entry(
        "commands.predict", "main", "all tracks' vectors, from content (Lightning's CLI)"
    ),
    "recommend": Entry(
        "commands.recommend",
        "recommend",
        "unheard tracks for a track, a file, a user, or everybody",
        repeated=("--like", "--liked", "--audio"),
    ),
    "export": Entry(
        "commands.export", "export", "vectors of tracks and users, for other systems", kept=WHOLE
    ),
    "index": Entry(
        "commands.index", "index", "approximate search, for a run of very many tracks", kept=WHOLE
    ),
    "serve": Entry(
        "commands.serve", "serve", "answers over HTTP, and a page to search and listen", bars=False
    ),
    "ablate": Entry(
        "studies.ablate.ablate", "ablate", "subsets of modalities, several seeds → one table"
    ),
    "benchmark": Entry(
        "studies.benchmark.benchmark",
        "benchmark",
        "models and rivals over several splits → one table",
    ),
    "tune": Entry("studies.tune.tune", "tune", "search for a fit's settings, on validation tracks"),
    "neighbours": Entry(
        "commands.neighbours",
        "neighbours",
        "a track's nearest, by plays, by attributes and by a model",
        kept=WHOLE,
    ),
    "report": Entry(
        "commands.report", "report", "a run, benchmark or ablation → a page to look at", kept=WHOLE
    ),
    "plugins": Entry(
        "commands.plugins",
        "plugins",
        "list encoders, fusion heads, targets and extractors",
        kept=WHOLE,
    ),
    "completion": Entry(
        "commands.completion",
        "completion",
        "completes verbs, flags, configs and plugins in bash, zsh or fish",
        kept=WHOLE,
    ),
    "new-encoder": Entry(
        "commands.new_encoder",
        "new_encoder",
        "a plugin package to start from, which works as generated",
        kept=WHOLE,
    ),
}
LIGHTNING_VERBS: tuple[Verb, ...] = ("fit", "validate", "test", "predict")

SHOWS: dict[str, Verbosity] = {"--quiet": "quiet", "--verbose": "verbose"}
"""Flags of every verb."""


def usage() -> str:
    """What `coldstart --help` prints."""
    lines = [f"  {verb:<11} {entry.about}" for verb, entry in VERBS.items()]
    return "\n".join(
        [
            "usage: coldstart VERB [ARGUMENTS]     coldstart VERB --help",
            "       coldstart --version [--verbose]",
            "",
            HOW_MUCH,
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
        Exit status: 0; 2 for wrong input (one message on stderr, no traceback); 130 after a SIGINT,
        143 after a SIGTERM, with a message that says how to go on.
    """
    if args is None:
        sigterm.heed()
    write_plainly()
    try:
        with sigterm.stoppable():
            status = _run(list(sys.argv[1:] if args is None else args))
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Stopped as stop:
        status = stop.status
        sigterm.say(sigterm.sentence(stop.number))
        sigterm.end(status)
    return status


def _run(args: list[str]) -> int:
    args, chosen = [arg for arg in args if arg not in SHOWS], [arg for arg in args if arg in SHOWS]
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if args[0] == "--version":
        print("\n".join(_versions() if "--verbose" in chosen else _versions()[:1]))
        return 0
    verb, rest = args[0], args[1:]
    if verb not in VERBS:
        nearest = difflib.get_close_matches(verb, VERBS, n=1)
        help_ = f". Did you mean '{nearest[0]}'?" if nearest else f"\n\n{usage()}"
        print(f"coldstart: there is no verb '{verb}'{help_}", file=sys.stderr)
        return 2
    sigterm.describe(verb, VERBS[verb].kept)
    try:
        rest = joined_flags(rest, VERBS[verb].repeated)
        _must_be_given_once(rest)
        with sigterm.stoppable(), _terminal(verb, chosen):
            _call(verb, rest)
    except InputError as error:
        print(f"coldstart {verb}: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # of writers that aren't ours, such as a log's
        reason = "no space left" if is_disk_full(error) else str(error.strerror)
        if not (is_disk_full(error) or is_write_refused(error)):
            raise
        place = error.filename or "a file"
        print(f"coldstart {verb}: {place}: can't be written: {reason}", file=sys.stderr)
        return 2
    except Preempted as stop:
        sigterm.say(f"coldstart {verb}: {stop}")
        return stop.status
    except KeyboardInterrupt:  # of a program that calls this, or on Windows
        sigterm.say(sigterm.sentence(signal.SIGINT))
        return 130
    return 0


@contextlib.contextmanager
def _terminal(verb: str, chosen: Sequence[str]) -> Iterator[None]:
    """What a verb shows beside its results; processes that it starts show as much."""
    if len(set(chosen)) > 1:
        raise InputError("--quiet and --verbose ask for less and for more; leave one of them out")
    wanted = SHOWS[chosen[0]] if chosen else verbosity()
    variables: dict[str, str] = {VERBOSITY: wanted}
    if wanted == "quiet":
        variables["WANDB_SILENT"] = "true"
    if wanted == "quiet" or (wanted == "normal" and not is_watched(sys.stderr)):
        variables["TQDM_DISABLE"] = "1"  # bars of other packages, which read it as they are loaded
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        with shown(verb, bars=VERBS[verb].bars):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _versions() -> list[str]:
    """Of the package, and of what a report of a fault should name."""
    lines = [f"coldstart {version('coldstart')}"]
    for name in ("torch", "torchaudio", "lightning", "numpy", "polars", "implicit", "webdataset"):
        with contextlib.suppress(PackageNotFoundError):
            lines.append(f"{name} {version(name)}")
    return [*lines, f"Python {platform.python_version()}", platform.platform()]


def _function(verb: str) -> Any:
    entry = VERBS[verb]
    return getattr(importlib.import_module(f"coldstart.{entry.module}"), entry.function)


def _typed(function: Callable[..., Any], texts: LiteralText | None = None) -> Callable[..., Any]:
    """The function with its arguments' types resolved, and without that of its result.

    The parser would resolve all names of the module, and so import torch.

    Args:
        function: a verb's.
        texts: puts the text of arguments back in.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if texts is not None:
            args, kwargs = tuple(map(texts.restored, args)), texts.restored(kwargs)
        return function(*args, **kwargs)

    call.__annotations__ = {k: v for k, v in function.__annotations__.items() if k != "return"}
    types = get_type_hints(call, inspect.unwrap(function).__globals__)
    signature = inspect.signature(function)
    parameters = [
        each.replace(annotation=types.get(name, each.annotation))
        for name, each in signature.parameters.items()
    ]
    signature = inspect.Signature(parameters)
    call.__signature__, call.__annotations__ = signature, types  # type: ignore[attr-defined]
    return call


def _must_be_given_once(args: Sequence[str]) -> None:
    """Of a flag that is given twice, the parser would take the last value without a word.

    Several configs may be given, one after the other, and `--list+=item` adds an item.
    """
    flags = [arg.partition("=")[0] for arg in args if arg.startswith("--")]
    counts = Counter(flag.replace("_", "-") for flag in flags)
    for flag in flags:
        count = counts[flag.replace("_", "-")]
        if count > 1 and flag != "--config" and not flag.endswith("+"):
            raise InputError(f"{flag} is given {count} times; give it once")


def _call(verb: str, args: list[str]) -> None:
    """Call a verb's function: Lightning's CLI with the arguments as they are."""
    lightning_verb = next((name for name in LIGHTNING_VERBS if name == verb), None)
    if lightning_verb is None:
        _call_with_arguments(verb, args)
        return
    if {"-h", "--help"} & set(args):
        print(help_text(lightning_verb))  # Lightning prints its own flags, and ends the process
    _function(verb)(args)


def _call_with_arguments(verb: str, args: list[str]) -> None:
    """Call a verb's function with arguments made from its signature and docstring."""
    from jsonargparse import auto_cli

    from coldstart.reporting.usage import VerbParser

    target, texts = _function(verb), LiteralText()
    components: Any = (
        {name: _typed(each, texts) for name, each in target().items()}
        if VERBS[verb].several
        else _typed(target, texts)
    )
    functions = list(components.values()) if isinstance(components, dict) else [components]
    parameters = [each for one in functions for each in inspect.signature(one).parameters.values()]
    flags = {f"--{each.name}" for each in parameters if each.annotation is bool}
    if any(each.name == "overrides" for each in parameters):
        _call_with_fit_flags(verb, _typed(target), args)
    else:
        tuples = {f"--{each.name}" for each in parameters if get_origin(each.annotation) is tuple}
        python = in_brackets(as_python(args, flags), tuples)
        if VERBS[verb].many:
            python = gathered(python, VERBS[verb].many)
        literal = texts.protected(
            find_configs(python), parameters, positionals=not VERBS[verb].several
        )
        auto_cli(
            components,
            args=literal,
            parser_class=VerbParser,
            prog=f"coldstart {verb}",
            epilog=HOW_MUCH,
        )


def _call_with_fit_flags(verb: str, function: Callable[..., Any], args: list[str]) -> None:
    """Call a function whose `config` is a fit's; flags that aren't its own are its `overrides`."""
    from coldstart.reporting.usage import VerbParser

    own = [*inspect.signature(function).parameters, "help"]
    own_args, overrides = list[str](), dict[str, str]()
    rest = iter(args)
    for arg in rest:
        (python,) = as_python([arg])
        name, equals, value = arg.removeprefix("--").partition("=")
        if not arg.startswith("--") or python[2:].partition("=")[0] in own:
            own_args.append(python)
            continue
        if "." not in name and (near := difflib.get_close_matches(name, own, n=1, cutoff=0.8)):
            raise InputError(f"unrecognized arguments: {arg}. Did you mean --{near[0]}?")
        if not equals:
            value = next(rest, "--")
        if value.startswith("--"):
            raise InputError(f"--{name}: needs a value, as any flag of fit that is given here")
        overrides[name] = value
    about = (function.__doc__ or "").partition("Args:")[0]
    parser = VerbParser(prog=f"coldstart {verb}", description=about, epilog=HOW_MUCH)
    parser.add_function_arguments(function, as_group=False, skip={"overrides"})
    function(**parser.parse_args(own_args).as_dict(), overrides=overrides)
