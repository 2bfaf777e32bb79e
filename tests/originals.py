"""Tiny samples of public data sets in their original formats."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

Made = Callable[..., dict[str, pl.DataFrame]]


def table(**columns: object) -> pl.DataFrame:
    return pl.DataFrame(columns)


def same(got: pl.DataFrame, want: pl.DataFrame) -> None:
    assert_frame_equal(got, want, check_dtypes=False)


def zipped(path: Path, members: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def hetrec(artists: int = 3) -> dict[str, str]:
    """The original's files; artist 1 has 5 listeners, 2 has one too few tags, and so on."""
    listens = [f"{u}\t{a}\t{10 * u + a}" for u in range(1, 6) for a in range(1, artists + 1)]
    listens += [f"{u}\t90\t7" for u in range(1, 5)]  # four listeners: too few
    files = {
        "artists.dat": [
            "id\tname\turl\tpictureURL",
            *[f'{a}\tArt"ist {a}\tu\tp' for a in range(1, artists + 1)],
            "90\tRare\tu\tp",
        ],
        "user_artists.dat": ["userID\tartistID\tweight", *listens],
        "user_taggedartists.dat": [
            "userID\tartistID\ttagID\tday\tmonth\tyear",
            *["1\t1\t5\t1\t4\t2009", "2\t1\t5\t1\t4\t2009", "1\t1\t6\t1\t4\t2009"],
            *["1\t2\t6\t1\t4\t2009", "3\t90\t6\t1\t4\t2009", "2\t2\t7\t1\t4\t2009"],
        ],
        "tags.dat": ["tagID\ttagValue", "5\trock", "6\tindie pop", "7\tsk\u00e4"],
    }
    return {name: "\r\n".join(lines) + "\r\n" for name, lines in files.items()}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder
