"""An epoch of attributes → factors: 66,000 tracks × 400 attributes in memory.

Floor: a bare PyTorch loop of the same net on the same tensors: shuffle, forward, the same loss,
backward, Adam; nothing else.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from torch.nn import functional as F

from benchmarks.table import Row, clocked, in_turn, main
from benchmarks.worlds import EpochTimes, attribute_world, trainer_options
from coldstart.data import ColdStartData
from coldstart.encoders.attributes import MGP
from coldstart.model import ColdStart

TRACKS, ATTRIBUTES, BATCH = 66_000, 400, 256


def ours(data: ColdStartData) -> tuple[float, ColdStart]:
    """Seconds of an epoch after one that warms up, and the model."""
    times, model = EpochTimes(), ColdStart({"mgp": MGP()})
    trainer = Trainer(max_epochs=2, callbacks=[times], **trainer_options())
    trainer.fit(model, datamodule=data)
    return times.seconds[-1], model


def bare(model: ColdStart, x: torch.Tensor, y: torch.Tensor) -> None:
    """An epoch of a bare loop."""
    encoder = model.encoders["mgp"]
    optimizer = torch.optim.Adam(model.parameters())
    model.train()
    for rows in torch.randperm(len(x)).split(BATCH):
        present = {"mgp": torch.ones(len(rows), dtype=torch.bool)}
        predicted = model.fusion({"mgp": encoder.encode(x[rows])}, present)  # type: ignore[operator]
        loss = (1 - F.cosine_similarity(predicted, y[rows], dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def measure(rounds: int = 3) -> list[Row]:
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        world = attribute_world(Path(folder), TRACKS, ATTRIBUTES)
        data = ColdStartData(str(world.shards), str(world.factors), batch_size=BATCH)
        model = ours(data)[1]
        everything = data.batches(["train"], alone=True).everything  # type: ignore[attr-defined]
        x, y = everything.inputs["mgp"].values, everything.target.values
        times = in_turn(lambda: ours(data)[0], lambda: clocked(lambda: bare(model, x, y)), rounds)
    return [times.row(f"epoch in memory, {TRACKS:,} tracks × {ATTRIBUTES} attributes", "≤ 1.3")]


if __name__ == "__main__":
    main(measure)
