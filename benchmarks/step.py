"""A training step of the shipped configurations for a CPU, on batches that exist already.

Ours: Lightning with the callbacks, the logger and the progress bar of `coldstart fit`. Floor: a
bare PyTorch step of the same net on the same batch: forward, the same loss, backward, Adam. A few
steps of each, in turn, within one fit.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.table import Row, clocked, main, now, summary
from benchmarks.worlds import FACTORS, World, attribute_world
from coldstart import ColdStart, ColdStartData, registry
from coldstart.audio.codec import SAMPLE_RATE
from coldstart.data.batch import Batch
from coldstart.encoders.base import Encoder, Modality
from coldstart.training.prediction_writers import PredictionWriter
from coldstart.training.reports import FitReport, TestReport
from coldstart.training.run_checkpoint import RunCheckpoint

CONFIGS = {"mgp": 20, "audio_small": 1}
"""Shipped configuration → steps in turn."""


class Interleaved(Callback):
    """Times every few training steps, and after them as many steps of the floor."""

    def __init__(self, floor: Callable[[], object], steps: int) -> None:
        self.floor, self.steps = floor, steps
        self.pairs: list[tuple[float, float]] = []

    def on_train_start(self, *_: object) -> None:
        self.began = now()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % self.steps == 0:
            ours = now() - self.began
            self.pairs.append((ours, clocked(lambda: [self.floor() for _ in range(self.steps)])))
            self.began = now()


class Repeated(Dataset[Batch]):
    """The same batch, a number of times."""

    def __init__(self, batch: Batch, times: int) -> None:
        self.batch, self.times = batch, times

    def __len__(self) -> int:
        return self.times

    def __getitem__(self, number: int) -> Batch:
        return self.batch


class OneBatch(ColdStartData):
    """Gives one batch again and again; no sound is read for it."""

    batch: Batch
    steps: int

    def info(self, folder: str) -> Mapping[str, Any]:
        return {"sample_rate": SAMPLE_RATE} if folder == "audio" else super().info(folder)

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(
            Repeated(self.batch, self.steps),
            batch_size=None,
            collate_fn=_unchanged,  # type: ignore[arg-type]  # batches come collated
        )


def _unchanged(batch: Batch) -> Batch:
    return batch


def shipped(name: str) -> tuple[dict[str, Any], int]:
    """A configuration's encoders, and its batch size."""
    text = (Path(__file__).parents[1] / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    encoders = {
        key: registry.load("encoders", encoder["class_path"])(**encoder.get("init_args", {}))
        for key, encoder in config["model"]["encoders"].items()
    }
    return encoders, config["data"]["batch_size"]


def own_adam(model: ColdStart) -> torch.optim.Optimizer:
    """The optimizer that trains the model."""
    return model.configure_optimizers()


def default_adam(model: ColdStart) -> torch.optim.Optimizer:
    """The optimizer of a plain PyTorch loop."""
    return torch.optim.Adam(model.parameters())


FLOORS = {
    "the same Adam": own_adam,
    "PyTorch's default Adam": default_adam,
}


def bare(
    model: ColdStart, batch: Batch, adam: Callable[[ColdStart], torch.optim.Optimizer]
) -> Callable[[], None]:
    """A step, to be called again and again."""
    optimizer = adam(model)
    model.train()
    values = {name: modality.values for name, modality in batch.inputs.items()}
    present = {name: modality.present for name, modality in batch.inputs.items()}

    encoders = {
        name: module for name, module in model.encoders.items() if isinstance(module, Encoder)
    }

    def step() -> None:
        encoded = {name: encoders[name].encode(x) for name, x in values.items()}
        predicted = model.fusion(encoded, present)
        loss = (1 - F.cosine_similarity(predicted, batch.target.values, dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def noise_batch(data: ColdStartData, model: ColdStart, size: int) -> Batch:
    """Noise in the shapes of the model's inputs."""
    present = torch.ones(size, dtype=torch.bool)
    shapes = {
        name: getattr(encoder, "samples", None) or len(data.info(name)["names"])
        for name, encoder in model.encoders.items()
    }
    inputs = {name: Modality(torch.randn(size, width), present) for name, width in shapes.items()}
    return Batch(inputs, Modality(torch.randn(size, FACTORS), present), ["t"] * size)


def interleaved(
    world: World,
    name: str,
    rounds: int,
    folder: Path,
    adam: Callable[[ColdStart], torch.optim.Optimizer] = own_adam,
    **options: Any,
) -> list[tuple[float, float]]:
    """Seconds of a configuration's steps and of the floor's, in turn."""
    encoders, size = shipped(name)
    model = ColdStart(encoders, **options.pop("model", {}))
    data = OneBatch(str(world.shards), str(world.factors), batch_size=size)
    model.build(data.info)
    data.batch = noise_batch(data, model, size)
    steps = CONFIGS[name]
    data.steps = (1 + 2 * rounds) * steps
    times = Interleaved(bare(deepcopy(model), data.batch, adam), steps)
    trainer = Trainer(
        max_epochs=1,
        limit_val_batches=0,
        accelerator="cpu",
        default_root_dir=folder,
        logger=CSVLogger(folder),
        callbacks=[RunCheckpoint(), FitReport(), TestReport(), PredictionWriter(), times],
        **options,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(model, datamodule=data)
    return times.pairs[1:]  # the first warms up


def measure(rounds: int = 3) -> list[Row]:
    warnings.filterwarnings("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        world = attribute_world(Path(folder), 600, 400)
        for (name, steps), (floor, adam) in product(CONFIGS.items(), FLOORS.items()):
            times = summary(interleaved(world, name, rounds, Path(folder), adam))
            item = f"{steps} training steps, {name}.yaml, batch {shipped(name)[1]} (floor: {floor})"
            rows.append(times.row(item, "≤ 1.1"))
    return rows


if __name__ == "__main__":
    main(measure)
