"""Why a run's tracks were recommended, also through the nets of its first stage."""

from __future__ import annotations

from coldstart.data.folds import unheard_by
from coldstart.model.explain import Likeness, Why, collect, explain, named, own_ways, way_through
from coldstart.model.net import Net, load
from coldstart.retrieval.model_methods import SPLITS
from coldstart.runs.first_stage import first_stage_of
from coldstart.runs.run import Run, open_run


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
