"""A run is a folder: config.yaml, checkpoints/, results.json, results.csv, predictions/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import yaml

from coldstart.checkpoints import best_checkpoint
from coldstart.data import ColdStartData
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.net import Net, load
from coldstart.predictions import Predictions, predicted

NOTE = "stage1.json"
"""In a two-stage run's folder: whose vectors it reads, so that new tracks can be given theirs."""

Vectors = Literal["factors", "embedding"]


class Stage(NamedTuple):
    """The nets behind one modality folder of a two-stage run.

    Attributes:
        modality: folder of the shards that they write.
        runs: one run, or one for each fold.
        vectors: what is written.
        made_by: fingerprint of what decides the outcome.
    """

    modality: str
    runs: list[str]
    vectors: Vectors
    made_by: str


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


def read_config(folder: StrPath) -> dict[str, Any]:
    """The configuration that the run was fitted with.

    Raises:
        InputError: the folder holds none.
    """
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: not a run (config.yaml is missing)")
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config


def first_stage_of(folder: StrPath) -> dict[str, Stage]:
    """The first stage of a two-stage run, by encoder; empty for another run."""
    path = Path(folder) / NOTE
    if not path.is_file():
        return {}
    return {name: Stage(**about) for name, about in json.loads(path.read_bytes()).items()}


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
        made = Predictions.load(folder)
        tracks = {track["track_id"] for track in run.data.shards.all_tracks()}
        if tracks >= set(made.track_ids):
            return made
    made = predict_tracks(run)
    made.save(folder, run.data.shards.all_tracks())
    return made


def predict_tracks(run: Run) -> Predictions:
    """Predict every track of the run's shards that has any of the model's inputs."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return predicted(run.model.to(device), run.data.batches(["train", "val", "test"]))
