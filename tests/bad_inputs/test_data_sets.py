"""Damaged files of public data sets are refused by name, or read as what they still say."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import originals
import pytest
from bad_inputs.mutation import mutated, refused_or
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coldstart as cs
from coldstart.datasets.yambda import ARTISTS, EMBEDDINGS

FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Few examples a data set: there are many. `make fuzz` takes more."""


class DataSet(NamedTuple):
    """A public data set.

    Attributes:
        write: writes a small sample of it into a new folder.
        options: what else is read than what always is.
    """

    write: Callable[[Path], Path]
    options: dict[str, Any]


def _taste_profile(folder: Path) -> Path:
    files = {
        "train_triplets.txt": "u1\tSOA\t1\nu1\tSOB\t3\nu2\tSOA\t2\nu2\tSOD\t5\n",
        "unique_tracks.txt": originals.UNIQUE,
        "sid_mismatches.txt": "ERROR: <SODXX TRX> a  -  b  !=  c  -  d\n",
    }
    return originals.write(folder, files)


def _amazon_reviews(folder: Path) -> Path:
    """The reviews: with the .csv beside them they wouldn't be read."""
    files = originals.amazon()
    del files["Digital_Music.csv"]
    return originals.write(folder, files)


SETS = {
    "amazon-reviews": DataSet(_amazon_reviews, {}),
    "fma": DataSet(lambda folder: originals.write(folder, originals.fma()), {"features": True}),
    "hetrec-lastfm": DataSet(lambda folder: originals.write(folder, originals.hetrec()), {}),
    "movielens": DataSet(lambda folder: originals.write(folder, originals.movielens()), {}),
    "msd-a": DataSet(originals.msd_a, {"embeddings": ["audio-emb", "sem-bio"]}),
    "mtg-jamendo": DataSet(lambda folder: originals.write(folder, originals.jamendo()), {}),
    "music4all-onion": DataSet(
        originals.music4all_onion,
        {"embeddings": ["musicnn"], "attributes": ["lyrics_sentiment"]},
    ),
    "taste-profile": DataSet(_taste_profile, {}),
    "yambda": DataSet(originals.yambda, {"vectors": True, "cold_days": 1}),
}

Read = Callable[[], object]


def _sample(name: str, folder: Path) -> tuple[Path, Read]:
    """A data set's folder, and what reads it."""
    source = SETS[name].write(folder / "there")
    options = SETS[name].options
    return source, lambda: cs.dataset(name, out=folder / "out", source=source, **options)


@pytest.mark.parametrize("name", SETS)
@FEW
@given(data=st.data())
def test_a_damaged_file(
    name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder, read = _sample(name, tmp_path_factory.mktemp(name))
    path = data.draw(st.sampled_from(sorted(folder.rglob("*.*"))), label="file")
    path.write_bytes(data.draw(mutated(path.read_bytes()), label="content"))
    refused_or(read)


@FEW
@given(data=st.data())
def test_a_damaged_archive(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("zip")
    path = originals.zipped(folder / "hetrec2011-lastfm-2k.zip", originals.hetrec())
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    refused_or(lambda: cs.dataset("hetrec-lastfm", out=folder / "out", source=path))


# What such damage has found

FMA, SPLITS, MATRICES = "fma_metadata", "data/splits/split-0", "dlrs-data/train_data"


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(indices: list[int]) -> bytes:
    """A sparse matrix of 5 rows and 6 columns."""
    file = io.BytesIO()
    np.savez(file, data=np.ones(5), indices=indices, indptr=np.arange(6), shape=np.array([5, 6]))
    return file.getvalue()


FOUND: dict[str, tuple[str, str, bytes, str]] = {
    "one line": ("fma", f"{FMA}/tracks.csv", b"a", "no header of three lines; fetch it again"),
    "more cells": ("fma", f"{FMA}/genres.csv", b"genre_id,title\n1,a,b\n", "not a readable .csv"),
    "a name of two lines": ("fma", f"{FMA}/genres.csv", b'"a\nb"\n1\n', "the file has: a b"),
    "an uneven header": (
        *("fma", f"{FMA}/features.csv", b"a,b,c\nd,e\nf,g,h\ntrack_id,,\n2,1,2\n"),
        "three lines of equally many cells",
    ),
    "no list": ("mtg-jamendo", f"{SPLITS}/autotagging-test.tsv", b"", "no column 'TRACK_ID'"),
    "no names": ("mtg-jamendo", "data/raw.meta.tsv", b"", "there is no column 'TRACK_ID'"),
    "an empty archive": ("msd-a", "triplets_msd-a.tar.gz", b"", "damaged archive"),
    "an empty matrix": ("msd-a", f"{MATRICES}/X_test_audio-emb_MSD-A-songs.npy", b"", "readable"),
    "an open bracket": (
        *("msd-a", f"{MATRICES}/X_test_audio-emb_MSD-A-songs.npy"),
        _npy(np.ones((2, 2))).replace(b"}", b"{", 1),
        "not a readable matrix",
    ),
    "words": (
        *("msd-a", f"{MATRICES}/X_test_audio-emb_MSD-A-songs.npy", _npy([["a"], ["b"]])),
        r"holds <U1 \(2, 1\); needed are numbers \[2, width\]",
    ),
    "a far index": (
        *("msd-a", f"{MATRICES}/X_train_sem-bio_MSD-A-songs.npz", _npz([0, 1, 2, 3, 10**9])),
        "not a readable matrix",
    ),
    "an index below 0": (
        *("msd-a", f"{MATRICES}/X_train_sem-bio_MSD-A-songs.npz", _npz([0, 1, 2, 3, -(10**9)])),
        "not a readable matrix",
    ),
}


@pytest.mark.parametrize("case", FOUND)
def test_damage_that_was_found_is_named(case: str, tmp_path: Path) -> None:
    name, file, content, message = FOUND[case]
    folder, read = _sample(name, tmp_path)
    (folder / file).write_bytes(content)
    found = refused_or(read, Path(file).name)
    assert isinstance(found, cs.InputError)
    assert re.search(message, str(found)), found


@pytest.mark.parametrize("file", ["flat/50m/listens.parquet", ARTISTS, EMBEDDINGS])
def test_a_damaged_page_of_yambda_is_named(file: str, tmp_path: Path) -> None:
    folder, read = _sample("yambda", tmp_path)
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:8] + bytes(40) + content[48:])
    with pytest.raises(cs.InputError, match=f"{Path(file).name}: not a readable .parquet table"):
        read()


def test_a_page_of_yambda_with_fewer_than_0_values_is_named(tmp_path: Path) -> None:
    folder, read = _sample("yambda", tmp_path)
    content = (folder / ARTISTS).read_bytes()
    assert content.count(b"\x2c\x15\x06") > 0
    (folder / ARTISTS).write_bytes(content.replace(b"\x2c\x15\x06", b"\x2c\x15\x05", 1))
    with pytest.raises(cs.InputError, match=f"{ARTISTS}: damaged: a page says .* fewer than 0"):
        read()
