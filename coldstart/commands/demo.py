"""The verb `demo`: the whole path on an invented catalogue, from a listening log to ranked tracks
that nobody has played.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart.commands.factorize import factorize
from coldstart.commands.fit import fit
from coldstart.commands.predict import predict
from coldstart.commands.recommend import recommend
from coldstart.commands.report import report
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.commands.test import test
from coldstart.files import StrPath, writable, write_json

if TYPE_CHECKING:
    from coldstart.evaluation.results import Row

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
    for three tracks that nobody has played. A demo that was interrupted is resumed.

    Args:
        out: folder to write.
        tracks: size of the catalogue.
        users: number of listeners.
        seed: of everything.

    Returns:
        What is also written to `out`/demo.json: the rows of the table, and the seconds taken.
    """
    from coldstart.datasets.synthetic import make_catalogue
    from coldstart.evaluation.results import read_results
    from coldstart.shards.reading import Shards

    root, began = writable(out), time.perf_counter()
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

    _step(3, f"{FOLDS} listeners learn to estimate attributes, each for the other's tracks (MLG)")
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
            settings = small if name.startswith("audio") else {"seed_everything": seed}
            settings = {**settings, "stage-folds": FOLDS}  # for the rows of several modalities
            factors = "factors_kernel" if name == "kernel" else "factors"
            _fit(name, run, {**settings, **shards, "data.factors": str(root / factors)})
            test(run)
        results = read_results(run / "results.json")
        rows += results.rows

    _step(number + 1, "what came out")
    taken = time.perf_counter() - began
    _report(root, rows, results.about, taken)
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


def _fit(config: str, run: Path, overrides: Mapping[str, Any]) -> None:
    """Fit, unless an earlier demo has done it; a fit that was interrupted starts anew."""
    done = run / "fitted"
    if not done.exists():
        shutil.rmtree(run, ignore_errors=True)
        fit(f"{config}.yaml", run=str(run), overrides=overrides)
        done.touch()


def _report(root: Path, rows: list[Row], about: dict[str, Any], taken: float) -> None:
    from coldstart.evaluation.evaluate import OURS, PATCHES
    from coldstart.evaluation.tables import caption, table
    from coldstart.runs.run import open_run
    from coldstart.shards.reading import Shards

    last, last_input = list(ROWS.items())[-1]
    ours = [row for row in rows if row.method in (OURS, PATCHES)]
    of_input = {name: [row for row in rows if row.input == name] for name in ROWS.values()}
    rivals = [r for each in of_input.values() for r in each if r.method.startswith(("20", "ridge"))]
    floors = [row for row in of_input[last_input] if row.method == "shuffled content"]
    floors += [row for row in rows if row.input in ("–", "artist")][:2]
    print("The world of this demo is invented, with a known truth; nothing in it was tuned to make")
    print("the table come out. These figures say nothing about real music.\n")
    print(table(ours + rivals + floors))
    print(caption(about))
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
        recommend(run=run, like=track["track_id"], k=5, candidates="all", placement="either")
    print(f"\nwrote {root} in {taken:.0f} s: catalogue, factors, shards, and a run for each row")
    print(f"next: coldstart recommend --run {run} --user u00000\n")
    # The recipe that is recommended for attributes and genres, whichever row is the best here.
    report(run=root / "kernel", out=root / "report.html", play=True, overwrite=True)
