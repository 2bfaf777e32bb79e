"""What a trainer writes of its predictions, into the run's folder (its `default_root_dir`), or into
the shards.
"""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from coldstart.data.batch import Batch
from coldstart.data.datamodule import ColdStartData
from coldstart.data.folds import fold_of
from coldstart.errors import InputError, Preempted, without_passwords
from coldstart.files import atomic, fingerprint, remove_half
from coldstart.model.checkpoint import weights_id
from coldstart.model.net import Prediction
from coldstart.model.predictions import Predictions, TrackMeans, as_array, join
from coldstart.runs.derived import What, facts_of_nets
from coldstart.runs.first_stage import Vectors
from coldstart.runs.places import moved
from coldstart.runs.predictions import made_from
from coldstart.runs.run import vectors_folder
from coldstart.shards.reading import Shards
from coldstart.shards.writing import add_vectors, changing
from coldstart.sigterm import Sigterm
from coldstart.targets.attributes import Attributes
from coldstart.targets.track_factors import TrackFactors
from coldstart.training.lightning_module import ColdStart
from coldstart.training.ranks import gather, parts_of
from coldstart.training.run_checkpoint import minutes_of

log = logging.getLogger(__name__)


class PredictionWriter(Callback):
    """Writes a predict's outputs, one vector a track, to `predictions/` in the run's folder.

    Attributes:
        next_step: after it has written, what to do next; empty if there is nothing to say.
    """

    what: Vectors = "factors"
    next_step: str = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The finished tracks are looked up later, when the weights are loaded."""
        if stage == "predict":
            model, data = parts_of(trainer, pl_module)
            data.ask_finished(lambda: self._finished_tracks(trainer, model, data))

    def _finished_tracks(self, trainer: Trainer, model: ColdStart, data: ColdStartData) -> set[str]:
        """Tracks that an earlier predict, which was killed, has finished."""
        settings = [data.missing, sorted(data.drop), data.shards.about]
        key = fingerprint(model.recipe(), weights_id(model), self.what, settings)
        root = Path(trainer.default_root_dir)
        self.parts = Parts(root, type(self).__name__, key, trainer.global_rank)
        self.earlier = self.parts.read()
        self.finished = {track for part in self.earlier for track in part.track_ids}
        if self.finished and trainer.is_global_zero:
            log.info(f"resumed: {len(self.finished):,} tracks are finished already")
        return self.finished

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with what an earlier predict has finished."""
        _, data = parts_of(trainer, pl_module)
        self.means = TrackMeans()
        self.mine: list[Predictions] = []
        # A track's pieces follow each other in one worker's batches, which come in turns.
        self.open: deque[str] = deque(maxlen=max(1, data.workers))
        self.sigterm, self.saved_at = Sigterm(), time.monotonic()
        self.sigterm.listen()

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect a batch, and from time to time save what is finished."""
        new = [i for i, track in enumerate(outputs.track_ids) if track not in self.finished]
        self.means.add([outputs.track_ids[i] for i in new], self.values_of(outputs)[new])
        self.open.append(batch.track_ids[-1])
        due = time.monotonic() - self.saved_at >= 60 * minutes_of(trainer)
        if due or self.sigterm.received:
            predictions = self.means.take(self.open)
            if predictions:
                self.parts.write(predictions)
                self.mine.append(predictions)
                self.saved_at = time.monotonic()
        if self.sigterm.received:
            raise Preempted(self.parts.folder)

    def values_of(self, outputs: Prediction) -> Tensor:
        """What is written of a batch's outputs: [B, K]."""
        return outputs.values

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what all ranks have collected."""
        model, data = parts_of(trainer, pl_module)
        rest = self.means.take(())
        if rest:
            self.mine.append(rest)
        everything = [part for parts in gather(trainer, self.mine) for part in parts]
        if trainer.is_global_zero:
            tracks = data.shards.tracks_in_use()
            self.write(trainer, model, data, join([*self.earlier, *everything], tracks))
            self.parts.clear()

    def write(
        self, trainer: Trainer, model: ColdStart, data: ColdStartData, predictions: Predictions
    ) -> None:
        """Write vectors.safetensors and tracks.parquet."""
        root = Path(trainer.default_root_dir)
        is_run = (root / "config.yaml").is_file()
        folder = vectors_folder(root, data.shards)
        tracks = data.shards.tracks_in_use()
        hidden = sorted(data.shards.removed.difference(predictions.track_ids))
        predictions.save(folder, tracks, made_from(model, data) | {"without": hidden})
        log.info(f"wrote the vectors of {len(predictions.track_ids):,} tracks to {folder}")
        if unknown := len(tracks) - len(predictions.track_ids):
            log.info(
                f"{unknown:,} tracks have none of the model's inputs: nothing is known of them"
            )
        if is_run and isinstance(model.target, TrackFactors) and predictions.track_ids:
            own = folder.name == "predictions"
            where = "" if own else f" --shards {without_passwords(data.shards.place)}"
            track = shlex.quote(predictions.track_ids[0])
            self.next_step = f"coldstart recommend --run {root}{where} --like={track}"


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

    def values_of(self, outputs: Prediction) -> Tensor:
        """The outputs, or what the only encoder gave."""
        (embedding, *_) = outputs.encoded.values()
        return embedding if self.what == "embedding" else outputs.values

    def write(
        self, trainer: Trainer, model: ColdStart, data: ColdStartData, predictions: Predictions
    ) -> None:
        """Write the tars."""
        made_by = fingerprint(
            [[name, float(value.double().sum())] for name, value in model.state_dict().items()]
        )
        vectors = dict(zip(predictions.track_ids, as_array(predictions.values), strict=True))
        facts = self.facts or {
            "made_by": made_by,
            "source": made_by,
            **_facts_of_run(trainer, model, data.shards, self.what),
        }
        add_vectors(data.shards, self.modality, vectors, facts, None)
        log.info(f"wrote {self.modality} of {len(vectors):,} tracks into {data.shards.folder}")
        log.info("its values of training tracks come from a net that was fitted on these tracks")


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
        facts = {
            "names": model.target.names,
            "folds": folds,
            "source": fingerprint("listener", folds, model.target.names),
        }
        with changing(data.shards):  # listeners of other folds may be writing, too
            nets = _facts_of_run(trainer, model, data.shards, "attributes")
            earlier = Shards(data.shards.folder).modalities.get(self.modality, {})
            if fold is not None and earlier.get("source") == facts["source"]:
                nets = _with_earlier(nets, earlier, fold, data.shards)
            written = add_vectors(data.shards, self.modality, vectors, facts | nets, fold)
        log.info(f"wrote {self.modality} of {len(vectors):,} tracks into {data.shards.folder}")
        missing = sorted(set(range(folds or 0)) - set(written))
        if missing:
            self.next_step = f"fit and predict with --data.fold {missing[0]} (of {folds})"
        else:
            self.next_step = f"coldstart fit --config {self.modality}.yaml"


def _facts_of_run(trainer: Trainer, model: ColdStart, shards: Shards, what: What) -> dict[str, Any]:
    """What is noted of the run whose best model has written; nothing of a model that is no run's.

    Its folder is that of the checkpoint: a run on read-only storage writes elsewhere.
    """
    run = Path(trainer.ckpt_path or "").absolute().parent.parent
    if not (trainer.ckpt_path and (run / "config.yaml").is_file()):
        return {}
    return facts_of_nets({str(run): model}, shards, what)


def _with_earlier(
    nets: dict[str, Any], earlier: Mapping[str, Any], fold: int, shards: Shards
) -> dict[str, Any]:
    """What is noted of several folds' runs, each of which has written its part."""
    keys, parts = ("runs", "weights"), earlier.get("parts", [])
    if not nets or any(len(earlier.get(key, ())) != len(parts) for key in keys):
        return nets
    at, folder = earlier.get("at"), shards.folder
    places = [
        run if Path(run).exists() else moved(run, at, folder) or run for run in earlier["runs"]
    ]
    runs = dict(zip(parts, map(str, places), strict=True)) | {fold: nets["runs"][0]}
    weights = dict(zip(parts, earlier["weights"], strict=True)) | {fold: nets["weights"][0]}
    in_order = sorted(runs)
    return {
        **nets,
        "runs": [runs[part] for part in in_order],
        "weights": [weights[part] for part in in_order],
    }


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


