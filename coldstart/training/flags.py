"""The flags of fit, validate, test and predict that are coldstart's own, beside Lightning's."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, NoReturn

from coldstart.errors import InputError
from coldstart.reporting.log import HOW_MUCH

Verb = Literal["fit", "validate", "test", "predict"]

ABOUT: dict[Verb, str] = {
    "fit": "Train a model from a config, and write a run: its folder, with the best checkpoint.",
    "validate": "Compute the validation loss of a run.",
    "test": "Compute a run's figures on test tracks, beside floors and rivals from the same split.",
    "predict": "Write a run's outputs for all tracks: vectors, or a listener's attributes.",
}

_RUN = {"metavar": "DIR", "help": "Folder of a fitted run: brings its config and best checkpoint."}
_TRUST = {
    "action": "store_true",
    "help": "Build whatever the run's own config names, also what is none of coldstart's, "
    "Lightning's or torch's parts: then its config is as good as code.",
}
_CHECKPOINT = {
    "metavar": "PATH",
    "help": "Another checkpoint than the run's best one; `last`: where its fit was.",
}
_MASTER = {
    "metavar": "ADDRESS",
    "help": "Of Spark, such as yarn or spark://host:7077. Its settings are given as "
    "--spark.KEY=VALUE.",
}

FLAGS: dict[Verb, dict[str, dict[str, Any]]] = {
    "fit": {
        "--run": {
            "metavar": "DIR",
            "help": "Folder to write; runs/NAME by default, with the config's name.",
        },
        "--overwrite": {"action": "store_true", "help": "Replace a run that the folder holds."},
        "--ckpt_path": {
            "metavar": "PATH",
            "help": "Resume from this checkpoint; `last`: from where the run was interrupted.",
        },
        "--like-run": {
            "metavar": "DIR",
            "help": "Train for as many epochs as this run, which had validation tracks, has found "
            "best, without a validation: the model that goes live.",
        },
        "--stages": {
            "type": int,
            "choices": (1, 2),
            "help": "1: encoders and head train together. 2: a net for each encoder first, then "
            "the head on what they predict; the default where several encoders are trained.",
        },
        "--stage-folds": {
            "type": int,
            "metavar": "N",
            "help": "Nets for each encoder in the first of two stages, each fitted without one "
            "fold of the tracks; 5 by default, or as many as the run named by --like-run has.",
        },
        "--stage-vectors": {
            "choices": ("factors", "embedding"),
            "help": "What the head reads: the factors that the nets predict, which is the default, "
            "or, with --stage-folds 1, their embeddings.",
        },
        "--stage-dir": {
            "metavar": "DIR",
            "help": "Folder of the first stage's runs; stage1 in the run's folder by default.",
        },
        "--trust": _TRUST,
        "--no-hint": {"action": "store_true", "help": "Don't print the next command to try."},
    },
    "validate": {"--run": _RUN, "--ckpt_path": _CHECKPOINT, "--trust": _TRUST},
    "test": {
        "--run": _RUN,
        "--ckpt_path": _CHECKPOINT,
        "--trust": _TRUST,
        "--candidates": {
            "choices": ("cold", "mixed"),
            "default": "cold",
            "help": "What is ranked: the test tracks, or these among all factorised ones.",
        },
        "--lengths": {
            "choices": ("ensemble", "unit", "typical", "own"),
            "help": "How mixed candidates are ranked: so that equal scores of new and known tracks "
            "say the same (the default); or by cosine, or by dot product with predicted vectors of "
            "a typical length or of their own.",
        },
        "--warm-up": {
            "action": "store_true",
            "help": "Measure instead how well the test tracks are ranked after 0, 1, 2, 3, 5, 10 "
            "and 20 plays, by content alone, by plays alone and by both: warm_up.json and a "
            "picture, warm_up.png.",
        },
        "--drop": {
            "metavar": "NAMES",
            "help": "Test as if no track had these modalities, such as genres,mlg.",
        },
        "--drop-each": {
            "action": "store_true",
            "help": "Test also without each modality in turn, and say what each loss costs.",
        },
        "--no-rivals": {"action": "store_true", "help": "Only the model and the floors."},
        "--results": {
            "metavar": "NAME",
            "help": "Name of the files in the run's folder; `results` by default.",
        },
        "--engine": {
            "choices": ("local", "spark"),
            "default": "local",
            "help": "What ranks the test tracks for the users: this machine, or a Spark cluster.",
        },
        "--master": _MASTER,
    },
    "predict": {
        "--run": _RUN,
        "--ckpt_path": _CHECKPOINT,
        "--trust": _TRUST,
        "--write": {
            "metavar": "NAME",
            "help": "Write the vectors into the shards, as a modality of this name.",
        },
        "--what": {
            "choices": ("factors", "embedding"),
            "default": "factors",
            "help": "What --write writes: the outputs, or the vectors of the only encoder.",
        },
        "--part": {
            "metavar": "I/N",
            "help": "Predict the I-th of N parts of the shards, for a job scheduler that spreads N "
            "of them over machines with shared storage; then the same with --merge.",
        },
        "--merge": {
            "action": "store_true",
            "help": "Join what all parts have predicted; an error if a piece is missing.",
        },
        "--engine": {
            "choices": ("local", "spark"),
            "default": "local",
            "help": "What predicts: this machine, or a Spark cluster.",
        },
        "--master": _MASTER,
    },
}
"""Verb → flag → how `argparse` reads it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}\n`{self.prog} --help` lists all flags")


