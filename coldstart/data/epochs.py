"""Training epochs that can be resumed: a batch is a pure function of its key.

The key is (epoch, number). Who asks for the right keys gets the right batches, whatever was done
before, in whichever process: so nothing of a loader needs to be saved. Lightning knows the position
in the training; see docs/decisions/0011.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from coldstart.data.batch import Batch
from coldstart.sigterm import only_from_parent

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

Key = tuple[int, int]
"""Epoch, and number of the batch in it (of each rank)."""

Position = Callable[[], Key]
"""Tells which batch comes next; asked whenever an epoch begins or is resumed."""


def position_of(trainer: Trainer) -> Position:
    """The position of a trainer's fit, also when it is resumed in the middle of an epoch."""

    def position() -> Key:
        fit: Any = trainer.fit_loop
        midway = fit.restarting and not fit.epoch_loop.batch_progress.is_last_batch
        done = fit.epoch_loop.batch_progress.current.processed if midway else 0
        return fit.epoch_progress.current.processed, done

    return position


def counted() -> Position:
    """One epoch after the other, for a loop without a trainer."""
    epochs = count()
    return lambda: (next(epochs), 0)


class _Keys(Sampler[Key]):
    """The keys of what is left of an epoch, from `first` on."""

    def __init__(self, batches: int) -> None:
        self.batches, self.first = batches, (0, 0)

    def __iter__(self) -> Iterator[Key]:
        epoch, number = self.first
        return iter([(epoch, n) for n in range(number, self.batches)])


class TrainLoader:
    """Loads the training batches of an epoch, or of what is left of it.

    Not a `DataLoader` itself, for Lightning would put its own sampler in the place of the keys.
    """

    def __init__(
        self, batches_of: Dataset[Batch], batches: int, position: Position, workers: int = 0
    ) -> None:
        self.position, self._keys = position, _Keys(batches)
        self._loader: DataLoader[Batch] | None = DataLoader(
            batches_of,
            sampler=self._keys,
            batch_size=None,
            num_workers=workers,
            worker_init_fn=only_from_parent,
            persistent_workers=workers > 0,
            collate_fn=_unchanged,  # type: ignore[arg-type]  # batches come collated
            pin_memory=workers > 0 and torch.cuda.is_available(),
            generator=torch.Generator(),  # else it would draw from the one that dropout draws from
        )

    def __len__(self) -> int:
        return self._keys.batches

    def __iter__(self) -> Iterator[Batch]:
        assert self._loader is not None, "it is closed"
        self._keys.first = self.position()  # once: torch asks for the keys more than once
        return iter(self._loader)

    def close(self) -> None:
        """Let go of the worker processes."""
        self._loader = None

    def state_dict(self) -> dict[str, Any]:
        """Nothing: it tells Lightning that this loader can be resumed."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing: the keys say what comes next."""


def _unchanged(batch: Batch) -> Batch:
    return batch
