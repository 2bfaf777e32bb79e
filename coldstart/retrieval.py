"""The verb `recommend`: tracks that nobody has played, for a track, a file or a user."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

from coldstart.audio_codec import AudioError, to_flac
from coldstart.errors import InputError, one_of
from coldstart.files import StrPath
from coldstart.predictions import by_track
from coldstart.ranking import dot_scores, top_k
from coldstart.runs import Run, Vectors, first_stage_of, open_run, predictions_of
from coldstart.sample import Sample
from coldstart.sources import npy_bytes
from coldstart.stages import complete
from coldstart.streams import Batch
from coldstart.targets import TrackFactors
from coldstart.training import lightning_cli


class Recommendation(NamedTuple):
    """One recommended track.

    Attributes:
        rank: 1 is best.
        track_id: its id.
        title: its title.
        artist: its artist.
        plays: in the listening log; a held-out track's were hidden from the factorisation.
        similarity: cosine between the query's vector and the track's, -1..1.
    """

    rank: int
    track_id: str
    title: str
    artist: str
    plays: int
    similarity: float


def recommend(
    *,
    run: StrPath,
    like: str | None = None,
    audio: str | None = None,
    user: str | None = None,
    k: int = 10,
    candidates: Literal["cold", "warm", "all"] = "cold",
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
    one_of("candidates", candidates, ("cold", "warm", "all"))
    if k < 1:
        raise InputError("k is at least 1")
    if shards is not None:
        complete(Path(run), shards, lightning_cli)
    opened = open_run(run, shards, factors)
    if not isinstance(opened.model.target, TrackFactors):
        raise InputError(f"{run}: this model doesn't predict factors, so it can't recommend")
    ids, vectors, warm = _catalogue(opened)
    wanted = {"cold": ~warm, "warm": warm, "all": np.ones_like(warm)}[candidates]
    query, leave_out = _query(opened, ids, vectors, like, audio, user)
    rows = np.array([i for i in np.flatnonzero(wanted) if ids[i] not in leave_out], dtype=np.int64)
    if len(rows) == 0:
        raise InputError(
            f"there is no {candidates} track to recommend in {opened.data.shards.folder}; "
            "--candidates all takes warm and cold ones"
        )
    scores = dot_scores(F.normalize(query[None], dim=1), F.normalize(vectors[rows], dim=1))
    best = next(top_k(scores, 1, len(rows), k))[1][0]
    similarity = scores(slice(0, 1))[0]
    meta = {track["track_id"]: track for track in opened.data.shards.all_tracks()}
    plays = opened.data.factors.plays if opened.data.factors else np.zeros(0)
    factor_row = opened.data.factors.row if opened.data.factors else {}
    found = []
    for rank, i in enumerate(best.tolist(), start=1):
        track = meta.get(ids[rows[i]], {"track_id": ids[rows[i]], "title": "", "artist": ""})
        row = factor_row.get(track["track_id"])
        found.append(
            Recommendation(
                rank,
                track["track_id"],
                track["title"] or "",
                track["artist"] or "",
                int(plays[row]) if row is not None else 0,
                round(float(similarity[i]), 4),
            )
        )
    _show(found, json)
    return found


def _catalogue(run: Run) -> tuple[list[str], Tensor, np.ndarray[Any, np.dtype[np.bool_]]]:
    """All known tracks: ids, vectors [N, K], and which are warm."""
    predicted, factors = predictions_of(run), run.data.factors
    if factors is None:
        return predicted.track_ids, predicted.values, np.zeros(len(predicted.track_ids), bool)
    known = np.flatnonzero(~factors.folded)
    warm_ids = [factors.track_ids[i] for i in known]
    warm_set = set(warm_ids)
    cold = [i for i, track in enumerate(predicted.track_ids) if track not in warm_set]
    ids = [*warm_ids, *(predicted.track_ids[i] for i in cold)]
    vectors = torch.cat([torch.from_numpy(factors.tracks[known]), predicted.values[cold]])
    return ids, vectors, np.arange(len(ids)) < len(warm_ids)


def _query(
    run: Run,
    ids: list[str],
    vectors: Tensor,
    like: str | None,
    audio: str | None,
    user: str | None,
) -> tuple[Tensor, set[str]]:
    """The query's vector, and the tracks that are no answer to it."""
    if like is not None:
        if like not in ids:
            lacks = any(track["track_id"] == like for track in run.data.shards.all_tracks())
            if lacks:
                raise InputError(
                    f"nothing is known of track {like!r}: it has no plays, and none of what this "
                    f"model reads ({', '.join(run.model.encoders)})"
                )
            raise InputError(f"{run.data.shards.folder}: there is no track {like!r}")
        return vectors[ids.index(like)], {like}
    if audio is not None:
        return hear(run, audio), set()
    factors = run.data.factors
    if factors is None or user not in factors.user_ids:
        raise InputError(f"there is no user {user!r} in the factors")
    row = factors.user_ids.index(user)
    heard = factors.listens[row]
    played = {factors.track_ids[i] for i in heard.indices if not factors.folded[i]}
    if not played:
        raise InputError(
            f"user {user!r} has no training listens, so nothing is known of their taste"
        )
    return torch.from_numpy(factors.users[row]), played


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