class Parts:
    """A folder of finished tracks' outputs; its name says what they depend on."""

    def __init__(self, run: Path, name: str, key: str, rank: int) -> None:
        self.folder, self.name, self.rank = run / ".parts" / f"{name}-{key}", name, rank

    def read(self) -> list[Predictions]:
        """The parts so far; those of other weights or settings are removed."""
        for other in self.folder.parent.glob(f"{self.name}-*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
        for half in self.folder.glob(f".{self.rank}-*"):
            remove_half(half)
        return [_read(path) for path in sorted(self.folder.glob("[0-9]*.safetensors"))]

    def write(self, predictions: Predictions) -> None:
        """Add tracks; ranks write side by side."""
        number = len(list(self.folder.glob(f"{self.rank}-*.safetensors")))
        with atomic(self.folder / f"{self.rank}-{number}.safetensors") as temporary:
            ids = {"track_ids": json.dumps(predictions.track_ids)}
            # `save_file` would write beside it first, under a name that nobody can tell as ours.
            temporary.write_bytes(save({"vectors": predictions.values.contiguous()}, ids))

    def clear(self) -> None:
        """All is done, and written elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()


def _read(path: Path) -> Predictions:
    with safe_open(path, "pt") as file:
        return Predictions(json.loads(file.metadata()["track_ids"]), file.get_tensor("vectors"))
