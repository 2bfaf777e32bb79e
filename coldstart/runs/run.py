"""A run is a folder: config.yaml, checkpoints/, results.json, results.csv, predictions/."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import torch

from coldstart.data.datamodule import ColdStartData
from coldstart.files import StrPath, atomic
from coldstart.model.checkpoint import LAST, best_checkpoint
from coldstart.model.net import Net, load
from coldstart.model.predictions import Predictions, predict_batches
from coldstart.runs.config import read_config
from coldstart.shards.reading import Shards


class Run(NamedTuple):
    """A fitted model and its data.

    Attributes:
        folder: the run's folder.
        model: on the CPU, in eval mode.
        data: with the model's readers lent.
        own_shards: whether the data is what the run was fitted on.
    """

    folder: Path
    model: Net
    data: ColdStartData
    own_shards: bool


def open_run(folder: StrPath, shards: str | None = None, factors: str | None = None) -> Run:
    """Load a run's best model, and its data (or other shards and factors in their place)."""
    config = read_config(folder)["data"]
    replaced = {"shards": shards, "factors": factors}
    config |= {key: path for key, path in replaced.items() if path is not None}
    model, data = load(best_checkpoint(folder), Net), ColdStartData(**config)
    model.check(data.info, data.has)
    data.lend(model.lend())
    return Run(Path(folder), model, data, own_shards=shards is None)


def predictions_of(run: Run) -> Predictions:
    """Predicted vectors of all tracks: read, or computed and (for the run's own shards) kept.

    They are computed anew when the model or the shards are newer.
    """
    if not run.own_shards:
        return predict_tracks(run)
    folder = run.folder / "predictions"
    made_from = [best_checkpoint(run.folder), run.data.shards.folder / "dataset.json"]
    vectors = folder / "vectors.safetensors"
    if vectors.is_file() and all(
        path.stat().st_mtime <= vectors.stat().st_mtime for path in made_from
    ):
        predictions = Predictions.load(folder)
        tracks = {track["track_id"] for track in run.data.shards.all_tracks()}
        if tracks >= set(predictions.track_ids):
            return predictions
    predictions = predict_tracks(run)
    predictions.save(folder, run.data.shards.all_tracks())
    return predictions


def predict_tracks(run: Run) -> Predictions:
    """Predict every track of the run's shards that has any of the model's inputs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return predict_batches(run.model.to(device), run.data.batches(["train", "val", "test"]))


def begin(run: StrPath, key: str, main: bool = True) -> list[str]:
    """Flags with which a `fit` resumes what the same settings have begun in a run's folder.

    Where there is nothing to resume, there are none, and the folder is emptied.

    Args:
        run: the folder.
        key: of the settings.
        main: whether this process writes: the one, or rank 0 of several.
    """
    run, note = Path(run), Path(run) / "begun"
    same = note.is_file() and note.read_text(encoding="utf-8") == key
    if same and (run / "checkpoints" / LAST).is_file():
        return ["--ckpt_path", "last"]
    if main:
        shutil.rmtree(run, ignore_errors=True)
        with atomic(note) as temporary:
            temporary.write_text(key, encoding="utf-8")
    return []


def vectors_folder(run: Path, shards: Shards) -> Path:
    """Where predictions for a dataset lie; other shards' must not take the place of the run's."""
    is_run = (run / "config.yaml").is_file()
    own = not is_run or read_config(run)["data"]["shards"] == shards.place
    return run / ("predictions" if own else f"predictions_{shards.folder.name}")
