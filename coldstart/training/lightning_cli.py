"""Lightning's CLI, with runs, shipped configs and two stages."""

from __future__ import annotations

import argparse
import difflib
import io
import logging
import pkgutil
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger

from coldstart import registry
from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError
from coldstart.evaluation.rankings import Ranker
from coldstart.files import atomic, local, reserved
from coldstart.model.ensemble import EnsembleSettings
from coldstart.reporting.foreign import hushed
from coldstart.reporting.log import verbosity
from coldstart.reporting.usage import with_nearest, without_options
from coldstart.runs.config import absolute_data, find_configs, read_config
from coldstart.runs.first_stage import NOTE, first_stage_of, write_first_stage
from coldstart.runs.places import fitted_in
from coldstart.training import flags, inputs, live, loggers, settings, stages
from coldstart.training.fit_content import content_flags
from coldstart.training.fit_progress import FitProgress
from coldstart.training.flags import Verb
from coldstart.training.lightning_module import ColdStart
from coldstart.training.preparation import (
    Preparation,
    checkpoint_of,
    must_be_safe_to_resume,
    prepare,
    run_folder,
)
from coldstart.training.ranks import is_first, is_main
from coldstart.training.run_checkpoint import RunCheckpoint
from coldstart.training.trust import no_pickles

log = logging.getLogger(__name__)

STAGE_FOLDS = 5
"""Nets for each encoder of a first stage, if nobody says how many."""


def lightning_cli(
    verb: Verb,
    args: Sequence[str],
    extra: Sequence[Callback] = (),
    *,
    named: str = "",
    ranker: Ranker | None = None,
) -> FitCLI:
    """Run one of Lightning's verbs.

    Beside Lightning's own flags there are those of `flags.FLAGS`.

    Args:
        verb: fit, validate, test or predict.
        args: as on the command line.
        extra: callbacks beside the config's.
        named: text in which classes are named that a run's config may build; see `trust`.
        ranker: what ranks for a `test`, elsewhere; None: this process.

    Returns:
        Lightning's CLI, with what was prepared for it; its trainer holds the callbacks, which have
        collected what came out.

    Raises:
        InputError: something that the user brought is wrong.
        SystemExit: after --help or --print_config, or for arguments that don't parse.
    """
    registry.load_all()
    own, rest = flags.parse(verb, args)
    theirs = nullcontext() if verbosity() == "verbose" else hushed()
    with _reserved(verb, own, rest), settings.named_in_errors(), theirs:
        return _run(verb, prepare(verb, own, rest, lightning_cli, named, ranker), extra)


def printed_config(args: Sequence[str]) -> dict[str, Any]:
    """What `coldstart fit ARGS --print_config` prints, without what differs from run to run.

    Raises:
        InputError: a fit would refuse the arguments.
    """
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            lightning_cli("fit", [*args, "--print_config"])
    except SystemExit as stop:
        if stop.code:
            raise
    config: dict[str, Any] = yaml.safe_load(output.getvalue())
    config["trainer"].pop("default_root_dir")
    absolute_data(config["data"])
    return config


def _reserved(
    verb: Verb, own: argparse.Namespace, rest: Sequence[str]
) -> AbstractContextManager[None]:
    """A fit has its folder to itself: of several ranks, the first one reserves it."""
    folder = run_folder(own, rest)
    shows = any(arg.startswith(("--print_config", "--help", "-h")) for arg in rest)
    if verb != "fit" or shows or not is_first():
        return nullcontext()
    return reserved(
        folder,
        f"{folder}: another fit is at work here; wait until it ends, or choose another --run",
    )


def _run(verb: Verb, prepared: Preparation, extra: Sequence[Callback]) -> FitCLI:
    configured = find_configs(prepared.args)
    if verb == "fit":
        configured += content_flags(configured)
    root = ["--trainer.default_root_dir", str(prepared.folder.absolute())]
    has_root = any(arg.startswith("--trainer.default_root_dir") for arg in prepared.args)
    return FitCLI(
        ColdStart,
        ColdStartData,
        args=[verb, *loggers.with_place(configured), *([] if has_root else root)],
        parser_class=_Parser,
        save_config_callback=_SaveConfig,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        trainer_defaults={"callbacks": [*prepared.callbacks, *extra]},
        parser_kwargs={verb: {"prog": f"coldstart {verb}"}},
        verb=verb,
        preparation=prepared,
    )


