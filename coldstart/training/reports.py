"""What a fit and a test report: fit.json, results.json and the table, in the run's folder, which is
the trainer's `default_root_dir`.
"""

from __future__ import annotations

import logging
import math
import shlex
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from coldstart.data.batch import Batch
from coldstart.encoders.base import WholeTrack
from coldstart.errors import InputError
from coldstart.evaluation import evaluate, results, tables
from coldstart.evaluation.metrics import means
from coldstart.evaluation.rankings import Ranker
from coldstart.evaluation.rivals.by_factors import RIVAL_USERS
from coldstart.evaluation.tasks import Lengths, Task, TestCandidates, ranking_task
from coldstart.files import write_json
from coldstart.model.checkpoint import weights_id
from coldstart.model.net import Net, Prediction
from coldstart.model.predictions import OnePiece, Predictions, TrackMeans, as_array
from coldstart.targets.attributes import Attributes
from coldstart.targets.track_factors import TrackFactors, cosine_distance
from coldstart.training.ensemble import choice_of, measure_warm_up
from coldstart.training.ensemble import placed as placed_in
from coldstart.training.fit_progress import figures_now, is_solved
from coldstart.training.inputs import warn_of_size
from coldstart.training.loggers import log_test
from coldstart.training.ranks import gather, merged, parts_of

log = logging.getLogger(__name__)


class FitReport(Callback):
    """Writes how a fit went to `fit.json`: epochs, seconds an epoch, parameters, and the figures of
    each validation: whatever is logged then, whichever logger there is.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start anew."""
        self.seconds: list[float] = []
        self.validations: list[dict[str, Any]] = []
        self.began: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say at once what may take hours."""
        if isinstance(pl_module, Net):
            warn_of_size(pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop it; validation is within. The rest of an epoch that was cut off doesn't count."""
        if self.began is not None:
            self.seconds.append(time.perf_counter() - self.began)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep its figures; one that is not finite, as of a fit that diverged, is None."""
        if trainer.sanity_checking:
            return
        figures = {
            name: float(value) if math.isfinite(value) else None
            for name, value in trainer.callback_metrics.items()
            if not name.startswith("train")
        }
        at = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        self.validations.append({**at, **figures})

    def state_dict(self) -> dict[str, Any]:
        """What was measured before an interruption counts too."""
        return {"seconds": self.seconds, "validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on."""
        self.seconds = list(state_dict["seconds"])
        self.validations = list(state_dict.get("validations", []))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        if trainer.is_global_zero and self.seconds:
            about = {
                "epochs": trainer.current_epoch,
                "seconds": round(sum(self.seconds), 2),
                "seconds_per_epoch": round(statistics.median(self.seconds), 4),
                "parameters": sum(p.numel() for p in pl_module.parameters() if p.requires_grad),
                "device": str(pl_module.device),
                "processes": trainer.world_size,
                "validations": self.validations,
            }
            write_json(Path(trainer.default_root_dir) / "fit.json", about)
            if not is_solved(pl_module):
                epochs = f"{trainer.current_epoch} epoch{'' if trainer.current_epoch == 1 else 's'}"
                log.info(f"fitted {epochs}, at the end: {figures_now(trainer)}")


