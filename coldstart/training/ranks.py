"""Several processes of one fit: gathering what they have, and who writes."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError
from coldstart.model.predictions import OnePiece, Predictions, TrackMeans, join
from coldstart.training.lightning_module import ColdStart


def gather(trainer: Trainer, mine: Any) -> list[Any]:
    """Every rank's value, on every rank."""
    if trainer.world_size == 1:
        return [mine]
    everyone: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(everyone, mine)
    return everyone


def parts_of(trainer: Trainer, module: LightningModule) -> tuple[ColdStart, ColdStartData]:
    """The model and the data, which our callbacks need to be coldstart's."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(module, ColdStart) or not isinstance(data, ColdStartData):
        raise InputError("coldstart's callbacks need a ColdStart model and a ColdStartData")
    return module, data


def merged(trainer: Trainer, data: ColdStartData, mine: TrackMeans | OnePiece) -> Predictions:
    """What all ranks have collected, on every rank, in the dataset's order."""
    parts = [part for part in gather(trainer, mine.predictions() if len(mine) else None) if part]
    return join(parts, data.shards.all_tracks())


def is_main() -> bool:
    """Whether this process writes: the one, or rank 0 of several."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def is_first() -> bool:
    """Whether this is the one process, or the first of all machines' before they have met."""
    machine = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return is_main() and machine in ("", "0")
