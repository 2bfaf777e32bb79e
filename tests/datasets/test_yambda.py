"""Yambda, in its original format."""

from pathlib import Path

import originals
import polars as pl
import pytest
from originals import Made

from coldstart.datasets import yambda
from coldstart.errors import InputError
from coldstart.tables.tracks import read_tracks
from coldstart.tables.vectors import read_vectors


@pytest.mark.parametrize("group", [yambda.GROUP, 1])
def test_yambda(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(yambda, "GROUP", group)  # all at once, or user by user
    got = made("yambda", originals.yambda(tmp_path / "yambda"), vectors=True, cold_days=1)
    assert got["listens"].rows() == [
        *[("10", "7", 2), ("10", "8", 1), ("20", "9", 1), ("30", "7", 1)]
    ]
    assert got["tracks"].select("track_id", "title", "artist", "artist_id").rows() == [
        ("7", "7", "3", "3"),
        ("8", "8", "5", "5"),
        ("9", "9", "unknown", None),
    ]
    assert got["splits"].rows() == [("7", "train"), ("8", "test"), ("9", "val")]
    vectors = read_vectors(tmp_path / "tables" / "audio.parquet", [])
    assert {track: v.tolist() for track, v in vectors.items()} == {"7": [0.5, 1], "9": [2, 3]}
    read_tracks(tmp_path / "tables" / "tracks.parquet")


def test_yambda_with_times_and_what_is_wrong(made: Made, tmp_path: Path) -> None:
    folder = originals.yambda(tmp_path / "yambda")
    got = made("yambda", folder, timestamps=True, min_listeners=2, min_played=0)
    assert got["listens"].rows() == [
        *[("10", "7", 1, 5), ("10", "7", 1, 10), ("20", "7", 1, 15)],
        ("30", "7", 1, yambda.LAST - 3),
    ]
    path = folder / "flat" / "50m" / "listens.parquet"
    log = pl.read_parquet(path)
    log.with_columns(item_id=pl.col("item_id").replace(9, None)).write_parquet(path)
    with pytest.raises(InputError, match=r"listens\.parquet, row 5, .*'item_id': is empty"):
        made("yambda", folder)
    assert len(made("yambda", folder, skip_broken=True)["listens"]) == 3
    log.rename({"item_id": "item_ids"}).write_parquet(path)
    with pytest.raises(InputError, match=r"no column 'item_id'; .*`flat` is needed"):
        made("yambda", folder)
    with pytest.raises(InputError, match=r"there is no file flat/500m/listens\.parquet"):
        made("yambda", folder, size="500m")
