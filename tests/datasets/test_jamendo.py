"""MTG-Jamendo, in its original format."""

from pathlib import Path

import pytest
from originals import Made, jamendo, zipped

from coldstart.errors import InputError
from coldstart.tables.attributes import read_attributes
from coldstart.tables.splits import read_splits
from coldstart.tables.tracks import read_tracks


def test_mtg_jamendo(made: Made, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "clone.zip", {f"repo-master/{k}": v for k, v in jamendo().items()})
    sound = tmp_path / "sound" / "14"
    sound.mkdir(parents=True)
    (sound / "214.low.mp3").write_bytes(b"")
    got = made("mtg-jamendo", archive, audio=str(tmp_path / "sound"))
    assert got["tracks"].select("track_id", "title", "artist", "artist_id", "genres").rows() == [
        ("track_0000214", 'A "quote', "The Band", "artist_000014", ["punkrock"]),
        ("track_2", "Two", "Band 2", "artist_2", ["pop"]),
        ("track_3", "track_3", "artist_3", "artist_3", []),
    ]
    assert [str(day) for day in got["tracks"]["release_date"]] == ["2004-12-28", "None", "None"]
    assert got["tracks"]["audio"].to_list() == [str(sound / "214.low.mp3"), None, None]
    names = ["genre---pop", "genre---punkrock", "instrument---piano", "mood/theme---dark"]
    assert got["tags"].columns == ["track_id", *names]
    assert [row[1:] for row in got["tags"].rows()] == [(0, 1, 0, 1), (1, 0, 0, 0), (0, 0, 1, 0)]
    assert got["splits"].rows() == [
        *[("track_0000214", "train"), ("track_2", "val"), ("track_3", "test")]
    ]
    assert "listens" not in got
    read_tracks(tmp_path / "tables" / "tracks.parquet")
    read_attributes(tmp_path / "tables" / "tags.parquet")
    read_splits(tmp_path / "tables" / "splits.parquet")
    with pytest.raises(InputError, match=r"no file data/splits/split-1/autotagging-train\.tsv"):
        made("mtg-jamendo", archive, split=1)