class _Parser(LightningArgumentParser):
    """Adds the list of choices to an error about a plugin's name, and the nearest to any name."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        for key, kind in registry.KIND_OF.items():
            if f'"model.{key}' in message and "Option" not in message:
                names = list(registry.discover(kind))
                given = re.search(r"dot import path string: (\w+)", message)
                near = difflib.get_close_matches(given[1], names, n=1) if given else []
                message += f"\n{kind} to choose from: {', '.join(names)}"
                message += f". Did you mean {near[0]}?" if near else ""
        own = [flag for options in flags.FLAGS.values() for flag in options]
        message = with_nearest(message, [*self._option_string_actions, *own])
        # The usage has a hundred lines here, and would hide the message.
        raise InputError(f"{message}\n`{without_options(self.prog)} --help` lists all options")


class _SaveConfig(SaveConfigCallback):
    """Saves the configuration of a fit into the run's folder."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            config = self.config.clone()
            loggers.as_saved(config.trainer.logger)
            config["ckpt_path"] = None  # what it was resumed from is no part of the recipe
            # In UTF-8, which `parser.save` doesn't promise.
            with atomic(Path(trainer.default_root_dir) / "config.yaml") as temporary:
                text = self.parser.dump(config, skip_unset=False)
                temporary.write_text(text, encoding="utf-8")


