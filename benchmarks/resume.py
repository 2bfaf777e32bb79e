"""What it costs that an interrupted fit resumes exactly, compared with an epoch of the same fit.

    python -m benchmarks.resume [--rounds 3]

A checkpoint within an epoch, and skipping the batches that an interrupted epoch has had. Audio at
22,050 Hz, one loader worker; TRACKS=… scales it.
"""

import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from benchmarks.table import Row, in_turn, main, seconds
from benchmarks.worlds import trainer_options
from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.data.datamodule import ColdStartData
from coldstart.data.epochs import Key, TrainLoader
from coldstart.datasets.synthetic import make_catalogue
from coldstart.encoders.audio import Audio
from coldstart.training.lightning_module import ColdStart
from coldstart.training.run_checkpoint import RunCheckpoint

TRACKS = int(os.environ.get("TRACKS", "200"))


class Timed(RunCheckpoint):
    """Saves after each step and times it; also times each epoch without the saving."""

    def __init__(self) -> None:
        super().__init__(minutes=0)
        self.saving: list[float] = []
        self.epochs: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began, self.saving_before = time.perf_counter(), sum(self.saving)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        saving = sum(self.saving) - self.saving_before
        self.epochs.append(time.perf_counter() - self.began - saving)
        super().on_train_epoch_end(trainer, pl_module)

    def _save_last(self, trainer: Trainer) -> None:
        began = time.perf_counter()
        super()._save_last(trainer)
        self.saving.append(time.perf_counter() - began)


def measure(rounds: int = 3) -> list[Row]:
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_catalogue(root / "c", tracks=TRACKS, users=100, seed=0, workers=1)
        tracks, splits = root / "c" / "tracks.parquet", root / "splits.parquet"
        split(tracks, out=splits)
        factorize(root / "c" / "listens.parquet", out=root / "f", splits=splits, factors=16)
        shard(tracks, out=root / "s", splits=splits, shard_size=16, workers=1, modalities=["audio"])
        data = ColdStartData(str(root / "s"), str(root / "f"), batch_size=16, workers=1)
        model = ColdStart({"audio": Audio(net="small", patch_seconds=10)})
        timed = Timed()
        options = {**trainer_options(), "enable_checkpointing": True, "limit_val_batches": 1.0}
        trainer = Trainer(
            max_epochs=1 + rounds, default_root_dir=root / "run", callbacks=[timed], **options
        )
        trainer.fit(model, data)
        data.trainer = None
        data.lend(model.lend())
        loader = data.batches(["train"], training=True)
        assert isinstance(loader, TrainLoader)
        list(loader)  # the worker starts
        first, last = (0, 0), (7, len(loader) - 1)
        times = in_turn(
            lambda: loading_seconds(loader, last), lambda: loading_seconds(loader, first), rounds
        )
        size = (root / "run" / "checkpoints" / "last.ckpt").stat().st_size / 1e6
    saving, epoch = statistics.median(timed.saving), statistics.median(timed.epochs)
    minutes = 60 * RunCheckpoint().minutes
    return [
        Row(
            f"training with a checkpoint of {size:.1f} MB every {minutes:.0f} s",
            seconds(minutes + saving),
            seconds(minutes),
            1 + saving / minutes,
            "≤ 1.01",
        ),
        times.row("loading the last batch of an interrupted epoch (floor: all of it)", "≤ 0.25"),
        Row(
            "the same (floor: training the epoch)",
            seconds(times.ours),
            seconds(epoch),
            times.ours / epoch,
            "≤ 0.05",
        ),
    ]


def loading_seconds(loader: TrainLoader, first: Key) -> float:
    """Seconds of loading an epoch from this batch on."""
    loader.position = lambda: first
    began = time.perf_counter()  # a worker's time counts too
    list(loader)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(measure)
