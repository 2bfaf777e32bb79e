"""The verb `recommend`: tracks that nobody has played, for a track, a file or a user."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from coldstart.audio.codec import AudioError
from coldstart.audio.storage import field_of, stored
from coldstart.data.batch import Batch
from coldstart.data.folds import unheard_by
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.model.explain import Likeness, Why, collect, explain, named, own_ways, way_through
from coldstart.model.net import Net, load
from coldstart.model.predictions import by_track
from coldstart.notebook import SPLITS
from coldstart.queries import Candidates, Recommendation, answer
from coldstart.reporting.text import clean
from coldstart.runs.first_stage import Vectors, first_stage_of
from coldstart.runs.run import Run, open_run, predictions_of
from coldstart.sample import Sample, folder_of
from coldstart.shards.writing import npy_bytes
from coldstart.stages import complete
from coldstart.training.lightning_cli import lightning_cli


def recommend(
    *,
    run: StrPath,
    like: str | None = None,
    audio: str | None = None,
    user: str | None = None,
    k: int = 10,
    candidates: Candidates = "cold",
    shards: str | None = None,
    factors: str | None = None,
    why: bool = False,
    json: bool = False,
) -> list[Recommendation]:
    """Recommend tracks like a track, like a sound file, or for a user.

    A warm track is where its plays put it, a cold one where its content puts it: both in the same
    space, so they can be compared.

    Args:
        run: folder of a fitted run.
        like: id of a track in the shards or the factors.
        audio: a sound file, which need not be in any dataset; the model must have an audio encoder.
        user: id of a listener; tracks that they have played are left out.
        k: how many.
        candidates: `cold`: tracks that the factorisation hasn't seen; `warm`: those it has; `all`.
        shards: other shards than the run's, to recommend from.
        factors: other factors than the run's.
        why: say what each modality of a cold track added to its similarity, and which attributes.
        json: print JSON, for programs.

    Returns:
        At most k recommendations, best first.
    """
    if sum(query is not None for query in (like, audio, user)) != 1:
        raise InputError("name one query: --like TRACK_ID, --audio FILE or --user USER_ID")
    if shards is not None:
        complete(Path(run), shards, lightning_cli)
    opened = open_run(run, shards, factors)
    found = answer(
        opened.model,
        opened.data,
        lambda: predictions_of(opened),
        like=like,
        user=user,
        vector=hear(opened, audio) if audio is not None else None,
        k=k,
        candidates=candidates,
        explain=partial(explain_tracks, opened, shards, factors) if why else None,
    )
    _note_strange(found, opened)
    _show(found, json)
    return found


def explain_tracks(
    run: Run, shards: str | None, factors: str | None, likeness: Likeness, ids: list[str]
) -> dict[str, Why]:
    """Why these tracks, whose vectors are predicted, have the scores that they have.

    Args:
        run: the run; attributes that nets of its first stage read are followed through those.
        shards: what the run was opened with.
        factors: what the run was opened with.
        likeness: their score.
        ids: tracks of which the model reads something.
    """
    model = run.model.cpu()
    tracks = collect(model, run.data.batches(SPLITS, only=ids))
    ways = {track: own_ways(model, pieces) for track, pieces in tracks.items()}
    training = {track["track_id"] for track in run.data.shards.all_tracks(["train"])}
    for name, stage in first_stage_of(run.folder).items():
        if name not in named(load(stage.runs[0], Net)):
            continue  # sound: there is no need to hear it again
        nets = [open_run(folder, shards, factors) for folder in stage.runs]
        read = [collect(net.model, net.data.batches(SPLITS, only=ids)) for net in nets]
        for track in tracks:
            if tracks[track].present[name].any():
                used = unheard_by(track, training, len(nets))
                through = [(nets[fold].model, read[fold][track]) for fold in used]
                ways[track][name] = way_through(through, name, stage.vectors, model)
    return {track: explain(model, tracks[track], likeness, ways[track]) for track in ids}


WINDOWS = 4
"""Heard at once: quicker than one by one, and the memory stays flat however long the file is."""


def hear(run: Run, path: StrPath) -> Tensor:
    """Predict the vector of a sound file, window by window; modalities it lacks are missing.

    Returns:
        [K].

    Raises:
        InputError: the model has no audio encoder, or the file can't be used.
    """
    nets = {name: _nets(run, name) for name in run.model.encoders}
    heard = {name: _heard_by(its_nets[0], name) for name, its_nets in nets.items()}
    hearing = [name for name, facts in heard.items() if facts]
    if not hearing:
        raise InputError(
            f"{run.folder}: this model hears nothing (it reads {', '.join(nets)}); "
            "use a run with an audio encoder"
        )
    if lacking := [name for name in nets if name not in hearing]:
        print(
            f"note: this model was fitted with {', '.join(lacking)} too, which a file alone lacks; "
            "a run with audio alone may serve it better",
            file=sys.stderr,
        )
    sample: Sample = {"track_id": str(path), "shard": "no shard"}
    try:
        for store in {field_of(facts): facts for facts in heard.values() if facts}.values():
            sample[field_of(store)] = stored(path, store)
    except AudioError as error:
        raise InputError(f"{path}: {error}") from error
    for name, stage in first_stage_of(run.folder).items():
        if name in hearing:
            vectors = [_outputs(net, sample, stage.vectors) for net in nets[name]]
            sample[f"{stage.modality}.npy"] = npy_bytes(torch.stack(vectors).mean(0).numpy())
    return _outputs(run, sample, "factors")


def _nets(run: Run, encoder: str) -> list[Run]:
    """The runs that read this encoder's content: those of the first stage, or the run itself."""
    stage = first_stage_of(run.folder).get(encoder)
    return [open_run(folder) for folder in stage.runs] if stage else [run]