class FitCLI(LightningCLI):
    """Lightning's CLI for coldstart's runs.

    Attributes:
        preparation: the run's folder, our flags, and what else was prepared.
    """

    def __init__(self, *args: Any, verb: Verb, preparation: Preparation, **kwargs: Any) -> None:
        self.verb = verb
        self.preparation = preparation
        super().__init__(*args, **kwargs)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The verb that runs: parsers for all four, as Lightning's CLI makes them, take longer."""
        return {self.verb: LightningCLI.subcommands()[self.verb]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What a run's configuration holds beside Lightning's keys."""
        parser.add_lightning_class_args(RunCheckpoint, "checkpoint")
        parser.add_argument(
            "--like_run",
            type=str | None,
            default=None,
            help="Of a fit without validation: the run whose best number of epochs it trains for.",
        )
        parser.add_argument(
            "--ensemble",
            type=EnsembleSettings | None,
            default=EnsembleSettings(),
            help="How content and plays are joined; null: new tracks have their content alone.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Look at the keys of all configs first: the parser ignores one that stands for nothing."""
        verb, *rest = args
        keys = [action.dest for action in self._subcommand_parsers[verb]._actions]
        for flag, value in zip(["", *rest], [*rest, ""], strict=True):
            if flag in ("--config", "-c") or value.startswith("--config="):
                settings.must_exist(value.removeprefix("--config="), keys)
        super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """A checkpoint has no say in the configuration; Lightning's would take its settings."""

    def _set_seed(self) -> None:
        with settings.of("seed_everything"):
            super()._set_seed()

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Nothing is unpickled, whatever a configuration says; a prediction is kept by the callback
        that writes it, not by Lightning with all that fusion was given.
        """
        given = super()._prepare_subcommand_kwargs(subcommand)
        unkept = {"return_predictions": False} if subcommand == "predict" else {}
        return {**given, **unkept, "weights_only": True}

    def before_instantiate_classes(self) -> None:
        """Settle what the configuration leaves open."""
        config = self.config[self.subcommand]
        no_pickles(config.as_dict(), "config")
        settings.must_be_few(config.trainer.devices)
        _must_be_plugins(config.model)
        root = str(local(config.trainer.default_root_dir))
        config.ckpt_path = checkpoint_of(str(self.subcommand), root, config.ckpt_path)
        must_be_safe_to_resume(root)
        absolute_data(config.data)
        before = fitted_in(root) if (Path(root) / "config.yaml").is_file() else None
        loggers.settle(
            config.trainer.logger,
            loggers.LogPlace(self.verb, root, before, self._log_version(), self._goes_on),
        )
        if self.preparation.new_config:
            self._begin(Path(root))

    def _begin(self, run: Path) -> None:
        """Settle what a fit's configuration leaves open: its stages; and, without a validation, for
        how long it trains.
        """
        parser, config = self._parser(str(self.subcommand)), self.config[self.subcommand]
        whole = yaml.safe_load(parser.dump(config, skip_unset=False))
        if not whole.get("ckpt_path"):
            inputs.must_be_there(whole)
        like = whole.get("like_run")
        validated = live.validated_run(like) if like else None
        solved, unvalidated = stages.is_solved(whole), live.is_without_validation(whole)
        if validated is None and unvalidated:
            named = self.preparation.names_epochs
            live.must_know_epochs(whole, named, stages.trains_nets(whole))
        if validated is not None:
            live.compare(validated, whole)
        if validated is not None or unvalidated:
            live.without_validation(whole)
        encoders = self._encoders_of_stages(run, whole, validated)
        if encoders is not None:
            # Not merged into the old encoders: those have other arguments.
            whole["model"]["encoders"] = encoders
        if validated is not None:
            whole["trainer"]["max_epochs"] = validated.epochs
        elif unvalidated and solved:
            whole["trainer"]["max_epochs"] = 1  # more would change nothing
        if encoders is not None or validated is not None or unvalidated:
            self.config[self.subcommand] = parser.parse_object(whole)
            self._set_seed()
        if (validated is not None or unvalidated) and is_main():
            epochs = whole["trainer"]["max_epochs"]
            reason = "" if validated is None else f", as many as {like} has found best"
            log.info(f"no validation: the fit ends after epoch {epochs}{reason}")

    def _encoders_of_stages(
        self, run: Path, whole: dict[str, Any], validated: live.ValidatedRun | None
    ) -> dict[str, dict[str, Any]] | None:
        """Train the single nets, if wanted; the encoders that read what they computed."""
        options = self.preparation.flags
        if whole.get("ckpt_path"):
            if not (run / NOTE).is_file():
                return None
            if is_first():  # the new configuration won't say where the nets lay
                write_first_stage(run, first_stage_of(run))
            encoders: dict[str, dict[str, Any]] = read_config(run)["model"]["encoders"]
            return encoders  # as it was begun
        (run / NOTE).unlink(missing_ok=True)  # of the run that this one replaces
        number = options.stages
        if validated is not None:
            number = live.same_stages(validated, number)
        if number == 1 or (number is None and not stages.wanted(whole)):
            return None
        return stages.first_stage(
            {key: whole[key] for key in stages.RECIPE if key in whole},
            run,
            local(options.stage_dir) if options.stage_dir else run / "stage1",
            folds=options.stage_folds or (validated and validated.folds) or STAGE_FOLDS,
            vectors=options.stage_vectors or (validated and validated.vectors) or "factors",
            lightning=lightning_cli,
            epochs=validated.stage_epochs if validated else None,
        )

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """A model whose weights come from a checkpoint is built as that checkpoint says; an
        optimizer from the command line wants the layers now, before there is a trainer.
        """
        config = self.config[self.subcommand]
        checkpoint = config.get("ckpt_path")
        if checkpoint:
            self.model.build_like(checkpoint)
        elif config.get("optimizer"):
            self.model.build(self.datamodule.info, self.datamodule.training_samples)
        with settings.of("optimizer, lr_scheduler"):
            super()._add_configure_optimizers_method_to_model(subcommand)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Log to CSV files in the run's folder unless another logger was chosen."""
        config = self.config[self.subcommand].trainer
        if config.logger in (None, True):
            kwargs["logger"] = CSVLogger(config.default_root_dir, "logs", self._log_version())
        kwargs |= self._shown(self._get(self.config_init, "trainer"))
        with settings.of("trainer"):
            return super().instantiate_trainer(**kwargs)

    @property
    def _goes_on(self) -> bool:
        """Whether what a fit has logged is continued: by its resumption, or another verb."""
        return self.verb != "fit" or bool(self.config[self.subcommand].get("ckpt_path"))

    def _log_version(self) -> str:
        """The verb's folder within `logs`; a CSV logger would empty that of a resumed fit."""
        logs = Path(self.config[self.subcommand].trainer.default_root_dir) / "logs"
        if self.verb == "fit" and self._goes_on and (logs / "fit").exists():
            return f"fit-{sum(1 for _ in logs.glob('fit*')) + 1}"
        return self.verb

    def _shown(self, chosen: Any) -> dict[str, Any]:
        """What is shown of a fit: our progress unless another one was chosen, and a summary of the
        layers if it was asked for. Lightning's own would write both to stdout.

        Args:
            chosen: the trainer's settings.

        Returns:
            Those that take their place.
        """
        callbacks = chosen.callbacks or []
        callbacks = list(callbacks) if isinstance(callbacks, list) else [callbacks]
        wants = {"progress": chosen.enable_progress_bar, "summary": chosen.enable_model_summary}
        if wants["summary"] is None:
            wants["summary"] = verbosity() == "verbose"
        if wants["progress"] is not False and not _has(callbacks, ProgressBar):
            callbacks.append(FitProgress())
        if self.verb == "fit":
            text = self._parser(self.verb).dump(self.config[self.verb], skip_unset=False)
            every = self.config[self.verb].trainer.log_every_n_steps is None
            callbacks.append(loggers.RunLog(yaml.safe_load(text), self._goes_on, every))
        if wants["summary"] and not _has(callbacks, ModelSummary):
            callbacks.append(ModelSummary())
        return {"callbacks": callbacks, "enable_model_summary": wants["summary"]}


def _has(callbacks: Sequence[Any], kind: type) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


def _must_be_plugins(model: Any) -> None:
    """Parts that are named by a full path must load by name too, as a checkpoint's parts do.

    So a run's own config obeys what a user's does: COLDSTART_PLUGINS, and the interface's version.
    """
    for key, kind in registry.KIND_OF.items():
        parts = model[key].values() if key == "encoders" else [model[key]]
        for path in [part.class_path for part in parts if part is not None]:
            loaded = registry.load(kind, path.rpartition(".")[2])
            if pkgutil.resolve_name(path) is not loaded:
                raise InputError(
                    f"model.{key}: {path} is not the {kind} plugin of that name, which is "
                    f"{loaded.__module__}.{loaded.__name__}; a checkpoint could not be loaded again"
                )
