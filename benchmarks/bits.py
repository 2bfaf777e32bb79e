"""Accuracy of one net trained from FLAC, and from spectrograms of 16 and of 8 bits.

    python -m benchmarks.bits [--tracks 240] [--seeds 3] [--epochs 24] [--out FOLDER]

The catalogue is invented; the split, the factors and the settings are the same for all. The last
column needs no training: the net trained from FLAC reads the other stores, and the column shows the
mean cosine between what it predicts from them and from FLAC.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml
from torch.nn import functional as F

from coldstart.commands.factorize import factorize
from coldstart.commands.fit import fit
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.commands.test import test
from coldstart.datasets.synthetic import make_catalogue
from coldstart.encoders.spectrogram import Spectrogram
from coldstart.fusion.concat import Concat
from coldstart.shards.reading import Shards
from coldstart.training.lightning_module import ColdStart, load

RATE = 11_025
SPECTROGRAM = {"bins": 72, "fmin": 65.4, "frame_hop": 1024}
STORES: dict[str, tuple[str, dict[str, Any]]] = {
    "FLAC": ("audio_small.yaml", {}),
    "float16": ("audio_cqt_small.yaml", {"store": "cqt", "bits": 16, **SPECTROGRAM}),
    "uint8": ("audio_cqt_small.yaml", {"store": "cqt", "bits": 8, **SPECTROGRAM}),
}


def figures(
    folder: Path, tracks: int, seeds: range, epochs: int
) -> dict[str, list[dict[str, Any]]]:
    """Store → the results of each seed's test."""
    table = make_catalogue(folder / "catalogue", tracks=tracks, users=tracks) / "tracks.parquet"
    split(table, out=folder / "splits.parquet")
    factorize(
        table.parent / "listens.parquet",
        out=folder / "factors",
        splits=folder / "splits.parquet",
        factors=16,
    )
    for name, (_, options) in STORES.items():
        shard(
            table,
            out=folder / name,
            splits=folder / "splits.parquet",
            sample_rate=RATE,
            shard_size=32,
            **options,
        )
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in STORES}
    for seed in seeds:
        for name, (config, options) in STORES.items():
            overrides = {
                "data.shards": folder / name,
                "data.factors": folder / "factors",
                "seed_everything": seed,
                "trainer.max_epochs": epochs,
                "trainer.enable_progress_bar": False,
            }
            if not options:
                for key, value in SPECTROGRAM.items():
                    overrides[f"model.encoders.audio.{key}"] = value
            run = fit(config, run=str(folder / "runs" / f"{name}-{seed}"), overrides=overrides)
            results[name].append(test(run))
    return results


def agreement(folder: Path, store: str, seed: int) -> float:
    """The mean cosine, over all tracks, of what a net trained from FLAC predicts from a store and
    from FLAC.
    """
    original = load(folder / "runs" / f"FLAC-{seed}")
    config = yaml.safe_load((folder / "runs" / f"uint8-{seed}" / "config.yaml").read_text())
    options = config["model"]["encoders"]["audio"]["init_args"]
    copy = ColdStart({"audio": Spectrogram(**options)}, fusion=Concat())
    facts = {**original.facts, "cqt": Shards(folder / store).info("cqt")}
    copy.build(facts.__getitem__)
    copy.load_state_dict(original.state_dict())
    from_flac, from_store = original.embed(folder / "FLAC"), copy.eval().embed(folder / store)
    rows = [from_store.track_ids.index(track) for track in from_flac.track_ids]
    return float(F.cosine_similarity(from_flac.values, from_store.values[rows]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracks", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--out", type=Path, help="keep everything here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.out or Path(name)
        seeds = range(arguments.seeds)
        results = figures(folder, arguments.tracks, seeds, arguments.epochs)
        print("\n| store | KB a track | cosine distance | NDCG@20 | with FLAC's weights, cosine |")
        print("|---|---|---|---|---|")
        for store, tests in results.items():
            rows = [test["rows"][0] for test in tests]
            files = list((folder / store).glob(f"*/{'audio' if store == 'FLAC' else 'cqt'}/*.tar"))
            size = sum(file.stat().st_size for file in files) / arguments.tracks / 1e3
            cells = []
            for key in ("cosine", "ndcg"):
                values = [row[key] for row in rows]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f}")
            cosines = [1.0] if store == "FLAC" else [agreement(folder, store, s) for s in seeds]
            cells.append(f"{statistics.mean(cosines):.5f}")
            print(f"| {store} | {size:.0f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