def parse(verb: Verb, args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Own flags, and the arguments that are Lightning's.

    Raises:
        InputError: a flag's value is wrong, or it belongs to another of the four verbs.
    """
    own, rest = _parser(verb).parse_known_args([_as_declared(verb, arg) for arg in args])
    for name in [arg.partition("=")[0] for arg in rest if arg.startswith("--")]:
        verbs = [other for other, flags in FLAGS.items() if name in flags]
        if verbs:
            other = "; nets train on many machines by --trainer.devices and --trainer.num_nodes"
            raise InputError(
                f"{name} is a flag of {' and '.join(verbs)}, not of {verb}"
                + (other if verb == "fit" and name in ("--engine", "--master") else "")
            )
    return own, rest


def values_of(args: Sequence[str], *flags: str) -> list[str]:
    """What flags of one meaning are given, as often as they stand on a command line.

    >>> values_of(["--config", "a.yaml", "-c=b.yaml", "--run", "c"], "--config", "-c")
    ['a.yaml', 'b.yaml']
    """
    found = []
    for arg, following in pairwise([*args, ""]):
        name, equals, value = arg.partition("=")
        if name in flags:
            found.append(value if equals else following)
    return found


def without_spark(args: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Spark's settings, and the other arguments.

    >>> without_spark(["--run", "a", "--spark.executor.memory=4g", "--spark.x", "1"])
    ({'executor.memory': '4g', 'x': '1'}, ['--run', 'a'])
    """
    settings, others, waiting = dict[str, str](), list[str](), list(args)
    while waiting:
        arg = waiting.pop(0)
        name, equals, value = arg.partition("=")
        if not name.startswith("--spark."):
            others.append(arg)
            continue
        if not equals and waiting:
            value = waiting.pop(0)
        settings[name.removeprefix("--spark.")] = value
    return settings, others


def _as_declared(verb: Verb, arg: str) -> str:
    """An own flag as it is declared, if it was given with `_` for `-`.

    >>> _as_declared("fit", "--like_run=runs/a"), _as_declared("fit", "--data.batch_size")
    ('--like-run=runs/a', '--data.batch_size')
    """
    name, equals, value = arg.partition("=")
    dashed = name.replace("_", "-")
    return dashed + equals + value if dashed in FLAGS[verb] else arg


def help_text(verb: Verb) -> str:
    """What `coldstart VERB --help` prints before Lightning's own flags."""
    return _parser(verb).format_help()


def as_arguments(overrides: Mapping[str, Any] | None) -> list[str]:
    """Python's overrides as flags of a command line.

    >>> as_arguments({"data.shards": "shards", "trainer.max_epochs": 5})
    ['--data.shards=shards', '--trainer.max_epochs=5']
    """
    return [f"--{key}={value}" for key, value in (overrides or {}).items()]


def engine_flags(engine: str, master: str | None, spark: Mapping[str, Any] | None) -> list[str]:
    """Python's choice of an engine as flags of a command line.

    >>> engine_flags("spark", None, {"executor.memory": "4g"})
    ['--engine=spark', '--spark.executor.memory=4g']
    """
    settings = {
        f"spark.{key.removeprefix('spark.')}": value for key, value in (spark or {}).items()
    }
    chosen = {} if engine == "local" else {"engine": engine}
    return as_arguments(chosen | ({"master": master} if master else {}) | settings)


def _parser(verb: Verb) -> argparse.ArgumentParser:
    config = " --config CONFIG" if verb == "fit" else ""
    parser = _Parser(
        prog=f"coldstart {verb}",
        usage=f"coldstart {verb}{config} [FLAGS] [LIGHTNING'S FLAGS]",
        description=ABOUT[verb],
        epilog=f"{HOW_MUCH} Lightning's flags, for what a config holds (model, data, trainer, …), "
        "follow.",
        add_help=False,
        allow_abbrev=False,
    )
    group = parser.add_argument_group(f"flags of {verb}")
    for flag, options in FLAGS[verb].items():
        group.add_argument(flag, **options)
    return parser
