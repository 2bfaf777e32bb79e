"""Fitting a model whose fusion head is solved instead of trained."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError
from coldstart.fusion.base import Solvable
from coldstart.model.net import Net
from coldstart.targets.base import Target


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


def groups(data: ColdStartData) -> dict[str, int]:
    """Training track → number of what must be left out with it: its artist's tracks, if no held-out
    track's artist is in training; else itself alone.
    """
    train, held_out = (data.shards.all_tracks(s) for s in (["train"], ["val", "test"]))
    artist: dict[str, str] = {track["track_id"]: track.get("artist_id") or "" for track in train}
    held = {track.get("artist_id") for track in held_out} - {None, ""}
    apart = bool(held) and not held & set(artist.values())
    numbers: dict[tuple[bool, str], int] = {}
    return {
        track: numbers.setdefault((True, name) if apart and name else (False, track), len(numbers))
        for track, name in artist.items()
    }


def solve(model: Net, data: ColdStartData) -> None:
    """Solve for the head's weights, from all training tracks that have a vector.

    Every process reads all of them, and finds the same: no sum has to cross between processes.

    Raises:
        InputError: an encoder would have to be trained.
    """
    must_be_fixed(model)

    group = groups(data)

    def rows() -> Iterator[Solvable]:
        for batch in data.batches(["train"], needs_target=True, folded=True, alone=True):
            inputs, target = (moved := batch.to(model.device)).inputs, moved.target
            present = {name: modality.present for name, modality in inputs.items()}
            yield Solvable(
                encoded=model.encode(inputs),
                present=present,
                vectors=model.target.aim(target.values),
                group=torch.tensor([group[t] for t in batch.track_ids], device=model.device),
            )

    training = model.training
    model.eval()
    with torch.no_grad():
        said = model.fusion.solve(rows)
    model.train(training)
    rank_zero_info(said)