def _heard_by(run: Run, encoder: str) -> Mapping[str, Any]:
    """Facts of the store of sound that this encoder reads; empty if it reads something else."""
    fields, _ = run.model.lend().readers[encoder]
    facts = run.model.facts[folder_of(fields[0])]
    return facts if "sample_rate" in facts else {}


def _outputs(run: Run, sample: Sample, what: Vectors) -> Tensor:
    """A sample's vector: the mean over its windows. [K] or [dim]."""
    pipeline = run.data.pipeline()
    pieces = pipeline.pieces([sample])
    batches = map(pipeline.collate, iter(lambda: list(islice(pieces, WINDOWS)), []))
    model = run.model.cpu()

    def output(batch: Batch) -> Tensor:
        made = model.predict_step(batch)
        (encoded, *_) = made.encoded.values()
        return made.values if what == "factors" else encoded

    return by_track(batches, output).values[0]


def _note_strange(found: list[Recommendation], run: Run) -> None:
    """A similarity from stored predictions is explained by the run, which may differ."""
    told = [(r.similarity, r.why.score) for r in found if r.why and r.why.by == "content"]
    if any(abs(shown - explained) > 1e-3 for shown, explained in told):
        print(
            f"note: {run.folder / 'predictions'} was made with other settings than the run's own; "
            "what is said below adds up to the similarity with the run's own. Run coldstart "
            f"predict --run {run.folder} to make both agree",
            file=sys.stderr,
        )


def _show(found: list[Recommendation], json: bool) -> None:
    if json:
        print(json_format.dumps([_plain(row) for row in found], ensure_ascii=False))
        return
    rows = [
        (r.rank, clean(r.title), clean(r.artist), r.plays, r.similarity, clean(r.track_id))
        for r in found
    ]
    headers = ["rank", "title", "artist", "plays", "similarity", "track id"]
    lines = tabulate(rows, headers=headers, floatfmt=".3f", disable_numparse=[1, 2, 5]).split("\n")
    print("\n".join(lines[:2]))
    for line, row in zip(lines[2:], found, strict=True):
        print(line if row.why is None else f"{line}\n      {clean(str(row.why))}")


def _plain(row: Recommendation) -> dict[str, Any]:
    """What JSON says of it."""
    plain = row._asdict()
    why = plain.pop("why")
    return plain if why is None else {**plain, "why": why.as_json()}
