"""What a trainer writes: checkpoints, test results, predictions. All of it into the run's folder,
which is the trainer's `default_root_dir`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from coldstart.data import ColdStartData
from coldstart.errors import InputError
from coldstart.files import fingerprint
from coldstart.model import ColdStart, Prediction
from coldstart.predictions import OnePiece, Predictions, TrackMeans, as_array
from coldstart.runs import Vectors, read_config
from coldstart.sharding import add_vectors
from coldstart.shards import Shards
from coldstart.streams import Batch, fold_of
from coldstart.targets import Attributes, TrackFactors


def parts_of(trainer: Trainer, module: LightningModule) -> tuple[ColdStart, ColdStartData]:
    """The model and the data, which our callbacks need to be coldstart's."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(module, ColdStart) or not isinstance(data, ColdStartData):
        raise InputError("coldstart's callbacks need a ColdStart model and a ColdStartData")
    return module, data


def gather(trainer: Trainer, mine: Any) -> list[Any]:
    """Every rank's value, on every rank."""
    if trainer.world_size == 1:
        return [mine]
    everyone: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def merged(trainer: Trainer, mine: TrackMeans | OnePiece) -> Predictions:
    """What all ranks have collected, on every rank."""
    parts = [part for part in gather(trainer, mine.done() if mine.seen else None) if part]
    if not parts:
        mine.done()  # says that nothing came
    ids = [track for part in parts for track in part.track_ids]
    return Predictions(ids, torch.cat([part.values for part in parts]))


