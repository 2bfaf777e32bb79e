"""Why tracks were recommended, also through the nets of a run's first stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from coldstart.data.folds import nets_without
from coldstart.model.explain import (
    Similarity,
    Why,
    collect,
    encoders_with_names,
    explain,
    own_paths,
    path_through,
)
from coldstart.model.net import Net, load
from coldstart.model.predictions import as_array
from coldstart.model.space import Joined
from coldstart.runs.first_stage import first_stage_of
from coldstart.runs.run import Run, open_net
from coldstart.tables.splits import IN_USE


class ScoreParts(NamedTuple):
    """The parts of a cold track's score.

    Attributes:
        similarity: a vector that content predicts → what it adds to the score.
        others: what else adds to it: `plays`, its `artist`, and that it is `new`.
        listeners: how many have played it.
    """

    similarity: Similarity
    others: dict[str, float]
    listeners: int


def parts_of_score(
    joined: Joined, cold: int, place: Tensor, vector: Tensor, by_length: bool
) -> ScoreParts | None:
    """Take the score of a track of an ensemble apart; all parts add up to it.

    Args:
        joined: how content and plays were joined.
        cold: the track's row among the cold ones.
        place: [K] where it lies.
        vector: [K] of the query.
        by_length: whether the score is a dot product with a listener, and no cosine.

    Returns:
        None if the score is the cosine of what content alone predicts.
    """
    audience, ensemble = joined.audience, joined.ensemble
    listeners, level = int(joined.listeners[cold]), float(joined.levels[cold]) * ensemble.artist
    if not by_length and not listeners and not level:
        return None
    asked, where = as_array(vector).astype(np.float64), as_array(place).astype(np.float64)
    if by_length:
        factor = ensemble.length
    else:
        asked = asked / np.linalg.norm(asked)
        factor = 1 / max(float(np.linalg.norm(where)), 1e-12)
    weight = audience.content_weight(joined.plays[cold], asked.astype(np.float32), ensemble)
    through = torch.from_numpy(factor * ensemble.scale * weight)

    def similarity(vectors: Tensor) -> Tensor:
        return vectors @ through.to(vectors)

    others: dict[str, float] = {}
    if listeners:
        nothing = np.zeros((1, len(where)), np.float32)
        moved = audience.joined(joined.plays[cold], nothing, ensemble)[0].astype(np.float64)
        others["plays"] = factor * float(asked @ moved)
    if level:
        others["artist"] = factor * level * float(weight.astype(np.float64) @ audience.common)
    if by_length and ensemble.offset:
        others["new"] = ensemble.offset * float(asked @ audience.common)
    return ScoreParts(similarity, others, listeners)


def completed(why: Why, parts: ScoreParts) -> Why:
    """Content's explanation with the other parts."""
    by: Literal["both", "content"] = "both" if parts.listeners else "content"
    return Why(by, why.modalities, parts.others, parts.listeners)


def explain_tracks(
    run: Run, shards: str | None, factors: str | None, similarities: Mapping[str, Similarity]
) -> dict[str, Why]:
    """Why these tracks, whose vectors are predicted, have the scores that they have.

    Args:
        run: the run; attributes that nets of its first stage read are followed through those.
        shards: what the run was opened with.
        factors: what the run was opened with.
        similarities: track id → a predicted vector's share of the score.
    """
    model, ids = run.model.cpu(), list(similarities)
    tracks = collect(model, run.data.batches(IN_USE, only=ids))
    paths = {track: own_paths(model, pieces) for track, pieces in tracks.items()}
    training = {track["track_id"] for track in run.data.shards.all_tracks(["train"])}
    for name, stage in first_stage_of(run.folder).items():
        if name not in encoders_with_names(load(stage.runs[0], Net)):
            continue  # sound, which need not be decoded again
        nets = [open_net(run, folder, shards, factors) for folder in stage.runs]
        read = [collect(net.model, net.data.batches(IN_USE, only=ids)) for net in nets]
        for track in tracks:
            if tracks[track].present[name].any():
                used = nets_without(track, training, len(nets))
                through = [(nets[fold].model, read[fold][track]) for fold in used]
                paths[track][name] = path_through(through, name, stage.vectors, model)
    return {
        track: explain(model, tracks[track], similarities[track], paths[track]) for track in ids
    }
