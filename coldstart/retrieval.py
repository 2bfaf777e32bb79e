"""The verb `recommend`: tracks that nobody has played, for a track, a file or a user."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor

from coldstart.audio_codec import AudioError, to_flac
from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.predictions import by_track
from coldstart.queries import Candidates, Recommendation, answer
from coldstart.runs import Run, Vectors, first_stage_of, open_run, predictions_of
from coldstart.sample import Sample
from coldstart.sources import npy_bytes
from coldstart.stages import complete
from coldstart.streams import Batch
from coldstart.training import lightning_cli


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
    )
    _show(found, json)
    return found


AUDIO = "audio.flac"


def hear(run: Run, path: StrPath) -> Tensor:
    """Predict the vector of a sound file, window by window; modalities it lacks are missing.

    Returns:
        [K].

    Raises:
        InputError: the model has no audio encoder, or the file can't be used.
    """
    nets = {name: _nets(run, name) for name in run.model.encoders}
    hearing = [name for name, its_nets in nets.items() if _reads_audio(its_nets[0], name)]
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
    try:
        flac = to_flac(path, nets[hearing[0]][0].model.facts["audio"]["sample_rate"])
    except AudioError as error:
        raise InputError(f"{path}: {error}") from error
    sample = {"track_id": str(path), "shard": "no shard", AUDIO: flac}
    for name, stage in first_stage_of(run.folder).items():
        if name in hearing:
            vectors = [_outputs(net, sample, stage.vectors) for net in nets[name]]
            sample[f"{stage.modality}.npy"] = npy_bytes(torch.stack(vectors).mean(0).numpy())
    return _outputs(run, sample, "factors")


def _nets(run: Run, encoder: str) -> list[Run]:
    """The runs that read this encoder's content: those of the first stage, or the run itself."""
    stage = first_stage_of(run.folder).get(encoder)
    return [open_run(folder) for folder in stage.runs] if stage else [run]


def _reads_audio(run: Run, encoder: str) -> bool:
    return AUDIO in run.model.lend().readers[encoder][0]


def _outputs(run: Run, sample: Sample, what: Vectors) -> Tensor:
    """A sample's vector: the mean over its windows. [K] or [dim]."""
    pipeline = run.data.pipeline()
    batches = (pipeline.collate([piece]) for piece in pipeline.pieces([sample]))
    model = run.model.cpu()

    def output(batch: Batch) -> Tensor:
        made = model.predict_step(batch)
        (encoded, *_) = made.encoded.values()
        return made.values if what == "factors" else encoded

    return by_track(batches, output).values[0]


def _show(found: list[Recommendation], json: bool) -> None:
    if json:
        print(json_format.dumps([row._asdict() for row in found], ensure_ascii=False))
        return
    rows = [(r.rank, r.title, r.artist, r.plays, r.similarity, r.track_id) for r in found]
    headers = ["rank", "title", "artist", "plays", "similarity", "track id"]
    print(tabulate(rows, headers=headers, floatfmt=".3f", disable_numparse=[1, 2, 5]))
