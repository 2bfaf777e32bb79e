"""Fitting a model whose fusion head is solved instead of trained."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.factors.listener_axes import listener_axes
from coldstart.factors.listening import NOTHING, Listening
from coldstart.factors.model_space import content_listeners, users_in
from coldstart.fusion.base import InnerFold, Solvable
from coldstart.model.net import Net
from coldstart.reporting.progress import doing
from coldstart.shards.track_columns import kept_apart, text_of
from coldstart.targets.base import Target
from coldstart.targets.track_factors import FACTORS
from coldstart.training.inner_folds import inner_folds

tell = rank_zero_only(logging.getLogger(__name__).info)
show = rank_zero_only(doing)


def must_be_fixed(model: Net) -> None:
    """Nothing but the head may need training, and what is solved must be what is asked for.

    Raises:
        InputError: an encoder has layers, or the target's objective isn't a distance to the truth.
    """
    if type(model.target).objective is not Target.objective:
        raise InputError(
            f"model.target: {type(model.target).__name__} has an objective of its own, but "
            f"{type(model.fusion).__name__} solves for the least squared error: take TrackFactors "
            "with `length: true`, or a head that is trained"
        )
    for name, encoder in model.encoders.items():
        trained = sum(p.numel() for key, p in encoder.named_parameters() if key != "absent")
        if trained:
            raise InputError(
                f"model.fusion: {type(model.fusion).__name__} is solved, not trained, and "
                f"model.encoders.{name} has {trained:,} parameters that would stay untrained: "
                "leave it to a first stage (`--stages 2`), or give it `hidden: []`"
            )


def groups_of(data: ColdStartData) -> dict[str, int]:
    """Training track → number of its group, which is left out together: its artist's tracks, if no
    held-out track's artist is in training; else the track alone.
    """
    train, held_out = data.shards.all_tracks(["train"]), data.shards.all_tracks(["val", "test"])
    artists = {track["track_id"]: text_of(track, "artist_id") for track in train}
    disjoint = kept_apart(train, held_out, "artist_id")
    numbers: dict[tuple[str, str], int] = {}  # one counter for groups of an artist and of a track
    groups = {}
    for track, artist in artists.items():
        group = ("artist", artist) if disjoint and artist else ("track", track)
        groups[track] = numbers.setdefault(group, len(numbers))
    return groups


def solve(model: Net, data: ColdStartData) -> None:
    """Solve for the head's weights, from all training tracks that have a vector.

    Every process reads all of them, and finds the same: no sum has to cross between processes.

    Raises:
        InputError: an encoder would have to be trained.
    """
    must_be_fixed(model)
    head: Any = model.fusion  # what only some heads have isn't in the interface
    if model.listening:  # it is solved anew, from the factors alone
        _hear(model, data, NOTHING)

    group = groups_of(data)

    def rows() -> Iterator[Solvable]:
        for batch in data.batches(["train"], needs_target=True, folded=True, alone=True):
            batch = batch.to(model.device)
            yield Solvable(
                encoded=model.encode(batch.inputs),
                present={name: modality.present for name, modality in batch.inputs.items()},
                vectors=model.target.aim(batch.target.values),
                group=torch.tensor([group[t] for t in batch.track_ids], device=model.device),
                track_ids=batch.track_ids,
            )

    def folds(track_ids: Sequence[str], group: Tensor) -> list[InnerFold]:
        show(f"solving the fusion head: factorising {len(track_ids):,} tracks to choose by")
        return inner_folds(data.known_factors(), track_ids, group)

    known = model.target.fields[0] == FACTORS and data.factors is not None

    training = model.training
    model.eval()
    with torch.no_grad():
        report = head.solve(rows, folds if known else None) if head.chooses else head.solve(rows)
        if head.share or head.content_share:
            show("solving the fusion head: what plays say of listeners beside their vectors")
            _hear(model, data, _listening(model, data.known_factors()))
        if head.share:
            head.solve_again(rows)
    model.train(training)
    tell(report)


def _listening(model: Net, factors: Factors) -> Listening:
    """What a head that was just solved asks of listeners' plays, beside their vectors."""
    head: Any = model.fusion
    axes = content = None
    if head.content_share:
        predicted = np.zeros((int((~factors.folded).sum()), factors.dim), np.float32)
        outputs = model.target.output(head.unseen)  # on the factors' scale
        predicted[factors.rows(head.centre_ids)] = outputs.cpu().numpy()
        content = content_listeners(factors, predicted, head.content_share)
        factors = replace(factors, users=users_in(factors, Listening(None, content)))
    if head.share:
        smoother = head.smoother().cpu()
        axes = listener_axes(factors, head.centre_ids, smoother, head.share, head.axes)
    return Listening(axes, content)


def _hear(model: Net, data: ColdStartData, listening: Listening) -> None:
    """Give the model's space what is known of listeners, or take it away."""
    head: Any = model.fusion
    head.heard.take(listening)
    data.lend(model.lend())  # which `space` needs; below, the reader of a target that may be wider
    model.build_target(data.space().about)
    model.target.to(model.device)
    head.to(model.device)
    data.lend(model.lend())
