"""An epoch of attributes → factors, beside a bare PyTorch loop: same net, same tensors.

    python benchmarks/epoch.py [--tracks 66000] [--attributes 400] [--rounds 3]

Both are timed in turn in one process; the ratio counts, absolute times mean little.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import torch
from lightning.pytorch import Callback, Trainer
from scipy.sparse import csr_matrix
from torch.nn import functional as F

from coldstart.data import ColdStartData
from coldstart.encoders.attributes import MGP
from coldstart.factors import VERSION, Factors
from coldstart.model import ColdStart
from coldstart.sharding import shard


class EpochTimes(Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def dataset(folder: Path, tracks: int, attributes: int, factors: int = 64) -> ColdStartData:
    """Random tables through the real `shard`, and random factors; everything trains."""
    generator = np.random.default_rng(0)
    ids = [f"t{i:07d}" for i in range(tracks)]
    names = [f"a{i}" for i in range(attributes)]
    values = generator.random((tracks, attributes), dtype=np.float32)
    pl.DataFrame({"track_id": ids, "title": ids, "artist": ids}).write_parquet(folder / "t.parquet")
    frame = pl.DataFrame(values, schema=names).insert_column(0, pl.Series("track_id", ids))
    frame.write_parquet(folder / "mgp.parquet")
    pl.DataFrame({"track_id": ids, "split": "train"}).write_parquet(folder / "s.parquet")
    began = time.perf_counter()
    shard(
        folder / "t.parquet",
        out=folder / "shards",
        splits=folder / "s.parquet",
        attributes={"mgp": str(folder / "mgp.parquet")},
        shard_size=1024,
    )
    print(f"sharding the attributes: {tracks / (time.perf_counter() - began):,.0f} tracks/s")
    Factors(
        track_ids=ids,
        user_ids=["u"],
        tracks=generator.normal(size=(tracks, factors)).astype(np.float32),
        users=np.ones((1, factors), dtype=np.float32),
        folded=np.zeros(tracks, dtype=bool),
        split=np.full(tracks, "train"),
        listens=csr_matrix((1, tracks), dtype=np.float32),
        about={"version": VERSION, "factors": factors, "protocol": "benchmark"},
    ).save(folder / "factors")
    return ColdStartData(str(folder / "shards"), str(folder / "factors"), batch_size=256)


def bare(model: ColdStart, x: torch.Tensor, y: torch.Tensor, batch: int) -> float:
    """Seconds of an epoch: shuffle, forward, the same loss, backward, Adam. Nothing else."""
    encoder = model.encoders["mgp"]
    optimizer = torch.optim.Adam(model.parameters())
    model.train()
    began = time.perf_counter()
    for rows in torch.randperm(len(x)).split(batch):
        present = {"mgp": torch.ones(len(rows), dtype=torch.bool)}
        predicted = model.fusion({"mgp": encoder.encode(x[rows])}, present)  # type: ignore[operator]
        loss = (1 - F.cosine_similarity(predicted, y[rows], dim=1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=66_000)
    parser.add_argument("--attributes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        data = dataset(Path(folder), given.tracks, given.attributes)
        ratios, ours, floor = [], [], []
        for _ in range(given.rounds):
            times = EpochTimes()
            model = ColdStart({"mgp": MGP()})
            trainer = Trainer(
                max_epochs=2,
                callbacks=[times],
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                limit_val_batches=0,
                accelerator="cpu",
            )
            trainer.fit(model, datamodule=data)
            everything = data.batches(["train"], alone=True).everything  # type: ignore[attr-defined]
            x, y = everything.inputs["mgp"].values, everything.target.values
            floor.append(bare(model, x, y, data.batch_size))
            ours.append(times.seconds[-1])  # the first epoch warms up
            ratios.append(ours[-1] / floor[-1])
    print(f"{given.tracks:,} tracks × {given.attributes} attributes, batch 256, CPU")
    print("| epoch | coldstart, s | bare loop, s | ratio (median) |")
    print("|---|---|---|---|")
    medians = [statistics.median(figures) for figures in (ours, floor, ratios)]
    print("| train | {:.2f} | {:.2f} | {:.2f} |".format(*medians))


if __name__ == "__main__":
    main()