class RunCheckpoint(ModelCheckpoint):
    """Keeps the best model as `checkpoints/best.ckpt`, and the last one as `last.ckpt`."""

    def __init__(self) -> None:
        super().__init__(
            monitor="val_loss",
            filename="best",
            save_last=True,
            enable_version_counter=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checkpoints lie in the run's folder, wherever loggers write."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without a validation there would be no best model to keep."""
        every, most = trainer.check_val_every_n_epoch or 1, trainer.max_epochs or -1
        if 0 < most < every:
            raise InputError(
                f"trainer: a fit of max_epochs {most} would never validate, since "
                f"check_val_every_n_epoch is {every}; raise the one or lower the other"
            )
        super().on_fit_start(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Figures of the weights that are about to be replaced would mislead."""
        if trainer.is_global_zero:
            for results in Path(trainer.default_root_dir).glob("results*.*"):
                results.unlink()
        super().on_train_start(trainer, pl_module)


class PredictionWriter(Callback):
    """Writes a predict's outputs, one vector a track, to `predictions/` in the run's folder."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self.means = TrackMeans()

    def on_predict_batch_end(
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

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what all ranks have collected."""
        model, data = parts_of(trainer, pl_module)
        predictions = merged(trainer, self.means)
        if trainer.is_global_zero:
            self.write(trainer, model, data, predictions)

    def write(
        self, trainer: Trainer, model: ColdStart, data: ColdStartData, predictions: Predictions
    ) -> None:
        """Write vectors.safetensors and tracks.parquet."""
        root = Path(trainer.default_root_dir)
        is_run = (root / "config.yaml").is_file()
        folder = vectors_folder(root, data.shards)
        tracks = data.shards.all_tracks()
        predictions.save(folder, tracks)
        print(f"wrote the vectors of {len(predictions.track_ids):,} tracks to {folder}")
        if unknown := len(tracks) - len(predictions.track_ids):
            print(f"nothing is known of {unknown:,} tracks: they have none of the model's inputs")
        if is_run and isinstance(model.target, TrackFactors):
            own = folder.name == "predictions"
            where = "" if own else f" --shards {data.shards.place}"
            print(f"next: coldstart recommend --run {root}{where} --like TRACK_ID")


def vectors_folder(run: Path, shards: Shards) -> Path:
    """Where predictions for a dataset lie; other shards' must not take the place of the run's."""
    is_run = (run / "config.yaml").is_file()
    own = not is_run or read_config(run)["data"]["shards"] == shards.place
    return run / ("predictions" if own else f"predictions_{shards.folder.name}")


class WriteVectors(PredictionWriter):
    """Writes one net's vectors of all tracks into the shards, as one more modality folder.

    Training tracks get theirs in sample: from a net that was fitted on them.
    """

    def __init__(
        self,
        modality: str,
        what: Vectors = "factors",
        facts: dict[str, Any] | None = None,
    ) -> None:
        """A writer.

        Args:
            modality: folder to write.
            what: the outputs, or what the model's only encoder gives.
            facts: for dataset.json, such as `made_by`, the fingerprint of what decides the
                outcome; by default, of the weights.
        """
        self.modality, self.what, self.facts = modality, what, facts

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what can't be written."""
        model, _ = parts_of(trainer, pl_module)
        if not isinstance(model.target, TrackFactors):
            raise InputError(
                "this model predicts attributes; its config's WriteModality writes them"
            )
        if self.what == "embedding" and len(model.encoders) > 1:
            raise InputError(
                f"an embedding is written of a model with one encoder; this one has "
                f"{', '.join(model.encoders)}"
            )
        super().on_predict_start(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect a batch."""
        assert isinstance(outputs, Prediction)
        (embedding, *_) = outputs.encoded.values()
        values = embedding if self.what == "embedding" else outputs.values
        self.means.add(outputs.track_ids, values)

    def write(
        self, trainer: Trainer, model: ColdStart, data: ColdStartData, predictions: Predictions
    ) -> None:
        """Write the tars."""
        made_by = fingerprint(
            [[name, float(value.double().sum())] for name, value in model.state_dict().items()]
        )
        vectors = dict(zip(predictions.track_ids, as_array(predictions.values), strict=True))
        facts = self.facts or {"what": self.what, "made_by": made_by, "source": made_by}
        add_vectors(data.shards, self.modality, vectors, facts, None)
        print(f"wrote {self.modality} of {len(vectors):,} tracks into {data.shards.folder}")
        print("its values of training tracks come from a net that was fitted on these tracks")


class WriteModality(PredictionWriter):
    """Writes a listener's estimates into the shards, as one more modality folder.

    A track never gets a value from a listener that was fitted on its own annotations. With folds,
    each track (annotated or not, of any split) gets its value from the one listener that held its
    fold out: so the values of training and of unseen tracks are of the same kind. Without folds,
    the tracks that the listener was fitted on are left without a value.
    """

    def __init__(self, modality: str = "mlg") -> None:
        """A writer.

        Args:
            modality: folder to write.
        """
        self.modality = modality

    def write(
        self, trainer: Trainer, model: ColdStart, data: ColdStartData, predictions: Predictions
    ) -> None:
        """Write the tars of this fold's tracks, beside those of the other folds."""
        if not isinstance(model.target, Attributes):
            raise InputError("WriteModality writes attributes; this model predicts something else")
        folds, fold = model.fitted_on.get("folds"), model.fitted_on.get("fold")
        if folds is not None:
            mine = {t for t in predictions.track_ids if fold_of(t, folds) == fold}
        else:
            mine = set(predictions.track_ids) - _annotated(data, model.target)
        vectors = {
            track: vector
            for track, vector in zip(
                predictions.track_ids, as_array(predictions.values), strict=True
            )
            if track in mine
        }
        source = {
            "names": model.target.names,
            "folds": folds,
            "source": fingerprint("listener", folds, model.target.names),
        }
        written = add_vectors(data.shards, self.modality, vectors, source, fold)
        print(f"wrote {self.modality} of {len(vectors):,} tracks into {data.shards.folder}")
        left = sorted(set(range(folds or 0)) - set(written))
        if left:
            print(f"next: fit and predict with --data.fold {left[0]} (of {folds})")
        else:
            print(f"next: coldstart fit --config {self.modality}.yaml")


def _annotated(data: ColdStartData, target: Attributes) -> set[str]:
    """Training and validation tracks that have annotations."""
    shards: Shards = data.shards
    field = target.fields[0]
    return {
        sample["track_id"]
        for split in ("train", "val")
        for number in range(len(shards.shard_sizes(split)))
        for sample in shards.samples(split, number, [field])
        if field in sample
    }
