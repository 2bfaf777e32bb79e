"""Two-stage training, as in the talk: single nets first, then a head on what they computed.

The head must see of a training track what it will see of an unheard one. A net that was fitted on a
track describes it better than any track it has not heard, so by default the nets are cross-fitted:
with F folds, net f is fitted without fold f, a training track's vector comes from the one net that
left it out, and any other track's is the mean over all F, which have all left it out. That needs
vectors whose axes mean the same in every net, so it is the predicted factors that are written.
With one fold there is one net, fitted on all training tracks, and its embedding may be taken too:
the talk's way (Oramas et al., DLRS 2017), kept to be compared with. See docs/decisions/0008.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml
from filelock import FileLock
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from coldstart import registry
from coldstart.callbacks import WriteVectors, vectors_folder
from coldstart.errors import InputError
from coldstart.factors import Factors
from coldstart.files import atomic, fingerprint, write_json
from coldstart.predictions import Predictions, as_array
from coldstart.sharding import add_vectors
from coldstart.shards import Shards
from coldstart.streams import fold_of

Vectors = Literal["factors", "embedding"]
Lightning = Callable[..., Any]
"""`training.lightning_cli`: a stage is made of ordinary fits and predicts."""

NOTE = "stage1.json"
"""In a run's folder: which runs its vectors come from, so that new tracks can be given theirs."""


class Stage(NamedTuple):
    """The nets behind one modality folder.

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


def first_stage(
    config: Mapping[str, Any],
    run: Path,
    folder: Path,
    *,
    folds: int,
    vectors: Vectors,
    suffix: str,
    lightning: Lightning,
) -> dict[str, dict[str, Any]]:
    """Train a net for each encoder, and write what it computes into the shards.

    What is there already, from the same settings, is kept; a fold that was interrupted starts anew.

    Args:
        config: a fit's whole configuration; each of its encoders becomes a model of its own.
        run: the second stage's run, which remembers where its vectors come from.
        folder: where the first stage's runs lie.
        folds: nets a modality; 1 is the talk's way, in which training tracks are seen in sample.
        vectors: `factors`: what the nets predict; `embedding`: what their encoders give.
        suffix: a modality's folder is named `<encoder>_<suffix>`.
        lightning: runs one of Lightning's verbs.

    Returns:
        The second stage's encoders, as under `model.encoders`.

    Raises:
        InputError: embeddings of several nets were asked for, or there is nothing to train.
    """
    if folds < 1 or (vectors == "embedding" and folds > 1):
        raise InputError(
            "two nets' embeddings don't share their axes: --stage-vectors embedding needs "
            "--stage-folds 1 (in sample, as in the talk); several folds need factors"
        )
    if config["data"].get("folds") is not None:
        raise InputError("--stages 2 makes its own folds; leave data.folds and data.fold out")
    stages, encoders = {}, {}
    for name, encoder in config["model"]["encoders"].items():
        if registry.load("encoders", encoder["class_path"].rsplit(".", 1)[-1]).precomputed:
            encoders[name] = encoder
            continue
        alone = {**config, "model": {**config["model"], "encoders": {name: encoder}}}
        stage = Stage(
            modality=f"{name}_{suffix}",
            runs=[str((folder / name / f"fold{f}").absolute()) for f in range(folds)],
            vectors=vectors,
            made_by=_made_by(alone, folds, vectors),
        )
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock") if _is_main() else nullcontext():
            _train(stage, alone, Shards(config["data"]["shards"]), lightning)
        stages[name] = stage
        encoders[name] = {"class_path": "Embedding", "init_args": {"modality": stage.modality}}
    if not stages:
        raise InputError("--stages 2: all of these encoders read precomputed vectors already")
    if _is_main():
        write_json(run / NOTE, {name: stage._asdict() for name, stage in stages.items()})
    return encoders


def complete(run: Path, shards: str, lightning: Lightning) -> None:
    """Give a dataset the first stage's vectors that a two-stage run reads, where it lacks them."""
    if not (run / NOTE).is_file():
        return
    stages = json.loads((run / NOTE).read_text(encoding="utf-8"))
    for stage in (Stage(**about) for about in stages.values()):
        _write(stage, Shards(shards), lightning)


