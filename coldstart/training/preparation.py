"""What each verb asks of Lightning: the run's folder, its config and checkpoint, callbacks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback
from lightning.pytorch.plugins.environments import SLURMEnvironment

from coldstart.errors import InputError
from coldstart.evaluation.rankings import Ranker
from coldstart.files import StrPath, is_writable, writable
from coldstart.model.checkpoint import LAST, best_checkpoint, read_checkpoint
from coldstart.runs.config import read_config, shipped_configs
from coldstart.runs.places import KEYS, data_places, lost_places, must_be_named
from coldstart.runs.run import remember_own
from coldstart.shards.reading import Shards
from coldstart.training import stages
from coldstart.training.flags import Verb, values_of
from coldstart.training.prediction_writers import PredictionWriter, WriteVectors
from coldstart.training.reports import FitReport, TestReport
from coldstart.training.trust import must_be_known

HPC = "hpc_ckpt_*.ckpt"
"""What Lightning saves in a run's folder when Slurm ends a job, and resumes from by itself."""


class Preparation(NamedTuple):
    """What Lightning is to do.

    Attributes:
        folder: the run's.
        args: Lightning's arguments.
        flags: the values of our flags.
        callbacks: ours, beside the config's.
        new_config: whether it is a fit with another configuration than the run's own, which may
            have two stages, or no validation.
        names_epochs: whether the arguments say how long a fit trains.
    """

    folder: Path
    args: list[str]
    flags: argparse.Namespace
    callbacks: list[Callback]
    new_config: bool = False
    names_epochs: bool = False


def prepare(
    verb: Verb,
    own: argparse.Namespace,
    rest: Sequence[str],
    lightning: Callable[..., Any],
    named: str = "",
    ranker: Ranker | None = None,
) -> Preparation:
    """Check what a verb needs, and say what Lightning is to do.

    Args:
        verb: one of Lightning's.
        own: the values of our flags.
        rest: the other arguments.
        lightning: runs one of Lightning's verbs, such as a `predict` before a `test`.
        named: text in which classes are named that a run's config may build; see `trust`.
        ranker: what ranks for a `test`, elsewhere; None: this process.

    Raises:
        InputError: there is no config, no such run, a run that would be replaced, or one whose
            config would build what is no known part.
    """
    folder = run_folder(own, rest)
    takes_config = _is_resumed(own, rest) if verb == "fit" else own.run
    if takes_config and not own.trust:
        must_be_known(folder, f"{named} {' '.join(rest)}")
    checkpoint = checkpoint_of(verb, folder, own.ckpt_path)
    if verb == "fit":
        return _fit(own, list(rest), checkpoint)
    preparation = _with_run(own, list(rest), lightning, checkpoint)
    if verb in ("test", "validate"):
        _must_have_tracks(verb, own, rest)
    if verb == "test":
        return _test(own, preparation, ranker)
    if verb == "predict":
        writers: list[Callback] = [PredictionWriter()]
        if own.write:
            writers.append(WriteVectors(own.write, own.what))
        return preparation._replace(callbacks=[*preparation.callbacks, *writers])
    return preparation


def checkpoint_of(verb: str, folder: StrPath, chosen: str | None) -> str | None:
    """The path of a chosen checkpoint, which has been read without unpickling.

    Args:
        verb: one of Lightning's.
        folder: of the run.
        chosen: a path; or `best` or `last`, of the run's own. A fit that was killed early has no
            last one, and starts anew.

    Raises:
        InputError: there is none, or it can't be read safely.
    """
    if not chosen:
        return None
    if chosen == "hpc" or chosen.partition(":")[0] == "registry":
        raise InputError(
            f"--ckpt_path {chosen}: coldstart reads checkpoints by their path alone, or `best` and "
            "`last` of a run; give the file's path"
        )
    if chosen == "best":
        return str(best_checkpoint(folder))
    if chosen == "last":
        last = Path(folder) / "checkpoints" / LAST
        if verb == "fit" and not last.exists():
            return None
        chosen = str(last)
    read_checkpoint(chosen)  # says what is wrong, where Lightning's reading would not
    return chosen


