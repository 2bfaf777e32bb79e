"""What is killed in `kills.py`: seven verbs on a tiny world, and how outcomes are compared."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import yaml
from helpers import SAMPLE_RATE, SMALL_AUDIO, assert_same_fit, noise_flac

from coldstart.cli import main
from coldstart.datasets.synthetic import make_catalogue
from coldstart.factors.update import current_factors
from coldstart.model.predictions import Predictions

QUIET = ["--trainer.enable_progress_bar=false", "--data.workers=0"]
AUDIO = [f"--{key}={value}" for key, value in SMALL_AUDIO.items()]
FIT = [
    "--config=mgp_genres.yaml",
    "--model.fusion=SharedBranch",
    "--model.modality_dropout=0.3",
    "--stages=1",
    "--optimizer=Adam",
    "--lr_scheduler=ReduceLROnPlateau",
    "--lr_scheduler.monitor=val_loss",
    "--lr_scheduler.patience=0",
    "--checkpoint.minutes=0",
    "--data.batch_size=16",
    "--trainer.max_epochs=4",
]
ABLATION = {
    "parts": {"mgp": "mgp.yaml", "genres": "genres.yaml"},
    "rows": [["mgp", "genres"]],
    "seeds": [0],
    "stages": [2],
    "stage_folds": 1,
    "settings": {"trainer.max_epochs": 1, "data.workers": 0},
}
MEASURES = ("ndcg", "recall", "epochs")

PARTS = {
    "shard": [],
    "add": ["shards", "factors", "run"],
    "predict": ["shards", "factors", "audio"],
    "update": ["factors"],
    "ablate": ["shards", "factors"],
    "fit": ["shards", "factors"],
    "extract": [],
}
"""What lies in the folder before the verb begins."""


class Scene:
    """A tiny world under a folder, and the folder in which verbs are killed: always the same one,
    for runs and tables remember where they lie.
    """

    def __init__(self, root: Path, **ablation: object) -> None:
        """Make it in an empty folder; 60 tracks, of which a dataset has the first 48.

        Args:
            root: the folder.
            ablation: what is other than in ABLATION.
        """
        self.root, self.work, self.tables = root, root / "work", root / "tables"
        make_catalogue(self.tables, tracks=60, users=40, seed=0, audio=False)
        tracks = pl.read_parquet(self.tables / "tracks.parquet")
        tracks = tracks.with_columns(audio=pl.col("track_id") + ".flac")
        for seed, name in enumerate(tracks["audio"]):
            (self.tables / name).write_bytes(noise_flac(3 * SAMPLE_RATE, seed=seed))
        tracks[:48].write_parquet(self.tables / "first.parquet")
        tracks[48:].write_parquet(self.tables / "later.parquet")
        listens = pl.read_parquet(self.tables / "listens.parquet").sample(
            fraction=1, shuffle=True, seed=0
        )
        ends = [int(share * len(listens)) for share in (0, 0.7, 0.85, 1)]
        for number, (start, end) in enumerate(pairwise(ends)):
            listens[start:end].write_parquet(self.tables / f"listens{number}.parquet")
        run(["split", f"{self.tables}/first.parquet", f"--out={self.tables}/splits.csv"])
        (self.tables / "ablation.yaml").write_text(yaml.safe_dump(ABLATION | ablation))
        self.work.mkdir()
        run(self.command("shard"))
        run(
            [
                "factorize",
                f"{self.tables}/listens0.parquet",
                f"--out={self.work}/factors",
                f"--splits={self.tables}/splits.csv",
                "--factors=8",
            ]
        )
        run(["update", f"{self.work}/factors", f"--listens={self.tables}/listens1.parquet"])
        run(self.command("fit"))
        audio = ["fit", "--config=audio.yaml", *AUDIO, *QUIET, *self.data()]
        run([*audio, f"--run={self.work}/audio", "--trainer.max_epochs=1"])
        run(["predict", f"--run={self.work}/run", *QUIET])
        self.work.rename(self.root / "template")

    def data(self) -> list[str]:
        """Flags of a fit."""
        return [f"--data.shards={self.work}/shards", f"--data.factors={self.work}/factors"]

    def prepare(self, verb: str) -> Path:
        """The folder as it is before the verb."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for part in PARTS[verb]:
            shutil.copytree(self.root / "template" / part, self.work / part)
        return self.work

    def command(self, verb: str) -> list[str]:
        """What is called, again and again."""
        work, tables = self.work, self.tables
        mgp = f"--attributes.mgp={tables}/mgp.parquet"
        shards = f"--shards={work}/shards"
        commands = {
            "shard": [
                f"{tables}/first.parquet",
                mgp,
                f"--out={work}/shards",
                f"--splits={tables}/splits.csv",
                "--sample-rate=8000",
                "--shard-size=8",
                "--workers=1",
            ],
            "add": [f"{tables}/later.parquet", shards, f"--run={work}/run", mgp],
            "predict": [
                f"--run={work}/audio",
                *QUIET,
                "--data.batch_size=6",
                "--checkpoint.minutes=0",
            ],
            "update": [f"{work}/factors", f"--listens={tables}/listens2.parquet"],
            "ablate": [
                f"--config={tables}/ablation.yaml",
                shards,
                f"--factors={work}/factors",
                f"--out={work}/ablation",
            ],
            "fit": [*FIT, *QUIET, *self.data(), f"--run={work}/run", "--ckpt_path=last"],
            "extract": ["MFCC", f"--audio={tables}/first.parquet", f"--out={work}/heard"],
        }
        return [verb, *commands[verb]]

    def compare(self, verb: str, whole: Path, folder: Path) -> None:
        """AssertionError unless both folders hold the same outcome."""
        COMPARISONS[verb](whole, folder)

    def is_told(self, path: str, words: str) -> bool:
        """Whether it was said what became of a temporary that a kill had left."""
        told = [line for line in words.splitlines() if "killed" in line]
        inside = Path(path).relative_to(self.work)
        places = [self.work / inside, *(self.work / above for above in inside.parents[:-1])]
        return any(str(place) in line for place in places for line in told)


