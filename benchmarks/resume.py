"""What it costs that an interrupted fit goes on exactly, beside an epoch of the same fit.

    python benchmarks/resume.py [--tracks 300] [--net small]

A checkpoint within an epoch, and passing over what an interrupted epoch has had. The ratios count,
absolute times mean little. Audio at 22,050 Hz, one loader worker, on whatever PyTorch finds.
"""

import argparse
import tempfile
import time
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer

from coldstart.data import ColdStartData
from coldstart.encoders.audio import Audio
from coldstart.factors import factorize
from coldstart.model import ColdStart
from coldstart.run_checkpoint import RunCheckpoint
from coldstart.sharding import shard
from coldstart.splits import split
from coldstart.synth import make_catalogue


class Timed(RunCheckpoint):
    """Saves after each step, and times it; and what an epoch takes without that."""

    def __init__(self) -> None:
        super().__init__(minutes=0)
        self.saving: list[float] = []
        self.epochs: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began, self.before = time.perf_counter(), sum(self.saving)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        saved = sum(self.saving) - self.before
        self.epochs.append(time.perf_counter() - self.began - saved)
        super().on_train_epoch_end(trainer, pl_module)

    def _save_last(self, trainer: Trainer) -> None:
        began = time.perf_counter()
        super()._save_last(trainer)
        self.saving.append(time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tracks", type=int, default=300)
    parser.add_argument("--net", default="small")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make_catalogue(root / "c", tracks=options.tracks, users=100, seed=0, workers=1)
        tracks, splits = root / "c" / "tracks.parquet", root / "splits.parquet"
        split(tracks, out=splits)
        factorize(root / "c" / "listens.parquet", out=root / "f", splits=splits, factors=16)
        shard(tracks, out=root / "s", splits=splits, shard_size=16, workers=1, modalities=["audio"])
        data = ColdStartData(str(root / "s"), str(root / "f"), batch_size=16, workers=1)
        model = ColdStart({"audio": Audio(net=options.net, patch_seconds=10)})
        kept = Timed()
        Trainer(
            max_epochs=2,
            default_root_dir=root / "run",
            callbacks=[kept],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(model, data)
        data.trainer = None
        data.lend(model.lend())
        loader = data.batches(["train"], training=True)
        list(loader)  # the worker starts
        began = time.perf_counter()
        list(loader)
        loading = time.perf_counter() - began
        loader.where = lambda: (7, len(loader) - 1)  # type: ignore[attr-defined]
        began = time.perf_counter()
        (_,) = loader
        passing = time.perf_counter() - began
        size = (root / "run" / "checkpoints" / "last.ckpt").stat().st_size
    epoch, saving = min(kept.epochs), sorted(kept.saving)[len(kept.saving) // 2]
    print(f"an epoch of {len(loader)} batches takes {epoch:.2f} s, {loading:.2f} s of it loading")
    print(
        f"a checkpoint of {size / 1e6:.1f} MB: {saving:.3f} s, {saving / 300:.3%} of five minutes"
    )
    print(
        f"to its last batch: {passing:.2f} s, {passing / loading:.1%} of loading the epoch, ",
        end="",
    )
    print(f"{passing / epoch:.1%} of the epoch")


if __name__ == "__main__":
    main()
