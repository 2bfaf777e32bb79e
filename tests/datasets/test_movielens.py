"""MovieLens, in its original format."""

import functools
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from originals import Made, movielens, write, zipped

import coldstart as cs
from coldstart.cli import main
from coldstart.datasets import reading
from coldstart.errors import InputError
from coldstart.tables.attributes import read_attributes, read_column
from coldstart.tables.tracks import read_tracks

FIRST = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC).replace(tzinfo=None)


@pytest.mark.parametrize("piece", [reading.PIECE, 30])
def test_movielens_from_a_folder_or_its_zip(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    # All at once, or a film's scores in two pieces.
    pieces = functools.partial(reading.pieces, size=piece)
    monkeypatch.setattr("coldstart.datasets.movielens.pieces", pieces)
    crlf = {name: text.replace("\n", "\r\n") for name, text in movielens().items()}
    for source in (
        write(tmp_path / "folder", movielens()),
        zipped(tmp_path / "ml-25m.zip", movielens()),
        write(tmp_path / "crlf", crlf),
    ):
        got = made("movielens", source)
        assert got["listens"].select("user_id", "track_id", "plays").rows() == [
            *[("1", "1", 1), ("1", "2", 1), ("2", "1", 1), ("2", "2", 1), ("3", "1", 1)]
        ]
        assert got["listens"]["timestamp"][0] == FIRST
        assert got["tracks"].rows() == [
            ("1", "Kettle, The (1995)", "Kettle, The (1995)", "1", ["Comedy", "Drama"], 1995),
            ("2", '"Quoted" Film (1899–1901) ', '"Quoted" Film (1899–1901) ', "2", [], 1899),
        ]
        assert got["genome"].columns == ["track_id", "007", "a, b"]
        assert got["genome"].rows() == [
            ("1", pytest.approx(0.025), 0.5),
            ("2", 0.75, 1.0),
        ]
        assert got["tags"].rows() == [("1", 'quiet\nslow, but "good"\nquiet')]
    tables = tmp_path / "tables"
    years = [str(day) for day in read_tracks(tables / "tracks.parquet")["release_date"]]
    assert years == ["1995-01-01", "1899-01-01"]
    read_attributes(tables / "genome.parquet")
    read_column(tables / "tags.parquet", "text")


def test_ratings_as_they_are_and_small_sets(made: Made, tmp_path: Path) -> None:
    files = {name: text for name, text in movielens().items() if "genome" not in name}
    folder = write(tmp_path / "ml-latest-small", files)
    got = made("movielens", folder, ratings=True)
    assert got["listens"]["rating"].to_list() == [4.0, 5.0, 4.5, 4.0, 0.5, 5.0]
    assert "plays" not in got["listens"].columns
    assert got["tracks"]["track_id"].to_list() == ["1", "2", "3"]
    assert got["tracks"]["release_date"].to_list() == [1995, 1899, None]
    assert "genome" not in got
    got = made("movielens", folder, min_rating=4.5, min_listeners=2)
    assert got["listens"].select("user_id", "track_id").rows() == [("2", "1"), ("3", "1")]
    with pytest.raises(InputError, match=r"MovieLens .*: no usable rows are left for listens"):
        made("movielens", folder, min_rating=6)


DAMAGE: dict[str, tuple[str, str, str, str]] = {
    "no such column": (
        *("ratings.csv", "userId,movieId,rating", "user,item,stars"),
        r"ratings\.csv: there is no column 'userId'; the file has: user, item, stars",
    ),
    "no such column in a small file": (
        *("movies.csv", "genres", "kind"),
        r"movies\.csv: there is no column 'genres'",
    ),
    "too few cells": (
        *("ratings.csv", "2,1,4.5,", "2,1,"),
        r"ratings\.csv, row 3, .* has 3 cells instead of 4",
    ),
    "too many stars": (
        *("ratings.csv", ",4.5,", ",45,"),
        r"ratings\.csv, row 3, movieId '1', field 'rating': 45\.0 is no rating from 0 to 5",
    ),
    "milliseconds": (
        *("ratings.csv", "1000000002", "1000000002000"),
        r"row 3, .*'timestamp': .*is no time before 2100 in s",
    ),
    "a film twice": ("movies.csv", "\n3,", "\n1,", r"movies\.csv, row 3, .*is there twice"),
    "a film with more cells": ("movies.csv", "Drama\n4", "Drama,x\n4", r"movies\.csv: not a read"),
    "an unknown tag": ("genome-scores.csv", "1,2,0.5", "1,3,0.5", r"'3' is none of genome-tags"),
    "a tag twice": ("genome-tags.csv", '"a, b"', "007", r"genome-tags\.csv, row 2, .*there twice"),
    "a film that lacks a tag": (
        *("genome-scores.csv", "1,2,0.5\n", ""),
        r"genome-scores\.csv, film '1', .*lacks some of the 2 tags",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(made: Made, tmp_path: Path, case: str) -> None:
    name, old, new, message = DAMAGE[case]
    files = movielens()
    assert old in files[f"ml-25m/{name}"]
    files[f"ml-25m/{name}"] = files[f"ml-25m/{name}"].replace(old, new, 1)
    with pytest.raises(InputError, match=message):
        made("movielens", write(tmp_path / "damaged", files))


def test_missing_and_broken_files_are_named(made: Made, tmp_path: Path) -> None:
    folder = write(tmp_path / "ml", movielens())
    (folder / "ml-25m" / "genome-tags.csv").unlink()
    with pytest.raises(InputError, match=r"no file genome-tags\.csv \(it is in ml-25m\.zip\)"):
        made("movielens", folder)
    (folder / "ml-25m" / "ratings.csv").unlink()
    with pytest.raises(InputError, match=r"no file ratings\.csv \(it is in ml-32m\.zip\)"):
        made("movielens", folder, size="32m")
    archive = zipped(tmp_path / "ml-25m.zip", movielens())
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"ml-25m\.zip: damaged archive.*fetch it again"):
        made("movielens", archive)


def test_broken_rows_can_be_skipped(made: Made, tmp_path: Path) -> None:
    files = movielens()
    ratings = files["ml-25m/ratings.csv"]
    files["ml-25m/ratings.csv"] = ratings.replace(",4.5,", ",many,") + "4,1\n"
    got = made("movielens", write(tmp_path / "ml", files), skip_broken=True)
    assert len(got["listens"]) == 4
    faults = pl.read_csv(tmp_path / "tables" / "broken.csv")
    assert faults.select("row", "field").rows() == [(7, "line"), (3, "rating")]


@pytest.mark.parametrize("more", [[], ["--ratings"]])
def test_a_sample_goes_by_the_commands_that_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    films = range(1, 13)
    files = {
        "movies.csv": ["movieId,title,genres", *[f"{f},F{f} (1999),Drama" for f in films]],
        "ratings.csv": [
            "userId,movieId,rating,timestamp",
            *[f"{u},{f},{1 + (u + f) % 5},{10**9 + u}" for u in range(6) for f in films],
        ],
        "tags.csv": ["userId,movieId,tag,timestamp", *[f"1,{f},t{f % 3},{10**9}" for f in films]],
        "genome-tags.csv": ["tagId,tag", "1,slow", "2,fast"],
        "genome-scores.csv": [
            "movieId,tagId,relevance",
            *[f"{f},{t},{(f * t) % 7 / 7}" for f in films for t in (1, 2)],
        ],
    }
    write(tmp_path / "ml", {name: "\n".join(lines) + "\n" for name, lines in files.items()})
    monkeypatch.chdir(tmp_path)
    assert main(["dataset", "movielens", "--out", "tables", "--source", "ml", *more]) == 0
    shown = capsys.readouterr()
    assert "must not be redistributed" in shown.err
    commands = re.findall("^next: coldstart (.*)$", shown.out, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["split", "factorize", "shard"]
    assert ("--algorithm explicit" in commands[1]) == bool(more)
    for command in commands:
        factors = ["--factors", "4"] if command.startswith("factorize") else []
        assert main([*command.split(), *factors]) == 0, command
    assert {"genome", "tags", "genres"} <= set(cs.Shards("tables/shards").modalities)
