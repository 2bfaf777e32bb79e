"""The LightningDataModule: a dataset's batches for a trainer, wherever that is in its fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from coldstart.data.batch import Batch, Lent
from coldstart.data.epochs import Position, TrainLoader, counted, position_of
from coldstart.data.track_data import TrackData
from coldstart.tables.splits import IN_USE


class ColdStartData(TrackData, LightningDataModule):
    """Shards, and the factors to be predicted from them, as batches for a `ColdStart` model."""

    _seed: int | None = None
    _training: TrainLoader | None = None
    _finished: tuple[Callable[[], set[str]], ...] = ()

    def _readers(self) -> Lent:
        """The trainer's model is asked if nobody has lent any."""
        module: Any = self.trainer.lightning_module if self.trainer else None
        return self._lent or module.lend()

    def ask_finished(self, look: Callable[[], set[str]]) -> None:
        """Before the next predict, ask which tracks need not be predicted; all must agree."""
        self._finished = (*self._finished, look)

    def train_dataloader(self) -> Iterable[Batch]:
        """Shuffled training tracks that have a target."""
        loader = self.batches(["train"], training=True)
        if isinstance(loader, TrainLoader):
            self._training = loader
        return loader

    def val_dataloader(self) -> Iterable[Batch]:
        """Validation tracks that have a target."""
        return self.batches(["val"], needs_target=True, folded=True)

    def test_dataloader(self) -> Iterable[Batch]:
        """All test tracks, also those that nobody played."""
        return self.batches(["test"], only=self.candidates)

    def predict_dataloader(self) -> Iterable[Batch]:
        """All tracks in use, also new ones, without those that are finished already."""
        finished = (
            set.intersection(*(look() for look in self._finished)) if self._finished else set()
        )
        if self.trainer is not None:  # ranks may look while others write
            finished = self.trainer.strategy.broadcast(finished)
        if not finished:
            return self.batches(IN_USE)
        ids = [track["track_id"] for track in self.shards.tracks_in_use()]
        unfinished = [track for track in ids if track not in finished]
        return self.batches(IN_USE, only=unfinished or ids[-1:])

    def _position(self) -> Position:
        """Where the trainer is, if one is training; else one epoch after the other."""
        fitting = self.trainer is not None and self.trainer.training
        return position_of(self.trainer) if fitting else counted()  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """What the data order depends on, for a checkpoint."""
        return {} if self._seed is None else {"seed": self._seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue in a checkpoint's data order."""
        self._seed = state_dict["seed"]

    def teardown(self, stage: str) -> None:
        """End the worker processes; the next fit has an order of its own."""
        self._finished = ()
        if self._training is not None:
            self._training.close()
        self._training = self._seed = None

    def _rank_world_seed(self) -> tuple[int, int, int]:
        # Every rank must shuffle alike, also where nobody has set a seed.
        seed = torch.initial_seed() % 2**32 if self._seed is None else self._seed
        if self.trainer is None:
            return 0, 1, seed
        self._seed = seed = self.trainer.strategy.broadcast(seed)
        return self.trainer.global_rank, self.trainer.world_size, seed
