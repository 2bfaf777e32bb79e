"""Two-stage training, as in the talk: single nets first, then a head on what they computed.

The head must see of a training track what it will see of a new one. A net describes a track that it
was fitted on better than others, so by default the nets are cross-fitted: with F folds, net f is
fitted without fold f, a training track's vector comes from the one net that was fitted without it,
and any other track's is the mean over all F nets. That needs vectors whose axes mean the same in
every net, so it is the predicted factors that are written.
With one fold there is one net, fitted on all training tracks, and its embedding may be taken too:
the talk's way (Oramas et al., DLRS 2017), kept to be compared with. See docs/decisions/0008.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock

from coldstart import registry
from coldstart.data.folds import nets_without
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.files import atomic, fingerprint, is_writable, is_write_refused
from coldstart.model.checkpoint import best_checkpoint
from coldstart.model.net import Net, load
from coldstart.model.predictions import Predictions, as_array
from coldstart.runs.config import read_config
from coldstart.runs.derived import FITTED, complete_new, facts_of_nets, lacks_of_new
from coldstart.runs.first_stage import Stage, Vectors, first_stage_of, write_first_stage
from coldstart.runs.places import data_places, lost_places, moved
from coldstart.runs.run import begin, vectors_folder
from coldstart.shards.reading import Shards
from coldstart.shards.writing import add_vectors
from coldstart.training.live import ONLY_SHOWN
from coldstart.training.prediction_writers import WriteVectors
from coldstart.training.ranks import is_main

log = logging.getLogger(__name__)

Lightning = Callable[..., Any]
"""`training.lightning_cli`: a stage is made of ordinary fits and predicts."""


MANY = 20
"""From more nets than this on, their number is said before they are trained."""

RECIPE = (
    "seed_everything",
    "model",
    "data",
    "trainer",
    "optimizer",
    "lr_scheduler",
    "checkpoint",
)
"""The keys of a fit's configuration that fits within it have, too."""


def wanted(config: Mapping[str, Any]) -> bool:
    """Whether a fit has two stages if nobody says: where several encoders are to be trained; where
    the head is solved, any.
    """
    data = config["data"]
    enough = len(_to_train(config)) > (0 if is_solved(config) else 1)
    return enough and data.get("factors") is not None and data.get("folds") is None


def trains_nets(config: Mapping[str, Any]) -> bool:
    """Whether a fit trains any net, in one stage or two, and doesn't only solve for its head."""
    return not is_solved(config) or bool(_to_train(config))


