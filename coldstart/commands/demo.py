"""The verb `demo`: the whole path on an invented catalogue, from a listening log to ranked tracks
that nobody has played.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from coldstart.commands.factorize import factorize
from coldstart.commands.fit import fit
from coldstart.commands.predict import predict
from coldstart.commands.recommend import recommend
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.commands.test import test
from coldstart.datasets.synthetic import make_catalogue
from coldstart.evaluation.evaluate import OURS, PATCHES
from coldstart.evaluation.results import Row, caption, table
from coldstart.files import StrPath, write_json
from coldstart.runs.run import open_run
from coldstart.shards.reading import Shards
from coldstart.training.lightning_cli import Overrides

ROWS = {
    "audio": "audio",
    "mgp": "mgp",
    "kernel": "mgp+genres",
    "mlg": "mlg",
    "audio_mlg": "audio+mlg",
    "audio_mlg_genres": "audio+mlg+genres",
}
"""A row's config, and its inputs as the table names them."""


FOLDS = 2

FACTORS: dict[str, dict[str, Any]] = {
    "factors": {"factors": 32},
    "factors_kernel": {"factors": 256, "shrinkage": 0.15, "axes": "scores"},
}
"""What nets learn from by the talk's cosine, and what `kernel.yaml` is made for."""

# What a laptop's CPU needs, where the shipped configs are made for a GPU.
SMALL = {
    "model.encoders.audio.net": "small",
    "model.encoders.audio.patch_seconds": 10,
    "model.encoders.audio.hop": 1.0,
    "model.encoders.audio.frame_hop": 2048,
    "model.encoders.audio.bins": 72,
    "model.encoders.audio.fmin": 65.4,
    "model.encoders.audio.dim": 128,
    "data.batch_size": 32,
    "trainer.max_epochs": 10,
}


def demo(
    *,
    out: StrPath = "runs/demo",
    tracks: int = 400,
    users: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """Run the whole path on an invented catalogue: a few minutes on two cores.

    Writes a catalogue with a known truth (rendered sound, attributes, genres, listeners), splits,
    factors, shards, listeners and models into `out`; prints the results table and recommendations
    for three tracks that nobody has played. A demo that was interrupted goes on where it stopped.

    Args:
        out: folder to write.
        tracks: size of the catalogue.
        users: number of listeners.
        seed: of everything.

    Returns:
        What is also written to `out`/demo.json: the rows of the table, and the seconds taken.
    """
    root, began = Path(out), time.perf_counter()
    small = {**SMALL, "seed_everything": seed}

    _step(1, f"an invented catalogue: {tracks:,} tracks, {users:,} listeners, seed {seed}")
    catalogue = make_catalogue(root / "catalogue", tracks=tracks, users=users, seed=seed)
    _step(2, "split, factorise, shard")
    splits = root / "splits.parquet"
    if not splits.exists():
        split(catalogue / "tracks.parquet", out=splits, seed=seed)
    for name, options in FACTORS.items():
        if not (root / name / "factors.json").exists():
            log = catalogue / "listens.parquet"
            factorize(log, out=root / name, splits=splits, seed=seed, **options)
    shard(
        catalogue / "tracks.parquet",
        out=root / "shards",
        splits=splits,
        attributes={"mgp": str(catalogue / "mgp.parquet")},
        shard_size=64,
        seed=seed,
    )
    shards = {"data.shards": str(root / "shards")}

    _step(3, f"{FOLDS} listeners learn to hear the attributes, each on the other's tracks (MLG)")
    for fold in range(FOLDS):
        if fold in Shards(root / "shards").modalities.get("mlg", {}).get("parts", []):
            continue
        run = root / f"listener{fold}"
        _fit("listener", run, {**small, **shards, "data.folds": FOLDS, "data.fold": fold})
        predict(run)

    rows: list[Row] = []
    for number, name in enumerate(ROWS, start=4):
        _step(number, f"fit and test {name}.yaml")
        run = root / name
        if not (run / "results.json").exists():
            kept = small if name.startswith("audio") else {"seed_everything": seed}
            kept = {**kept, "stage-folds": FOLDS}  # nets of the rows of several modalities
            factors = "factors_kernel" if name == "kernel" else "factors"
            _fit(name, run, {**kept, **shards, "data.factors": str(root / factors)})
            test(run)
        results = json.loads((run / "results.json").read_text(encoding="utf-8"))
        rows += [Row(*row.values()) for row in results["rows"]]

    _step(number + 1, "what came out")
    taken = time.perf_counter() - began
    _report(root, rows, results, taken)
    summary: dict[str, Any] = {
        "seconds": round(taken, 1),
        "tracks": tracks,
        "users": users,
        "seed": seed,
        "rows": [row._asdict() for row in rows],
    }
    write_json(root / "demo.json", summary)
    return summary


def _step(number: int, what: str) -> None:
    print(f"\n── {number}/{len(ROWS) + 4} {what}", flush=True)


def _fit(config: str, run: Path, overrides: Overrides) -> None:
    """Fit, unless an earlier demo has done it; a fit that was interrupted starts anew."""
    done = run / "fitted"
    if not done.exists():
        shutil.rmtree(run, ignore_errors=True)
        fit(f"{config}.yaml", run=str(run), overrides=overrides)
        done.touch()


def _report(root: Path, rows: list[Row], results: dict[str, Any], taken: float) -> None:
    last, last_input = list(ROWS.items())[-1]
    ours = [row for row in rows if row.method in (OURS, PATCHES)]
    of_input = {name: [row for row in rows if row.input == name] for name in ROWS.values()}
    rivals = [r for each in of_input.values() for r in each if r.method.startswith(("20", "ridge"))]
    floors = [row for row in of_input[last_input] if row.method == "shuffled content"]
    floors += [row for row in rows if row.input in ("–", "artist")][:2]
    print("The world of this demo is invented, with a known truth; nothing in it was tuned to make")
    print("the table come out. These figures say nothing about real music.\n")
    print(table(ours + rivals + floors))
    print(caption(results))
    print("mgp+genres is kernel.yaml, on factors of its own: its distances are not the others'")
    run = root / last
    factors = open_run(run).data.known_factors()
    plays = dict(zip(factors.track_ids, factors.plays.astype(int).tolist(), strict=True))
    cold = [
        t
        for t in Shards(root / "shards").all_tracks()
        if t["split"] == "test" or not plays.get(t["track_id"])
    ]
    for track in sorted(cold, key=lambda t: plays.get(t["track_id"], 0))[:3]:
        hidden = plays.get(track["track_id"], 0)
        known = f"The model never saw the {hidden} plays of" if hidden else "Nobody has played"
        print(f"\n{known} “{track['title']}” by {track['artist']}; from its content, it is like:")
        recommend(run=run, like=track["track_id"], k=5, candidates="all")
    print(f"\nwrote {root} in {taken:.0f} s: catalogue, factors, shards, and a run for each row")
    print(f"next: coldstart recommend --run {run} --user u00000")