def _train(stage: Stage, config: dict[str, Any], dataset: Shards, lightning: Lightning) -> None:
    if _is_there(stage, dataset):
        print(f"{stage.modality}: already there, from the same settings")
        return
    for fold, place in enumerate(stage.runs):
        run, finished = Path(place), Path(place) / "fitted"
        if finished.is_file() and finished.read_text() == stage.made_by:
            continue
        print(f"first stage: {stage.modality}, net {fold + 1} of {len(stage.runs)}", flush=True)
        if _is_main():
            shutil.rmtree(run, ignore_errors=True)
        data = {**config["data"]}
        if len(stage.runs) > 1:
            data |= {"folds": len(stage.runs), "fold": fold}
        recipe = run.parent / f"{run.name}.yaml"
        if _is_main():
            with atomic(recipe) as temporary:
                temporary.write_text(yaml.safe_dump({**config, "data": data}), encoding="utf-8")
        lightning("fit", ["--config", str(recipe), "--run", str(run)])
        if _is_main():
            finished.write_text(stage.made_by)
    _write(stage, dataset, lightning)


def _write(stage: Stage, dataset: Shards, lightning: Lightning) -> None:
    if _is_there(stage, dataset):
        return
    args = ["--data.shards", str(dataset.folder.absolute())]
    facts = {"what": stage.vectors, "made_by": stage.made_by, "source": stage.made_by}
    if len(stage.runs) == 1:
        writer = WriteVectors(stage.modality, stage.vectors, stage.made_by)
        lightning("predict", ["--run", stage.runs[0], *args], [writer])
        return
    for run in stage.runs:
        lightning("predict", ["--run", run, *args])
    if _is_main():
        vectors = cross_fitted(stage.runs, dataset)
        add_vectors(dataset, stage.modality, vectors, {**facts, "folds": len(stage.runs)}, None)
        print(f"wrote {stage.modality} of {len(vectors):,} tracks into {dataset.folder}")


def cross_fitted(
    runs: Sequence[str], dataset: Shards
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Of each track, the mean over the nets that were not fitted on it.

    Args:
        runs: of fold 0, 1, …, each with predictions for the dataset.
        dataset: its training tracks belong to one fold each; all others are unheard by every net.

    Returns:
        Track id → vector.
    """
    training = {track["track_id"] for track in dataset.all_tracks(["train"])}
    sums: dict[str, np.ndarray[Any, Any]] = {}
    counts: dict[str, int] = {}
    for fold, run in enumerate(runs):
        made = Predictions.load(vectors_folder(Path(run), dataset))
        for track, vector in zip(made.track_ids, as_array(made.values), strict=True):
            if track in training and fold_of(track, len(runs)) != fold:
                continue
            sums[track] = sums[track] + vector if track in sums else vector
            counts[track] = counts.get(track, 0) + 1
    return {track: (sums[track] / counts[track]).astype(np.float32) for track in sums}


def _is_main() -> bool:
    """Whether this process writes: the one, or rank 0 of several."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _is_there(stage: Stage, dataset: Shards) -> bool:
    made: str | None = Shards(dataset.folder).modalities.get(stage.modality, {}).get("made_by")
    return made == stage.made_by


def _made_by(config: Mapping[str, Any], folds: int, vectors: Vectors) -> str:
    data = config["data"]
    space = Factors.about_of(data["factors"])["id"] if data.get("factors") else None
    trainer = {key: config["trainer"].get(key) for key in ("max_epochs", "precision", "callbacks")}
    parts = [config["model"], data["batch_size"], config.get("seed_everything"), trainer]
    return fingerprint(*parts, space, Shards(data["shards"]).about["plan"], folds, vectors)
