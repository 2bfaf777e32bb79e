"""Tables and files of sound to make shards of."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with tables of 20 tracks and short files of sound; some lack some of it."""
    folder = tmp_path / "source"
    folder.mkdir()
    wave = 0.1 * np.sin(np.arange(8000, dtype=np.float32))
    rows = []
    for i in range(20):
        soundfile.write(folder / f"{i}.wav", wave * (1 + i / 20), 8000)
        rows.append(
            (f"t/{i}", f"T{i}", f"A{i % 7}", f"{i}.wav" if i % 4 else "", "a|b" if i % 3 else "")
        )
    columns = ["track_id", "title", "artist", "audio", "genres"]
    pl.DataFrame(rows, columns, orient="row").write_csv(folder / "tracks.csv")
    sides = ["train"] * 14 + ["val"] * 3 + ["test"] * 3
    pl.DataFrame({"track_id": [r[0] for r in rows], "split": sides}).write_csv(
        folder / "splits.csv"
    )
    generator = np.random.default_rng(0)
    for name in ("mgp", "mood"):
        grades = {f"{name}{k}": generator.random(18) for k in range(3)}
        pl.DataFrame({"track_id": [r[0] for r in rows[:18]], **grades}).write_csv(
            folder / f"{name}.csv"
        )
    return folder