def must_be_safe_to_resume(folder: StrPath) -> None:
    """Raise InputError if Lightning would resume by itself from what can't be read safely."""
    if SLURMEnvironment.detect():
        for path in sorted(Path(folder).glob(HPC)):
            read_checkpoint(path)


def run_folder(own: argparse.Namespace, rest: Sequence[str]) -> Path:
    """The folder of the run that a verb is about."""
    return Path(own.run) if own.run else default_run(rest)


def default_run(args: Sequence[str]) -> Path:
    """The folder of a run that nobody has named.

    >>> default_run(["--config", "configs/audio_mlg.yaml"]).as_posix()
    'runs/audio_mlg'
    """
    configs = [arg.removeprefix("--config=") for arg in args if arg.endswith((".yaml", ".yml"))]
    return Path("runs") / (Path(configs[0]).stem if configs else "run")


def _is_resumed(own: argparse.Namespace, rest: Sequence[str]) -> bool:
    """Whether a fit takes the run's own configuration."""
    return bool(own.ckpt_path) and not _has_config(rest)


def _has_config(rest: Sequence[str]) -> bool:
    return any(arg.startswith(("--config", "-c")) for arg in rest)


def _fit(own: argparse.Namespace, rest: list[str], checkpoint: str | None) -> Preparation:
    folder = writable(run_folder(own, rest))
    shows = any(arg.startswith(("--print_config", "--help", "-h")) for arg in rest)
    if not (shows or _has_config(rest) or own.ckpt_path or _names_encoders(rest)):
        raise InputError(
            f"a fit needs a config: --config NAME. The shipped ones are: "
            f"{', '.join(shipped_configs())}; a YAML file of your own may be named too"
        )
    if (folder / "checkpoints").exists() and not (own.overwrite or own.ckpt_path or shows):
        raise InputError(
            f"{folder}: holds a run already; choose another --run, resume it by "
            "--ckpt_path last, or pass --overwrite"
        )
    args, resumed = list(rest), _is_resumed(own, rest)
    names_epochs = any(
        arg.startswith(("--trainer.max_epochs", "--trainer.max_steps")) for arg in rest
    )
    if own.like_run:
        _may_be_like_a_run(own.like_run, resumed, names_epochs)
        args += ["--like_run", str(Path(own.like_run).absolute())]
    if resumed:
        args = ["--config", str(_config_of(folder)), *_moved_data(folder, rest), *args]
    if checkpoint:
        args += ["--ckpt_path", checkpoint]
    return Preparation(folder, args, own, [FitReport()], not resumed, names_epochs)


def _may_be_like_a_run(run: str, resumed: bool, names_epochs: bool) -> None:
    """Raise InputError unless `--like-run` may be given here, and names a fitted run."""
    if resumed:
        raise InputError(
            "--like-run: a fit that is resumed keeps its number of epochs; leave the flag out, or "
            "begin anew with --config and --overwrite"
        )
    if names_epochs:
        raise InputError(
            "--like-run and --trainer.max_epochs both say how long to train; leave one of them out"
        )
    best_checkpoint(run)  # says what is wrong at once


# A checkpoint knows the callbacks of its fit, and Lightning warns of one that is missing later:
# so every verb has the `FitReport`, which does nothing but in a fit.
def _with_run(
    own: argparse.Namespace,
    rest: list[str],
    lightning: Callable[..., Any],
    checkpoint: str | None,
) -> Preparation:
    """A verb that measures or uses what was fitted."""
    if not own.run:
        if not any(arg.startswith(("--config", "-c", "--model", "-h", "--help")) for arg in rest):
            raise InputError("which run? Name the folder of a fitted one: --run DIR")
        args = [*rest, *(["--ckpt_path", checkpoint] if checkpoint else [])]
        return Preparation(default_run(rest), args, own, [FitReport()])
    folder = Path(own.run)
    config = _config_of(folder)
    if any(arg.startswith("--ensemble") for arg in rest):
        raise InputError(
            f"--ensemble is a setting of a run: write it into {config}, and the numbers are chosen "
            "anew, for `recommend`, too"
        )
    checkpoint = checkpoint or str(best_checkpoint(folder))
    elsewhere = any(arg.startswith("--trainer.default_root_dir") for arg in rest)
    if not (elsewhere or is_writable(folder)):
        raise InputError(
            f"{folder}: can't be written to, and this verb writes into the run's folder; name "
            "another one by --trainer.default_root_dir DIR, or copy the run"
        )
    data = _moved_data(folder, rest)
    shards = _value(rest, "shards") or data_places(folder)["shards"]
    stages.complete(folder, str(shards), lightning, _value(rest, "factors"), own.trust)
    if lost_places(folder):
        named = {key: _value(rest, key) for key in ("shards", "factors")}
        facts = read_checkpoint(best_checkpoint(folder))["coldstart"]["facts"]
        remember_own(folder, facts, {k: v for k, v in named.items() if v not in (None, "null")})
    args = ["--config", str(config), *data, *rest, "--ckpt_path", checkpoint]
    return Preparation(folder, args, own, [FitReport()])


