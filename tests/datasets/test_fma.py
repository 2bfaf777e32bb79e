"""FMA, in its original format."""

from pathlib import Path

import numpy as np
import pytest
from originals import Made, fma, same, table, write, zipped

from coldstart.errors import InputError
from coldstart.tables.vectors import read_vectors


def test_fma(made: Made, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "fma_metadata.zip", fma())
    sound = tmp_path / "fma_medium" / "000" / "000003.mp3"
    sound.parent.mkdir(parents=True)
    sound.write_bytes(b"")
    got = made("fma", archive, features=True, audio=str(tmp_path / "fma_medium"))
    assert got["tracks"].select("track_id", "title", "artist", "artist_id", "genres").rows() == [
        ("2", "Food", "AWOL", "1", ["Hip-Hop", "Folk"]),
        ("3", "3", "AWOL", "1", []),
    ]
    assert [str(day) for day in got["tracks"]["release_date"]] == ["2009-01-05", "None"]
    assert got["tracks"]["audio"].to_list() == [None, str(sound)]
    assert got["splits"].rows() == [("2", "train"), ("3", "test")]
    popularity = table(
        track_id=["2", "3"], log_listens=[np.log(1294), 0.0], log_favorites=[np.log(3), 0.0]
    )
    same(got["popularity"], popularity)
    same(got["echonest"], table(track_id=["2", "3"], energy=[0.6, 0.1], tempo=[165.9, 90.0]))
    vectors = read_vectors(tmp_path / "tables" / "features.parquet", [])
    assert {track: v.tolist() for track, v in vectors.items()} == {"2": [0.5, 1.0]}
    assert len(made("fma", archive, size="full")["tracks"]) == 3
    assert len(made("fma", archive, size="small")["tracks"]) == 1
    files = fma()
    files["fma_metadata/tracks.csv"] = files["fma_metadata/tracks.csv"].replace("title", "name", 1)
    with pytest.raises(InputError, match=r"tracks\.csv: there is no column 'track\.title'"):
        made("fma", write(tmp_path / "renamed", files))