def first_stage(
    config: Mapping[str, Any],
    run: Path,
    folder: Path,
    *,
    folds: int,
    vectors: Vectors,
    lightning: Lightning,
    epochs: Mapping[str, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """Train a net for each encoder, and write what it computes into the shards.

    Vectors that exist already, from the same settings, are used, whoever made them; a net that was
    interrupted is resumed.

    Args:
        config: a fit's whole configuration; each of its encoders becomes a model of its own.
        run: the second stage's run, which remembers where its vectors come from.
        folder: where the first stage's runs lie.
        folds: nets a modality; 1 is the talk's way, in which training tracks are seen in sample.
        vectors: `factors`: what the nets predict; `embedding`: what their encoders give.
        lightning: runs one of Lightning's verbs.
        epochs: how many each encoder's nets train for; by default as the configuration says.

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
    to_train = _to_train(config)
    must_have_folds(config, folds, folds * len(to_train))
    for name, encoder in config["model"]["encoders"].items():
        if name not in to_train:
            encoders[name] = encoder
            continue
        alone = {**config, "model": {**config["model"], "encoders": {name: encoder}}}
        # One modality: nothing to fuse, or to do without.
        alone["model"] |= {"fusion": None, "modality_dropout": 0.0}
        alone["trainer"] = {**config["trainer"], "logger": None}  # the log is the second stage's
        if epochs:
            alone["trainer"]["max_epochs"] = epochs[name]
        made_by = _made_by(alone, folds, vectors)
        stage = Stage(
            modality=f"{name}_{made_by[:8]}",
            runs=[str((folder / name / f"fold{f}").absolute()) for f in range(folds)],
            vectors=vectors,
            made_by=made_by,
        )
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock") if is_main() else nullcontext():
            stages[name] = _train(stage, alone, Shards(config["data"]["shards"]), lightning)
        encoders[name] = {"class_path": "Embedding", "init_args": {"modality": stage.modality}}
    if not stages:
        raise InputError("--stages 2: none of these encoders has anything to train")
    if is_main():
        write_first_stage(run, stages)
    return encoders


def must_have_folds(config: Mapping[str, Any], folds: int, nets: int) -> None:
    """Say how many nets will be trained, if these are many.

    Args:
        config: of a fit.
        folds: of the training tracks.
        nets: of all folds.

    Raises:
        InputError: there are fewer training tracks than folds.
    """
    tracks = sum(Shards(config["data"]["shards"]).shard_sizes("train"))
    if folds > max(1, tracks):
        raise InputError(
            f"{folds:,} folds of {tracks:,} training tracks: some would be empty; take fewer "
            "(--stage-folds, or --folds of listen)"
        )
    if nets > MANY and is_main():
        log.warning(f"{nets:,} nets will be trained, one for each fold and encoder")


def complete(
    run: Path,
    shards: str,
    lightning: Lightning,
    factors: str | None = None,
    trust: bool = False,
) -> None:
    """Give a dataset the first stage's vectors that a two-stage run reads, where it lacks them.

    What the nets print on the way goes to stderr: stdout is for what was asked, such as JSON.

    Args:
        run: of two stages.
        shards: folder of the dataset.
        lightning: runs one of Lightning's verbs.
        factors: in the place of the nets' own, where these have gone.
        trust: whether the nets' own configs may build anything; see `trust.must_be_known`.

    Raises:
        InputError: the nets are gone, or the dataset can't be written to.
    """
    with redirect_stdout(sys.stderr):
        for stage in first_stage_of(run).values():
            dataset = Shards(shards)
            lacking = lacks_of_new(dataset, stage.modality) if _exists(stage, dataset) else True
            if not lacking:
                continue
            if not is_writable(dataset.folder):
                raise _refused(dataset)
            try:
                if _exists(stage, dataset):
                    complete_new(dataset, [stage.modality])
                else:
                    factors = factors or data_places(run)["factors"]
                    _write(stage, dataset, lightning, factors, ["--trust"] if trust else [])
            except OSError as error:
                if is_write_refused(error):
                    raise _refused(dataset) from error
                raise


def _refused(dataset: Shards) -> InputError:
    return InputError(
        f"{dataset.shown}: the first stage's vectors of these tracks have to be written into the "
        "shards, which can't be written to; copy the shards to a folder that can"
    )


def content_of(run: Path) -> Net | None:
    """The encoders of a two-stage run's content itself, not of the first stage's vectors."""
    stages = first_stage_of(run)
    if not stages:
        return None
    model = load(best_checkpoint(run), Net)
    encoders: dict[str, Any] = dict(model.encoders.items())
    for name, stage in stages.items():
        encoders[name] = load(best_checkpoint(stage.runs[0]), Net).encoders[name]
    return Net(encoders, target=model.target).eval()


def _train(stage: Stage, config: dict[str, Any], dataset: Shards, lightning: Lightning) -> Stage:
    if _exists(stage, dataset):
        log.info(f"{stage.modality}: exists already, from the same settings")
        facts = Shards(dataset.folder).info(stage.modality)
        return stage._replace(runs=[_net_of(run, facts, dataset) for run in facts["runs"]])
    fit_nets(stage.runs, stage.made_by, config, f"first stage: {stage.modality}", lightning)
    _write(stage, dataset, lightning, named=yaml.safe_dump(config))
    return stage


def fit_nets(
    runs: Sequence[str],
    made_by: str,
    config: Mapping[str, Any],
    title: str,
    lightning: Lightning,
) -> None:
    """Fit a net without each fold of the tracks; or one on all of them, if there is one folder.

    A net that is finished stays as it is, one that was interrupted is resumed.

    Args:
        runs: folder of each net.
        made_by: fingerprint of what decides the outcome.
        config: a fit's whole configuration.
        title: what the log says of them.
        lightning: runs one of Lightning's verbs.
    """
    for fold, place in enumerate(runs):
        run, finished = Path(place), Path(place) / FITTED
        if finished.is_file() and finished.read_text() == made_by:
            continue
        if is_main():
            log.info(f"{title}, net {fold + 1} of {len(runs)}")
        resume_flags = begin(run, made_by, is_main())
        data = {**config["data"]}
        if len(runs) > 1:
            data |= {"folds": len(runs), "fold": fold}
        file = run.parent / f"{run.name}.yaml"
        if is_main():
            with atomic(file) as temporary:
                temporary.write_text(yaml.safe_dump({**config, "data": data}), encoding="utf-8")
        args = ["--config", str(file), "--run", str(run), "--stages", "1", *resume_flags]
        lightning("fit", args)
        if is_main():
            finished.write_text(made_by, encoding="utf-8")


def _write(
    stage: Stage,
    dataset: Shards,
    lightning: Lightning,
    factors: str | None = None,
    flags: Sequence[str] = (),
    named: str = "",
) -> None:
    if _exists(stage, dataset):
        return
    for run in stage.runs:
        note = Path(run) / FITTED
        if not note.is_file() or note.read_text(encoding="utf-8") != stage.made_by:
            raise InputError(
                f"{dataset.shown}: has no '{stage.modality}', and the net that makes it isn't at "
                f"{run} any more, or was fitted anew; move it there, or fit the model that reads "
                "it again"
            )
    args = ["--data.shards", str(dataset.folder.absolute())]
    if not _reads_factors(stage):
        args += ["--data.factors", "null"]  # new tracks need none
    elif factors and "factors" in lost_places(stage.runs[0]):
        args += ["--data.factors", factors]
    nets = {run: load(best_checkpoint(run), Net) for run in stage.runs}
    facts = {
        "made_by": stage.made_by,
        "source": stage.made_by,
        **facts_of_nets(nets, dataset, stage.vectors),
    }
    with tempfile.TemporaryDirectory() as scratch:
        # A net on read-only storage writes elsewhere.
        roots = [
            run if is_writable(run) else str(Path(scratch) / str(fold))
            for fold, run in enumerate(stage.runs)
        ]
        several = len(stage.runs) > 1
        writers = [] if several else [WriteVectors(stage.modality, stage.vectors, facts)]
        for run, root in zip(stage.runs, roots, strict=True):
            elsewhere = [] if root == run else ["--trainer.default_root_dir", root]
            lightning("predict", ["--run", run, *args, *elsewhere, *flags], writers, named=named)
        if several and is_main():
            vectors = cross_fitted(roots, dataset)
            add_vectors(dataset, stage.modality, vectors, {**facts, "folds": len(roots)}, None)
            log.info(f"wrote {stage.modality} of {len(vectors):,} tracks into {dataset.folder}")


def _net_of(run: str, facts: Mapping[str, Any], dataset: Shards) -> str:
    """Where a net that wrote into the shards lies now, if it was moved together with them."""
    return run if Path(run).exists() else str(moved(run, facts.get("at"), dataset.folder) or run)


def cross_fitted(
    runs: Sequence[str], dataset: Shards
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Of each track, the mean over the nets that were not fitted on it.

    Args:
        runs: of fold 0, 1, …, each with predictions for the dataset.
        dataset: its training tracks belong to one fold each; no net was fitted on any other.

    Returns:
        Track id → vector.
    """
    training = {track["track_id"] for track in dataset.all_tracks(["train"])}
    sums: dict[str, np.ndarray[Any, Any]] = {}
    counts: dict[str, int] = {}
    for fold, run in enumerate(runs):
        predictions = Predictions.load(vectors_folder(Path(run), dataset))
        for track, vector in zip(predictions.track_ids, as_array(predictions.values), strict=True):
            if fold in nets_without(track, training, len(runs)):
                sums[track] = sums[track] + vector if track in sums else vector
                counts[track] = counts.get(track, 0) + 1
    return {track: (sums[track] / counts[track]).astype(np.float32) for track in sums}


def _to_train(config: Mapping[str, Any]) -> list[str]:
    """Names of the encoders that get nets of their own in a first stage.

    Not those whose vectors are there already; and for a head that is solved, only those that have
    layers: it reads the other ones' content as it is.
    """
    parts = {
        name: registry.create("encoders", recipe_of(part))
        for name, part in config["model"]["encoders"].items()
    }
    if is_solved(config):
        return [name for name, encoder in parts.items() if encoder.has_layers()]
    return [name for name, encoder in parts.items() if not encoder.precomputed]


def is_solved(config: Mapping[str, Any]) -> bool:
    """Whether the fusion head is solved, not trained."""
    fusion = config["model"].get("fusion")
    return bool(fusion) and bool(registry.load("fusion", recipe_of(fusion)["class"]).closed_form)


def recipe_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a configuration as a checkpoint stores it."""
    return {"class": part["class_path"].rpartition(".")[2], "init_args": part.get("init_args", {})}


def _reads_factors(stage: Stage) -> bool:
    """Whether a stage's encoder reads the factors of other tracks."""
    (encoder,) = read_config(stage.runs[0])["model"]["encoders"].values()
    return bool(registry.load("encoders", recipe_of(encoder)["class"]).reads_factors)


def _exists(stage: Stage, dataset: Shards) -> bool:
    made_by: str | None = Shards(dataset.folder).modalities.get(stage.modality, {}).get("made_by")
    return made_by == stage.made_by


def _made_by(config: Mapping[str, Any], folds: int, vectors: Vectors) -> str:
    data = config["data"]
    space = Factors.about_of(data["factors"])["id"] if data.get("factors") else None
    trainer = {key: value for key, value in config["trainer"].items() if key not in ONLY_SHOWN}
    parts = [config["model"], data["batch_size"], config.get("seed_everything"), trainer]
    parts += [data.get("missing"), data.get("drop")]
    parts += [config.get("optimizer"), config.get("lr_scheduler")]
    return fingerprint(*parts, space, Shards(data["shards"]).about["plan"], folds, vectors)
