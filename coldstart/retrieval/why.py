"""Why a run's tracks were recommended, also through the nets of its first stage."""

from __future__ import annotations

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
from coldstart.runs.first_stage import first_stage_of
from coldstart.runs.run import Run, open_net
from coldstart.tables.splits import IN_USE


def explain_tracks(
    run: Run, shards: str | None, factors: str | None, similarity: Similarity, ids: list[str]
) -> dict[str, Why]:
    """Why these tracks, whose vectors are predicted, have the scores that they have.

    Args:
        run: the run; attributes that nets of its first stage read are followed through those.
        shards: what the run was opened with.
        factors: what the run was opened with.
        similarity: to the query: the score.
        ids: tracks of which the model reads something.
    """
    model = run.model.cpu()
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
    return {track: explain(model, tracks[track], similarity, paths[track]) for track in ids}