def _must_have_tracks(verb: Verb, own: argparse.Namespace, rest: Sequence[str]) -> None:
    """Raise InputError if there is nothing that a run can be measured on."""
    split, kind = ("test", "test") if verb == "test" else ("val", "validation")
    shards = _value(rest, "shards") or (data_places(Path(own.run))["shards"] if own.run else None)
    if shards is not None and not any(Shards(shards).shard_sizes(split)):
        raise InputError(
            f"{shards}: holds no {kind} tracks, so there is nothing to measure; {verb} a run that "
            "was fitted with some held out, or name shards that have some: --data.shards DIR"
        )


def _moved_data(folder: Path, rest: Sequence[str]) -> list[str]:
    """Flags for a run's data that doesn't lie where the run's configuration says.

    Raises:
        InputError: it has gone, and `rest`, the other arguments, doesn't name it.
    """
    configs = any(arg.startswith(("--config", "-c", "--data=")) or arg == "--data" for arg in rest)
    named = [key for key in KEYS if configs or _value(rest, key) is not None]
    must_be_named(folder, lost_places(folder), named, "--data.{}")
    old, now = read_config(folder)["data"], data_places(folder)
    return [f"--data.{key}={place}" for key, place in now.items() if place != old.get(key)]


def _test(own: argparse.Namespace, preparation: Preparation, ranker: Ranker | None) -> Preparation:
    if own.lengths and own.candidates == "cold":
        raise InputError("--lengths says what ranks warm beside cold: it needs --candidates mixed")
    if own.warm_up and (own.candidates != "cold" or own.drop_each):
        raise InputError(
            "--warm-up ranks the test tracks alone, so it goes without --candidates mixed and "
            "--drop-each"
        )
    if own.warm_up and own.engine != "local":
        raise InputError("--warm-up measures on this machine alone; leave --engine spark out")
    if own.engine != "local" and ranker is None:
        raise InputError("--engine spark is of `coldstart test` itself; leave it out here")
    report = TestReport(
        rivals=not own.no_rivals,
        name=results_name(own),
        content=None if own.no_rivals else stages.content_of(preparation.folder),
        candidates=own.candidates,
        lengths=own.lengths,
        warm_up=own.warm_up,
        run=Path(own.run) if own.run else None,
        ranker=ranker,
    )
    args = [*preparation.args, *([f"--data.drop=[{own.drop}]"] if own.drop else [])]
    return preparation._replace(args=args, callbacks=[*preparation.callbacks, report])


def results_name(own: argparse.Namespace) -> str:
    """The name of a test's files, without their endings."""
    kind = "_mixed" if own.candidates == "mixed" else ""
    without = f"_without_{own.drop}" if own.drop else ""
    return str(own.results or f"{'warm_up' if own.warm_up else 'results'}{kind}{without}")


def _config_of(folder: Path) -> Path:
    read_config(folder)  # says what is wrong, where Lightning would not
    return folder / "config.yaml"


def _names_encoders(args: Sequence[str]) -> bool:
    return any(arg.startswith("--model") for arg in args)


def _value(args: Sequence[str], key: str) -> str | None:
    """The last `--data.KEY` of a command line."""
    return next(reversed(values_of(args, f"--data.{key}")), None)
