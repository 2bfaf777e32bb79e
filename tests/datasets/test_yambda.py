"""Yambda, in its original format."""

from pathlib import Path

import polars as pl
import pytest
from originals import Made, table

from coldstart.datasets import yambda
from coldstart.errors import InputError
from coldstart.tables.tracks import read_tracks
from coldstart.tables.vectors import read_vectors


def yandex(folder: Path) -> Path:
    (folder / "flat" / "50m").mkdir(parents=True)
    day, end = yambda.DAY, yambda.LAST
    log = table(
        uid=[10, 10, 10, 20, 20, 30],
        timestamp=[5, 10, end - day // 2, 15, end - 2 * day + 5, end - 3],
        item_id=[7, 7, 8, 7, 9, 7],
        is_organic=[1, 0, 1, 1, 1, 1],
        played_ratio_pct=[100, 50, 120, 49, 90, 100],
        track_length_seconds=[200] * 6,
    )
    log.cast({"uid": pl.UInt32, "item_id": pl.UInt32, "timestamp": pl.UInt32}).write_parquet(
        folder / "flat" / "50m" / "listens.parquet"
    )
    table(artist_id=[4, 3, 5], item_id=[7, 7, 8]).write_parquet(folder / yambda.ARTISTS)
    vectors = [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0], None]
    table(item_id=[7, 9, 1, 8], embed=vectors, normalized_embed=vectors).write_parquet(
        folder / yambda.EMBEDDINGS
    )
    return folder


@pytest.mark.parametrize("group", [yambda.GROUP, 1])
def test_yambda(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(yambda, "GROUP", group)  # all at once, or user by user
    got = made("yambda", yandex(tmp_path / "yambda"), vectors=True, cold_days=1)
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
    folder = yandex(tmp_path / "yambda")
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
