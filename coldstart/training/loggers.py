"""Lightning's loggers by one flag each; and what they are told beside losses: the configuration,
and a test's figures and tables.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import (
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from coldstart.errors import InputError
from coldstart.files import fingerprint, write_json
from coldstart.forms.content import json_in, must_have_form, table_of, text
from coldstart.reporting.log import verbosity
from coldstart.runs.config import content_of_config
from coldstart.training.flags import FLAGS

log = logging.getLogger(__name__)

NEED_A_PLACE = ("CSVLogger", "TensorBoardLogger")
"""Loggers that Lightning doesn't make without a folder to write to."""

NEED_A_PACKAGE = {"TensorBoardLogger": "tensorboard", "MLFlowLogger": "mlflow"}
"""Loggers whose packages don't come with ours."""

NOTE = "loggers.json"
"""In a run's folder: what its fit is called where it was logged."""

SERVER = os.environ.get("MLFLOW_TRACKING_URI")
"""MLflow's, as it was named when the process began: MLflow itself writes the last one there."""

PROJECT = "coldstart"
"""What W&B calls a project, and MLflow an experiment, where nobody names it."""

_DEFAULT_NAME, _DEFAULT_PLACE, _FILE = "lightning_logs", "./mlruns", "mlflow.db"


class LogPlace(NamedTuple):
    """Where a run logs.

    Attributes:
        verb: which of Lightning's is running.
        folder: of the run.
        before: where the run's folder was when it was fitted; None: nobody knows.
        version: of the verb's files in the folder `logs`.
        goes_on: whether what was logged before is continued.
    """

    verb: str
    folder: str
    before: str | None
    version: str
    goes_on: bool


def with_place(args: Sequence[str]) -> list[str]:
    """Arguments of a verb; a logger that needs a place has the run's folder, unless it has one.

    >>> with_place(["--trainer.logger", "TensorBoardLogger"])
    ['--trainer.logger', 'TensorBoardLogger', '--trainer.logger.save_dir=.']
    """
    own = ("--trainer.logger.save_dir", "--trainer.logger.init_args.save_dir")
    name, placed = "", any(arg.startswith(own) for arg in args)
    for flag, value in zip(["", *args], [*args, ""], strict=True):
        if flag == "--trainer.logger" or value.startswith("--trainer.logger="):
            name = value.removeprefix("--trainer.logger=")
        elif flag == "--config" or value.startswith("--config="):
            name = _unplaced_in(value.removeprefix("--config=")) or name
    needs = name.rpartition(".")[2] in NEED_A_PLACE and not placed
    return [*args, *(["--trainer.logger.save_dir=."] if needs else [])]


def _unplaced_in(config: str) -> str:
    """The class of the only logger in a configuration's file, or its text, if it has no folder."""
    content = content_of_config(config)
    trainer = content.get("trainer") if isinstance(content, Mapping) else None
    logger = trainer.get("logger") if isinstance(trainer, Mapping) else None
    if isinstance(logger, Mapping):
        placed = "save_dir" in (logger.get("init_args") or {})
        return "" if placed else str(logger.get("class_path", ""))
    return logger if isinstance(logger, str) else ""


def settle(loggers: Any, place: LogPlace) -> None:
    """Settle what the configuration of loggers leaves open: where they write, and as what.

    Args:
        loggers: `trainer.logger` of a parsed configuration: one, several, or none.
        place: where the run logs.

    Raises:
        InputError: a logger's package isn't installed.
    """
    known = _noted(place.folder) if place.goes_on else {}
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if not hasattr(logger, "init_args"):
            continue
        name, settings = logger.class_path.rpartition(".")[2], logger.init_args
        package = NEED_A_PACKAGE.get(name)
        if package and not importlib.util.find_spec(package):
            raise InputError(
                f"trainer.logger: {name} needs a package that isn't installed; "
                f"`pip install {package}`, or `pip install 'coldstart[loggers]'` for all of them"
            )
        if name == "MLFlowLogger":
            _settle_mlflow(settings, place, known)
        elif settings.get("save_dir") in (None, ".", place.before):
            # A run that was moved logs where it lies now.
            settings["save_dir"] = place.folder
        if name in NEED_A_PLACE:
            if settings.get("name") == _DEFAULT_NAME:
                settings["name"] = "logs"
            if settings.get("version") in (None, *FLAGS):
                settings["version"] = place.version if name == "CSVLogger" else place.verb
        if name == "WandbLogger":
            _settle_wandb(logger, place, known.get(name))


def _settle_mlflow(settings: Any, place: LogPlace, known: Mapping[str, str]) -> None:
    """By default, a database in the run's folder: MLflow keeps no new runs in plain files."""
    if settings.get("save_dir") in (None, ".", _DEFAULT_PLACE, place.before):
        settings["save_dir"] = place.folder
    if settings.get("tracking_uri") is None:  # as in a saved config
        settings["tracking_uri"] = SERVER
    if settings["tracking_uri"] is None:
        folder = Path(settings["save_dir"]).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        settings["tracking_uri"] = _database(settings["save_dir"])
        settings["artifact_location"] = (folder / "mlruns").as_uri()
    if settings.get("experiment_name") == _DEFAULT_NAME:
        settings["experiment_name"] = PROJECT
    if settings.get("run_name") is None:
        settings["run_name"] = Path(place.folder).absolute().name
    same = known.get("server") == _server(settings["tracking_uri"])
    if settings.get("run_id") is None and same:
        settings["run_id"] = known.get("MLFlowLogger")