def run(args: list[str]) -> None:
    """Run a command that must succeed."""
    assert main(args) == 0, args


def same_shards(whole: Path, folder: Path) -> None:
    """The same bytes, and each track once."""
    whole, folder = whole / "shards", folder / "shards"
    for path in sorted(whole.rglob("*")):
        if path.suffix in (".tar", ".json"):
            other = folder / path.relative_to(whole)
            assert other.is_file(), f"{other} is missing"
            assert path.read_bytes() == other.read_bytes(), f"{other} differs"
    members: Counter[tuple[str, str]] = Counter()
    for tar in folder.glob("*/*/*.tar"):
        with tarfile.open(tar) as file:
            members.update((tar.parent.name, name) for name in file.getnames())
    assert members.total() > 0
    assert set(members.values()) == {1}, "a track is there twice"


def same_addition(whole: Path, folder: Path) -> None:
    """The same shards, and the same vectors of old and new tracks."""
    same_shards(whole, folder)
    same_vectors(whole / "run", folder / "run")


def same_vectors(whole: Path, folder: Path) -> None:
    """Stored predictions of the same tracks; nearly so, where they were batched otherwise."""
    one, two = (Predictions.load(place / "predictions") for place in (whole, folder))
    assert one.track_ids == two.track_ids
    assert torch.allclose(one.values, two.values, atol=1e-6)


def same_factors(whole: Path, folder: Path) -> None:
    """The same vectors, bit for bit, by the same updates."""
    one, two = (current_factors(place / "factors") for place in (whole, folder))
    assert (one.track_ids, one.user_ids) == (two.track_ids, two.user_ids)
    assert np.array_equal(one.tracks, two.tracks)
    assert np.array_equal(one.users, two.users)
    assert one.about["updates"] == two.about["updates"] == 2
    one, two = (
        json.loads((p / "factors/updates/report.json").read_text()) for p in (whole, folder)
    )
    assert (one["updates"], one["age"]) == (two["updates"], two["age"])


def same_table(whole: Path, folder: Path) -> None:
    """The same rows; only seconds may differ."""
    one, two = (json.loads((p / "ablation/ablation.json").read_text()) for p in (whole, folder))
    assert _without_seconds(one) == _without_seconds(two)


def _without_seconds(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _without_seconds(v) for k, v in content.items() if "seconds" not in k}
    return [_without_seconds(each) for each in content] if isinstance(content, list) else content


def same_weights(whole: Path, folder: Path) -> None:
    """The same weights, optimizer, schedulers and random states, bit for bit."""
    assert_same_fit(whole / "run", folder / "run")


def same_features(whole: Path, folder: Path) -> None:
    """The same tables, each track once."""
    one, two = (pl.read_parquet(place / "heard/vectors.parquet") for place in (whole, folder))
    assert one.equals(two)
    assert one["track_id"].is_unique().all()


COMPARISONS: dict[str, Callable[[Path, Path], None]] = {
    "shard": same_shards,
    "add": same_addition,
    "predict": lambda whole, folder: same_vectors(whole / "audio", folder / "audio"),
    "update": same_factors,
    "ablate": same_table,
    "fit": same_weights,
    "extract": same_features,
}