class RankingOnValidation(Callback):
    """Logs NDCG of the validation tracks, ranked for their users, at each validation: `val_ndcg`.

    A figure that a checkpoint, early stopping or `coldstart tune` may go by: no test track is
    asked. Users beyond `users` are sampled, evenly.
    """

    def __init__(self, users: int = RIVAL_USERS) -> None:
        """For at most so many users."""
        self.users = users

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start anew: other data, other tracks."""
        self.task: tuple[list[str], Task] | None = None

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self.means = TrackMeans()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect a batch."""
        self.means.add(outputs.track_ids, outputs.values)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rank; every rank has all tracks, and finds the same."""
        model, data = parts_of(trainer, pl_module)
        if not isinstance(model.target, TrackFactors):
            raise InputError("RankingOnValidation: this model predicts no factors to rank by")
        predictions = merged(trainer, data, self.means)
        if self.task is None or self.task[0] != predictions.track_ids:  # once, not at each epoch
            task = ranking_task(data.space(), predictions.track_ids).sample(self.users)
            self.task = predictions.track_ids, task
        ndcg = means(self.task[1].figures(predictions.values)).ndcg
        pl_module.log("val_ndcg", ndcg, prog_bar=True, rank_zero_only=True)


class TestReport(Callback):
    """Collects a test's outputs, and writes the figures.

    Attributes:
        text: after the test, the figures as tables for people: `print(report.text)`.
        next_step: after the test of a run, the command to try next; else empty.
    """

    __test__ = False  # pytest: not a test
    text: str = ""
    next_step: str = ""

    def __init__(
        self,
        rivals: bool = True,
        name: str = "results",
        content: Net | None = None,
        candidates: TestCandidates = "cold",
        lengths: Lengths | None = None,
        warm_up: bool = False,
        run: Path | None = None,
        ranker: Ranker | None = None,
    ) -> None:
        """A report.

        Args:
            rivals: also fit nearest neighbours and ridge on the training tracks' content.
            name: of the files, without their endings.
            content: whose encoders describe the content to the rivals; the model's own by
                default. A second stage reads what single nets made of it, and rivals must not.
            candidates: `cold`, or `mixed` with warm ones.
            lengths: for mixed ones, what ranks: `ensemble`, which is the default, `unit`, `typical`
                or `own`.
            warm_up: measure the warm-up curve instead.
            run: folder of the run whose ensemble it is; None: the numbers are chosen for this test.
            ranker: what ranks the test tracks, elsewhere; None: this process.
        """
        self.rivals, self.name, self.content = rivals, name, content
        self.candidates, self.warm_up, self.run = candidates, warm_up, run
        self.ranker = ranker
        self.lengths: Lengths = lengths or ("ensemble" if candidates == "mixed" else "unit")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self.means, self.truth, self.patches = TrackMeans(), TrackMeans(), OnePiece()
        self.losses = torch.zeros(2, dtype=torch.float64)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect a batch: outputs by track, and the distance of single pieces."""
        assert isinstance(outputs, Prediction)
        self.means.add(outputs.track_ids, outputs.values)
        self.patches.add(outputs.track_ids, outputs.values)
        has = batch.target.present
        true = batch.target.values[has]
        self.truth.add(
            [t for t, known in zip(batch.track_ids, has.tolist(), strict=True) if known], true
        )
        if len(true) and isinstance(pl_module.target, TrackFactors):
            distance = cosine_distance(outputs.values[has], true).double()
            self.losses += torch.stack([distance.sum(), has.sum()]).cpu()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute and write the figures."""
        model, data = parts_of(trainer, pl_module)
        predictions = merged(trainer, data, self.means)
        losses = sum(gather(trainer, self.losses))
        drawn = merged(trainer, data, self.patches)
        name = "+".join(model.encoders)
        if isinstance(model.target, Attributes) and not self.warm_up:
            truth = merged(trainer, data, self.truth)
            if trainer.is_global_zero:
                path = Path(trainer.default_root_dir) / f"{self.name}.json"
                about = _correlations(model.target, predictions, truth)
                write_json(path, {**about, "weights": weights_id(model)})
                self.text = _correlation_text(about)
                log_test(trainer, self.name, about, self.text)
                log.info(f"wrote {path}")
            return
        if not trainer.is_global_zero:
            return

        root = Path(trainer.default_root_dir)
        placed = None
        if self.warm_up or self.lengths == "ensemble":
            choice = choice_of(self.run, model, data, predictions)
            if self.warm_up:
                self.text = measure_warm_up(choice, data, predictions, root, self.name)
                log_test(trainer, self.name, {}, self.text)
                return
            placed = placed_in(choice, data, predictions, model.target.length)

        content = (self.content or model).to(model.device)
        readers = [reader for _, reader in model.lend().readers.values()]
        patched = not all(isinstance(reader, WholeTrack) for reader in readers)
        data.lend(content.lend()._replace(listening=model.listening))

        def describe(batch: Batch) -> torch.Tensor:
            moved = trainer.strategy.batch_to_device(batch)
            return content.describe(moved.inputs)

        patches = None
        if patched and losses[1]:
            patches = evaluate.Patches(float(losses[0] / losses[1]), drawn)
        about, rows, by_user = evaluate.evaluate(
            predictions,
            patches,
            describe,
            data,
            name,
            self.rivals,
            candidates=self.candidates,
            lengths=self.lengths,
            placed=placed,
            unknown=model.target.unknown,
            ranker=self.ranker,
        )
        about["best_epoch"] = model.best_epoch
        about["weights"] = weights_id(model)
        about["parameters"] = sum(p.numel() for p in model.parameters())
        results.write_results(root, about, rows, self.name, by_user)
        self.text = tables.text_of(about, rows, "simple")
        table = [row._asdict() for row in rows]
        log_test(trainer, self.name, table[0], tables.text_of(about, rows), table)
        beside = f"{self.name}.csv and {results.by_user_name(self.name)}"
        log.info(f"wrote {root / self.name}.json, {beside}")
        if (root / "config.yaml").is_file():  # else a trainer made in Python, and no run
            track = shlex.quote(predictions.track_ids[0])
            self.next_step = f"coldstart recommend --run {root} --like={track}"


def _correlations(
    target: Attributes, predictions: Predictions, truth: Predictions
) -> dict[str, Any]:
    """How well a listener estimates each attribute: correlation with the annotators."""
    at = {track: i for i, track in enumerate(predictions.track_ids)}
    guess = as_array(predictions.values)[[at[track] for track in truth.track_ids]]
    true = as_array(truth.values)
    spread = guess.std(0) * true.std(0)
    together = ((guess - guess.mean(0)) * (true - true.mean(0))).mean(0)
    correlation = np.where(spread > 0, together / np.where(spread > 0, spread, 1), 0.0)
    named = {n: round(float(c), 4) for n, c in zip(target.names, correlation, strict=True)}
    best = dict(sorted(named.items(), key=lambda item: -item[1]))
    mean = float(correlation.mean())
    return {"tracks": len(true), "mean_correlation": mean, "correlation": best}


def _correlation_text(about: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            f"correlation of estimated with human attributes over {about['tracks']:,} test tracks:",
            *(f"  {value:6.3f}  {name}" for name, value in about["correlation"].items()),
            f"  {about['mean_correlation']:6.3f}  mean (0 = no better than chance)",
        ]
    )
