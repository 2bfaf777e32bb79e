"""Loaders of public data sets run here, and a small invented catalogue."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from originals import Made

import coldstart as cs
from coldstart.datasets.synthetic import make_catalogue


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Run a loader; give its tables by name."""

    def make(name: str, source: Any, **options: Any) -> dict[str, pl.DataFrame]:
        out = tmp_path / "tables"
        cs.dataset(name, out=out, source=source, **options)
        assert not [path for path in out.iterdir() if path.name.startswith(".")], "leftovers"
        return {path.stem: pl.read_parquet(path) for path in out.glob("*.parquet")}

    return make


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With audio, rendered in one process."""
    return make_catalogue(tmp_path_factory.mktemp("small"), tracks=60, users=40, seed=3, workers=1)
