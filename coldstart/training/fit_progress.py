"""How far a fit, or another of Lightning's verbs, has come: in the package's one style."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar

from coldstart.reporting.progress import Progress

SHOWN = ("train_loss", "val_loss", "val_ndcg")
"""Figures that stand beside the progress, once they are known."""


class FitProgress(ProgressBar):
    """Epochs and the newest figures of a fit; batches of what is measured or predicted.

    Nothing is shown unless `reporting.progress.showing` says so, as the command line does.
    """

    def __init__(self) -> None:
        """One display at a time."""
        super().__init__()
        self._wanted = True
        self._stack = contextlib.ExitStack()
        self._display: Progress | None = None

    def disable(self) -> None:
        """Show nothing, as on all ranks but the first."""
        self._wanted = False

    def enable(self) -> None:
        """Show it again."""
        self._wanted = True

    def _open(self, display: Progress) -> None:
        self._close()
        if self._wanted:
            self._display = self._stack.enter_context(display)

    def _close(self) -> None:
        self._stack.close()
        self._display = None

    def _step(self) -> None:
        if self._display is not None:
            self._display.add()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of all epochs together; a head that is solved has no steps to count."""
        if is_solved(pl_module):
            self._open(Progress("solving the fusion head"))
            return
        epochs = trainer.max_epochs or 0
        batches = self.total_train_batches
        if trainer.max_steps > 0 and not epochs > 0:
            total, done = float(trainer.max_steps), float(trainer.global_step)
        else:
            progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
            within = progress.processed
            total = max(epochs, 0) * batches
            done = trainer.current_epoch * batches + (within % batches if batches else 0)
        display = Progress(_epoch(trainer), total if math.isfinite(total) else None, done=done)
        display.note = lambda: figures_now(trainer)
        display.longest = any(isinstance(c, EarlyStopping) for c in _callbacks(trainer))
        self._open(display)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the epoch."""
        if self._display is not None and not is_solved(pl_module):
            self._display.what = _epoch(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count."""
        if not is_solved(pl_module):
            self._step()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What follows is said by others."""
        self._close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Of a fit, a part of its epoch; else what is done."""
        if trainer.state.fn == "validate":
            self._begin("validating", trainer.num_val_batches)
        elif self._display is not None and is_solved(pl_module):
            self._display.now("measuring on the validation tracks")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Batches of all test tracks."""
        self._begin("testing", trainer.num_test_batches)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Batches of all tracks."""
        self._begin("predicting", trainer.num_predict_batches)

    def _begin(self, what: str, batches: Any) -> None:
        total = float(sum(batches) if isinstance(batches, list) else batches)
        self._open(Progress(what, total if math.isfinite(total) else None, "batches"))

    def on_validation_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        """Count, where it is no part of a fit."""
        if trainer.state.fn == "validate":
            self._step()

    def on_test_batch_end(self, *rest: Any) -> None:
        """Count."""
        self._step()

    def on_predict_batch_end(self, *rest: Any) -> None:
        """Count."""
        self._step()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make room for Lightning's table."""
        if trainer.state.fn == "validate":
            self._close()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What follows has its own progress."""
        self._close()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """It is done."""
        self._close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave no line behind."""
        self._close()


def is_solved(module: Any) -> bool:
    """Whether a fit solves for the weights instead of stepping towards them."""
    return bool(getattr(getattr(module, "fusion", None), "closed_form", False))


def _epoch(trainer: Trainer) -> str:
    most = trainer.max_epochs or -1
    return f"epoch {trainer.current_epoch + 1}{f' of {most}' if most > 0 else ''}"


def figures_now(trainer: Trainer) -> str:
    """The newest figures of a fit, as text."""
    known = trainer.callback_metrics
    return ", ".join(f"{name} {float(known[name]):#.3g}" for name in SHOWN if name in known)


def _callbacks(trainer: Trainer) -> list[Any]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks
