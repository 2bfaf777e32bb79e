"""An epoch of attributes → factors: 66,000 tracks × 400 attributes in memory.

Floor: a bare PyTorch loop of the same net on the same tensors: shuffle, forward, the same loss,
backward, Adam; nothing else.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn import functional as F

from benchmarks.table import Row, clocked, main, now, summary
from benchmarks.worlds import attribute_world, trainer_options
from coldstart.data.datamodule import ColdStartData
from coldstart.encoders.attributes import MGP
from coldstart.training.lightning_module import ColdStart
from coldstart.training.ranks import parts_of

TRACKS, ATTRIBUTES, BATCH = 66_000, 400, 256


class Interleaved(Callback):
    """Times every epoch, and after each one an epoch of the floor."""

    def __init__(self) -> None:
        self.floor: Callable[[], object] | None = None
        self.pairs: list[tuple[float, float]] = []

    def on_train_epoch_start(self, *_: object) -> None:
        self.began = now()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ours = now() - self.began
        if self.floor is None:
            model, data = parts_of(trainer, pl_module)
            batches = list(data.batches(["train"], needs_target=True, alone=True))
            x = torch.cat([batch.inputs["mgp"].values for batch in batches])
            y = torch.cat([batch.target.values for batch in batches])
            copy = deepcopy(model)
            self.floor = lambda: bare(copy, x, y)
        self.pairs.append((ours, clocked(self.floor)))


def bare(model: ColdStart, x: torch.Tensor, y: torch.Tensor) -> None:
    """An epoch of a bare loop."""
    encoder = model.encoders["mgp"]
    assert isinstance(encoder, MGP)
    optimizer = model.configure_optimizers()
    model.train()
    for rows in torch.randperm(len(x)).split(BATCH):
        present = {"mgp": torch.ones(len(rows), dtype=torch.bool)}
        predicted = model.fusion({"mgp": encoder.encode(x[rows])}, present)
        loss = (1 - F.cosine_similarity(predicted, y[rows], dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def measure(rounds: int = 3) -> list[Row]:
    warnings.filterwarnings("ignore")
    times = Interleaved()
    with tempfile.TemporaryDirectory() as folder:
        world = attribute_world(Path(folder), TRACKS, ATTRIBUTES)
        data = ColdStartData(str(world.shards), str(world.factors), batch_size=BATCH)
        trainer = Trainer(max_epochs=1 + rounds, callbacks=[times], **trainer_options())
        trainer.fit(ColdStart({"mgp": MGP()}), datamodule=data)
    medians = summary(times.pairs[1:])  # the first warms up
    return [medians.row(f"epoch in memory, {TRACKS:,} tracks × {ATTRIBUTES} attributes", "≤ 1.3")]


if __name__ == "__main__":
    main(measure)
