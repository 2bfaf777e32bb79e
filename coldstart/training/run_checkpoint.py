"""Keeping a run's checkpoints, so that a fit that was interrupted can be resumed exactly.

`best.ckpt` is the model with the lowest validation loss, or, of a fit without a validation, the
model after the last epoch. `last.ckpt` is where training is: written
after epochs, every few minutes within them, when a SIGTERM comes, and at the end.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from coldstart.data import random_state
from coldstart.errors import InputError, Preempted
from coldstart.files import atomic, local, remove_half
from coldstart.model.checkpoint import LAST
from coldstart.sigterm import Sigterm
from coldstart.training.ranks import gather

log = logging.getLogger(__name__)

_ASK = 10
"""Steps after which several ranks ask each other whether to save: a GPU waits for the answer."""


class AtomicIO(TorchCheckpointIO):
    """Writes a checkpoint beside the old one, then takes its place: one of them is always whole."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write it, down to the disk: the machine itself may be about to go."""
        with atomic(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class RunCheckpoint(ModelCheckpoint):
    """Keeps `checkpoints/best.ckpt` and `checkpoints/last.ckpt` in the run's folder."""

    def __init__(self, minutes: float = 5.0) -> None:
        """Checkpoints of a run.

        Args:
            minutes: while an epoch lasts, save where training is this often; 0: after each step.
                `predict` saves what it has as often.
        """
        super().__init__(monitor="val_loss", filename="best", enable_version_counter=False)
        if minutes < 0:
            raise InputError(f"checkpoint.minutes is 0 or more, not {minutes}")
        self.minutes = minutes
        self._saved_at, self._took = time.monotonic(), 0.0
        self._sigterm = Sigterm()
        self._resumed: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checkpoints lie in the run's folder, wherever loggers write."""
        self.dirpath = str(local(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        self._resumed, self._sigterm = {}, Sigterm()
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicIO()
        if trainer.is_global_zero:
            for half in Path(self.dirpath).glob(".*.ckpt"):
                remove_half(half)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A fit that is to be validated, and never is, would have no best model to keep."""
        every, most = trainer.check_val_every_n_epoch or 1, trainer.max_epochs or -1
        if 0 < most < every and _validates(trainer):
            raise InputError(
                f"trainer: a fit of max_epochs {most} would never validate, since "
                f"check_val_every_n_epoch is {every}; raise the one or lower the other"
            )
        super().on_fit_start(trainer, pl_module)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a SIGTERM is answered."""
        self._sigterm.listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on exactly as it was; and remove figures of weights that are about to be replaced."""
        self._sigterm.listen()
        if trainer.is_global_zero:
            for results in Path(trainer.default_root_dir).glob("results*.*"):
                results.unlink()
        super().on_train_start(trainer, pl_module)
        self._saved_at = time.monotonic()
        if self._resumed:
            _restore(trainer, self._resumed)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where training is if it is time, on any rank, and nothing else comes first."""
        if trainer.world_size > 1 and self.minutes and (batch_idx + 1) % _ASK:
            return
        due = self._sigterm.received or time.monotonic() - self._saved_at >= 60 * self.minutes
        if _is_between(trainer, batch_idx) and _any(trainer, due):
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the best model, then where training is; of short epochs, not each time."""
        if _validates(trainer):
            super().on_train_epoch_end(trainer, pl_module)
        elif _is_last_epoch(trainer) and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(str(self.dirpath)) / "best.ckpt", weights_only=False)
        wait = min(60 * self.minutes, 20 * self._took)
        due = self._sigterm.received or time.monotonic() - self._saved_at >= wait
        if _is_last_epoch(trainer) or _any(trainer, due):
            self._save_last(trainer)
        if trainer.fit_loop.restarting:  # a resumed epoch: Lightning would leave it
            _look_at_loss(trainer, trainer.current_epoch + 1, trainer.callback_metrics)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning doesn't keep: all ranks' random generators, and the last metrics."""
        checkpoint["generators"] = gather(trainer, random_state.states(pl_module.device))
        checkpoint["metrics"] = dict(trainer.callback_metrics)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember them until training starts: loaders and the sanity check come before."""
        self._resumed = {key: checkpoint.get(key) for key in ("generators", "metrics")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The best model lies where this run lies now; its folder may have been moved."""
        path, scores = str(Path(str(self.dirpath)) / "best.ckpt"), state_dict["best_k_models"]
        best = path if scores else ""
        here = {
            "dirpath": self.dirpath,
            "best_k_models": dict(zip([path], scores.values(), strict=False)),
            "best_model_path": best,
            "kth_best_model_path": best,
        }
        super().load_state_dict({**state_dict, **here})

    def _save_last(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        path, began = Path(str(self.dirpath)) / LAST, time.monotonic()
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - began
        if any(gather(trainer, self._sigterm.received)):
            raise Preempted(path) if trainer.is_global_zero else SystemExit(0)


def minutes_of(trainer: Trainer) -> float:
    """How often what is done is to be saved."""
    kept = [c for c in trainer.checkpoint_callbacks if isinstance(c, RunCheckpoint)]
    return kept[0].minutes if kept else RunCheckpoint().minutes


def _any(trainer: Trainer, mine: bool) -> bool:
    """Whether it is so on any rank."""
    return trainer.strategy.reduce_boolean_decision(mine, all=False)


def _validates(trainer: Trainer) -> bool:
    """Whether a fit is validated."""
    return trainer.limit_val_batches != 0


def _is_last_epoch(trainer: Trainer) -> bool:
    """Whether the fit ends with this epoch."""
    epochs = 0 < (trainer.max_epochs or -1) <= trainer.current_epoch + 1
    return trainer.should_stop or epochs or 0 < trainer.max_steps <= trainer.global_step


def _is_between(trainer: Trainer, batch_idx: int) -> bool:
    """Whether neither gathered gradients nor a validation that is due would be lost here."""
    loop, every = trainer.fit_loop, trainer.val_check_batch
    number = loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    validates = every is not None and (number + 1) % every == 0
    whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
    return whole and not validates and not trainer.is_last_batch


def _restore(trainer: Trainer, resumed: dict[str, Any]) -> None:
    """Restore what Lightning doesn't."""
    if trainer.max_steps != -1 and trainer.is_last_batch:
        raise InputError(
            "Lightning can't resume from the end of an epoch under trainer.max_steps; give "
            "--trainer.max_steps -1 and --trainer.max_epochs in its place"
        )
    mine, metrics = resumed["generators"] or [], resumed["metrics"] or {}
    if len(mine) == trainer.world_size:
        random_state.restore(mine[trainer.global_rank], trainer.strategy.root_device)
    elif trainer.is_global_zero:
        log.warning(
            f"resumed with {trainer.world_size} processes, after {len(mine)}: the same model, but "
            "not the very weights that an uninterrupted fit would have made"
        )
    if not trainer.is_last_batch:
        return
    # An epoch had ended; what follows comes after its checkpoint.
    _look_at_loss(trainer, trainer.current_epoch, metrics)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
            trainer.should_stop = True


def _look_at_loss(trainer: Trainer, epochs: int, metrics: Mapping[str, Any]) -> None:
    """Step the schedulers that look at a metric, after so many epochs."""
    for config in trainer.lr_scheduler_configs:
        due = config.interval == "epoch" and epochs % config.frequency == 0
        value = metrics.get(str(config.monitor))
        if config.reduce_on_plateau and due and value is not None:
            trainer.lightning_module.lr_scheduler_step(config.scheduler, value)
