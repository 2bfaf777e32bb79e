"""Fits and tests of `default.yaml` on planted logs, beside the same with something left out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from coldstart.cli import main


def fit_and_test(folder: Path, variants: Mapping[str, Sequence[str]]) -> None:
    """Fit and test in a folder with shards and factors: run → more arguments of the fit."""
    where = [f"--data.shards={folder / 'shards'}", f"--data.factors={folder / 'factors'}"]
    for run, more in variants.items():
        args = ["fit", "--config", "default.yaml", *where, f"--run={folder / run}", *more]
        assert main(args) == 0
        assert main(["test", "--run", str(folder / run)]) == 0


def figures(run: Path) -> dict[str, float]:
    """NDCG@20 of each method of a run's test."""
    rows = json.loads((run / "results.json").read_text())["rows"]
    return {row["method"].split(" (")[0]: row["ndcg"] for row in rows}
