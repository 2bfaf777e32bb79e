"""Music4All-Onion, in its original format."""

import bz2
from pathlib import Path

import polars as pl
import pytest
from originals import Made, music4all_onion, same, table

from coldstart.errors import InputError
from coldstart.tables.listens import read_listens
from coldstart.tables.vectors import read_vectors


def test_music4all_onion(made: Made, tmp_path: Path) -> None:
    folder = music4all_onion(tmp_path / "onion")
    got = made("music4all-onion", folder, embeddings=["musicnn"], attributes=["lyrics_sentiment"])
    assert got["listens"].rows() == [
        *[("u1", "AA", 3), ("u2", "AA", 1), ("u1", "BB", 1), ("u2", "CC", 9)]
    ]
    assert got["tracks"].rows() == [
        ("AA", "AA", "AA", ["rock", "indie pop"]),
        *[("BB", "BB", "BB", None), ("CC", "CC", "CC", None)],
    ]
    vectors = read_vectors(tmp_path / "tables" / "musicnn.parquet", [])
    assert {track: v.round(4).tolist() for track, v in vectors.items()} == {
        "AA": [0.5, pytest.approx(-0.001)],
        "CC": [2.0, 3.0],
    }
    same(got["lyrics_sentiment"], table(track_id=["BB"], joy=[0.25]))
    (folder / "id_information.csv").write_text('id\tartist\tsong\talbum_name\nAA\tCher\tOne "\tX\n')
    got = made("music4all-onion", folder, min_listeners=2)
    assert got["tracks"].rows() == [("AA", 'One "', "Cher", ["rock", "indie pop"])]
    assert len(made("music4all-onion", folder, min_plays=3)["listens"]) == 2


def test_features_that_are_no_numbers_are_named(made: Made, tmp_path: Path) -> None:
    folder = music4all_onion(tmp_path / "onion")
    text = "id\t0\t1\nAA\t0.5\tnan\nBB\t1\t1\nCC\t\t1e300\nZZ\tx\t1\n"
    (folder / "id_musicnn.tsv.bz2").write_bytes(bz2.compress(text.encode()))
    with pytest.raises(InputError, match=r"id_musicnn\.tsv, row 3, id 'CC', field '0': None is no"):
        made("music4all-onion", folder, embeddings=["musicnn"])
    got = made("music4all-onion", folder, embeddings=["musicnn"], skip_broken=True)
    assert got["musicnn"].rows() == [("BB", [1.0, 1.0])]
    faults = pl.read_csv(tmp_path / "tables" / "broken.csv").select("row", "field").rows()
    assert faults == [(3, 0), (1, 1), (3, 1)]  # nobody hears ZZ


def test_music4all_onion_with_times(made: Made, tmp_path: Path) -> None:
    got = made("music4all-onion", music4all_onion(tmp_path / "onion"), timestamps=True)["listens"]
    assert got["plays"].to_list() == [1, 1, 1]
    assert [str(time) for time in got["timestamp"]] == [
        *["2019-02-20 12:28:01", "2019-02-20 12:30:00", "2019-02-20 12:28:01"]
    ]
    pairs = read_listens(tmp_path / "tables" / "listens.parquet")
    assert pairs.rows() == [("u1", "AA", 2.0), ("u2", "CC", 1.0)]
