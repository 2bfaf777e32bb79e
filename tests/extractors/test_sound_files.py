"""Which files are heard, and under which ids."""

from pathlib import Path

import polars as pl
import pytest

from coldstart.errors import Broken, InputError
from coldstart.extractors.sound_files import sound_files


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def listed(folder: Path, *places: str, skip: bool = False) -> dict[str, str]:
    found = sound_files([folder / place for place in places], Broken(skip))
    return {file.track_id: file.path.relative_to(folder).as_posix() for file in found}


def test_a_folder_s_files_have_their_paths_as_ids(tmp_path: Path) -> None:
    touch(tmp_path, "m/b.mp3", "m/cd 1/a.FLAC", "m/cover.jpg", "m/.x/c.wav", "m/tracks.csv")
    (tmp_path / "m" / "live.mp3").mkdir()
    assert listed(tmp_path, "m") == {"b": "m/b.mp3", "cd 1/a": "m/cd 1/a.FLAC"}
    assert listed(tmp_path, "m/b.mp3") == {"b": "m/b.mp3"}


def test_a_table_s_files_have_its_ids_and_tracks_without_sound_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3", "b.bin")
    ids = ["one", "two", "three"]
    columns = {"track_id": ids, "title": ids, "artist": ids, "audio": ["a.mp3", None, "b.bin"]}
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    assert listed(tmp_path, "t.parquet") == {"one": "a.mp3", "three": "b.bin"}


def test_missing_files_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3")
    columns = {"track_id": ["1", "2"], "title": ["x", "y"], "artist": ["x", "y"]}
    pl.DataFrame(columns | {"audio": ["a.mp3", "gone.mp3"]}).write_csv(tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"t\.csv, track '2'.*gone\.mp3: there is no such file"):
        listed(tmp_path, "t.csv")
    assert listed(tmp_path, "t.csv", skip=True) == {"1": "a.mp3"}


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["m", "n"], r"track 'a' is there twice: .*a\.mp3 and .*a\.wav"),
        (["empty"], r"empty: no sound in it; needed is a track table"),
        (["m/text.txt"], r"text\.txt: no sound in it"),
        (["nowhere"], r"nowhere: there is no such file"),
        (["t.csv"], r"t\.csv: has no column `audio`"),
    ],
)
def test_places_without_sound(tmp_path: Path, places: list[str], message: str) -> None:
    touch(tmp_path, "m/a.mp3", "m/text.txt", "n/a.wav")
    (tmp_path / "empty").mkdir()
    columns = {"track_id": ["1"], "title": ["x"], "artist": ["x"]}
    pl.DataFrame(columns).write_csv(tmp_path / "t.csv")
    with pytest.raises(InputError, match=message):
        listed(tmp_path, *places)