def _settle_wandb(logger: Any, place: LogPlace, run: str | None) -> None:
    settings = logger.init_args
    if settings.get("project") is None:
        settings["project"] = os.environ.get("WANDB_PROJECT", PROJECT)
    if settings.get("name") is None:
        settings["name"] = Path(place.folder).absolute().name
    more: dict[str, Any] = {}
    if run and settings.get("id") is None and settings.get("version") is None:
        settings["id"], more["resume"] = run, "allow"
    if settings.get("offline"):
        more["mode"] = "offline"  # Lightning sets a variable, which W&B reads once a process
        if verbosity() != "verbose":
            _silence_wandb()  # what is to be known, `RunLog` says
    if more:
        logger["dict_kwargs"] = {**more, **(logger.get("dict_kwargs") or {})}
    # W&B stages tables outside the run's folder unless it is told otherwise.
    os.environ.setdefault("WANDB_DATA_DIR", str(Path(place.folder) / "wandb"))


def _silence_wandb() -> None:
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    wandb.termsetup(wandb.Settings(silent=True), None)  # or it would complain of Lightning first


def as_saved(loggers: Any) -> None:
    """Leave out of a configuration what `settle` finds again, wherever the run lies then."""
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if hasattr(logger, "init_args") and logger.class_path.endswith("MLFlowLogger"):
            settings = logger.init_args
            if settings["tracking_uri"] == _database(settings["save_dir"]):
                settings["artifact_location"] = settings["tracking_uri"] = None
            elif settings["tracking_uri"] == SERVER:
                settings["tracking_uri"] = None


def _has_artifacts(logger: MLFlowLogger) -> bool:
    """Whether a run's files still have their place: MLflow would make anew what was moved."""
    address = urlsplit(logger.experiment.get_run(str(logger.run_id)).info.artifact_uri)
    if address.scheme != "file":
        return True
    artifacts = Path(url2pathname(address.path))  # FOLDER/mlruns/RUN/artifacts
    return len(artifacts.parents) < 3 or artifacts.parents[2].is_dir()


def _database(folder: str) -> str:
    return f"sqlite:///{Path(folder).absolute().as_posix()}/{_FILE}"


def _server(address: str) -> str:
    """What tells MLflow's servers apart; empty for a database of ours, which may be moved."""
    own = address.startswith("sqlite:///") and address.endswith(f"/{_FILE}")
    return "" if own else fingerprint(address)


def _noted(run: str) -> dict[str, str]:
    note = Path(run) / NOTE
    if not note.is_file():
        return {}
    remedy = "delete it: the next test is logged by itself then"
    content: dict[str, str] = json_in(note, remedy)
    must_have_form(content, table_of(text), note, remedy)
    return content


def flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names, as on the command line; a list is text.

    >>> dict(flat({"model": {"encoders": {"mgp": {"hidden": [8, 8]}}}, "seed_everything": 0}))
    {'model.encoders.mgp.hidden': '[8, 8]', 'seed_everything': 0}
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{key}.")
        elif isinstance(value, str | int | float):
            yield f"{above}{key}", value
        else:
            yield f"{above}{key}", json.dumps(value, default=str)


class RunLog(Callback):
    """Gives a fit's loggers the configuration, and at least one training loss an epoch."""

    def __init__(self, config: Mapping[str, Any], goes_on: bool, every_epoch: bool) -> None:
        """Of a fit.

        Args:
            config: the whole of it.
            goes_on: whether the fit was begun earlier, and is logged already.
            every_epoch: whether a loss is logged at least once an epoch.
        """
        self._settings, self._goes_on = dict(flat(config)), goes_on
        self._every_epoch = every_epoch

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the configuration; note what the fit is called there, so that a test joins it."""
        if not trainer.is_global_zero:
            return
        known = {}
        for logger in trainer.loggers:
            # What MLflow has been told once, it keeps: of a resumed fit, too.
            if not (self._goes_on and isinstance(logger, MLFlowLogger)):
                logger.log_hyperparams(self._settings)
                logger.save()
            if isinstance(logger, MLFlowLogger | WandbLogger):
                known[type(logger).__name__] = str(logger.version)
            if isinstance(logger, MLFlowLogger):
                known["server"] = _server(str(logger._tracking_uri))
            if isinstance(logger, WandbLogger) and logger.experiment.offline:
                folder = Path(logger.experiment.dir).parent
                log.info(f"W&B: logged offline; `wandb sync {folder}` uploads it")
        note = Path(trainer.default_root_dir) / NOTE
        if known:
            write_json(note, known)
        else:
            note.unlink(missing_ok=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of few tracks, an epoch has fewer steps than lie between two lines of a log."""
        whole: Any = trainer
        steps = whole.num_training_batches
        if self._every_epoch and 0 < steps < whole.log_every_n_steps:
            whole.log_every_n_steps = int(steps)


def log_test(
    trainer: Trainer,
    name: str,
    figures: Mapping[str, Any],
    tables: str,
    rows: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Log what came out of a test: its figures as metrics, and its tables where they can be shown.

    Args:
        trainer: with the loggers.
        name: of the test's files: `results`, or another one, which the metrics' names then bear.
        figures: of our model; those that are no numbers are left out.
        tables: for people.
        rows: of the first table, with our model, floors and rivals.
    """
    kind = name.removeprefix("results").strip("_")
    begin = f"test_{kind}_" if kind else "test_"
    metrics = {f"{begin}{key}": v for key, v in figures.items() if isinstance(v, float)}
    for logger in trainer.loggers:
        if metrics:
            logger.log_metrics(metrics)
        _log_tables(logger, f"test_{name}", tables, rows)
        logger.save()


def _log_tables(logger: Logger, name: str, tables: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(logger, WandbLogger) and rows:
        logger.log_table(name, [*rows[0]], [list(row.values()) for row in rows])
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_text(name, tables)
    elif isinstance(logger, MLFlowLogger) and _has_artifacts(logger):
        logger.experiment.log_text(str(logger.run_id), f"{tables}\n", f"{name}.md")
