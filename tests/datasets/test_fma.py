"""FMA, in its original format."""

from pathlib import Path

import numpy as np
import pytest
from originals import Made, same, table, write, zipped

from coldstart.errors import InputError
from coldstart.tables.vectors import read_vectors


def fma_files() -> dict[str, str]:
    groups = [",set,set,track,track,track,track,artist,artist,album,album"]
    names = [",split,subset,title,genres,listens,favorites,name,id,date_released,information"]
    rows = [
        '2,training,small,Food,"[21, 38]",1293,2,AWOL,1,2009-01-05 00:00:00,"<p>a,\nb</p>"',
        "3,test,medium,,[],0,0,AWOL,1,,",
        "5,validation,large,This World,[21],514,4,AWOL,1,2009-01-06 00:00:00,x",
    ]
    chroma = [
        "feature,chroma,chroma",
        "statistics,mean,mean",
        "number,01,02",
        *["track_id,,", "2,0.5,1", "5,3,4"],
    ]
    echonest = [
        ",echonest,echonest,echonest",
        ",audio_features,audio_features,metadata",
        ",energy,tempo,artist_name",
        *["track_id,,,", "2,0.6,165.9,AWOL", "3,0.1,90,AWOL"],
    ]
    tables = {
        "tracks.csv": [*groups, *names, "track_id,,,,,,,,,,", *rows],
        "genres.csv": [
            "genre_id,#tracks,parent,title,top_level",
            "21,9,0,Hip-Hop,21",
            "38,9,0,Folk,38",
        ],
        "features.csv": chroma,
        "echonest.csv": echonest,
    }
    return {f"fma_metadata/{name}": "\n".join(lines) + "\n" for name, lines in tables.items()}


def test_fma(made: Made, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "fma_metadata.zip", fma_files())
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
    files = fma_files()
    files["fma_metadata/tracks.csv"] = files["fma_metadata/tracks.csv"].replace("title", "name", 1)
    with pytest.raises(InputError, match=r"tracks\.csv: there is no column 'track\.title'"):
        made("fma", write(tmp_path / "renamed", files))
