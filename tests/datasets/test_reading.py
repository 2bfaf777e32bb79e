"""What all loaders share: rows of text files, archives, messages."""

import bz2
from pathlib import Path

import polars as pl
import pytest
from helpers import ROOT
from originals import Made, hetrec, write, zipped

from coldstart.cli import main
from coldstart.datasets import LOADERS
from coldstart.datasets.originals import Original
from coldstart.datasets.reading import pieces
from coldstart.errors import Broken, InputError


def test_missing_files_columns_and_broken_rows_are_named(made: Made, tmp_path: Path) -> None:
    folder = write(tmp_path / "hetrec", hetrec())
    (folder / "tags.dat").unlink()
    with pytest.raises(
        InputError, match=r"hetrec: there is no file tags\.dat \(it is in hetrec2011"
    ):
        made("hetrec-lastfm", folder)
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        made("hetrec-lastfm", tmp_path / "nowhere")
    write(folder, {"tags.dat": "tagID\ttagName\n5\trock\n"})
    with pytest.raises(
        InputError, match=r"tags\.dat: there is no column 'tagValue'.*tagID, tagName"
    ):
        made("hetrec-lastfm", folder)
    files = hetrec()
    lines = files["user_artists.dat"].splitlines()
    lines[2:2] = ["1\t1", "7\t1\tmany", "8\t\t3"]
    write(folder, {**files, "user_artists.dat": "\n".join(lines)})
    with pytest.raises(InputError, match=r"user_artists\.dat, row 2, .*has 2 cells instead of 3"):
        made("hetrec-lastfm", folder)
    assert len(made("hetrec-lastfm", folder, skip_broken=True)["listens"]) == 10
    faults = pl.read_csv(tmp_path / "tables" / "broken.csv")
    assert faults.select("file", "row", "field").rows() == [
        ("user_artists.dat", 2, "line"),
        ("user_artists.dat", 4, "artistID"),
        ("user_artists.dat", 3, "weight"),
    ]
    with pytest.raises(InputError, match=r"there is no data set 'fmaa'\. Is it 'fma'\?"):
        made("fmaa", folder)


def test_a_damaged_archive_is_named(made: Made, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "hetrec2011-lastfm-2k.zip", hetrec())
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"2k\.zip: damaged archive.*fetch it again"):
        made("hetrec-lastfm", archive)
    packed = tmp_path / "userid_trackid_count.tsv.bz2"
    packed.write_bytes(bz2.compress(b"user_id\ttrack_id\tcount\n" * 1000)[:-20])
    with pytest.raises(InputError, match=r"count\.tsv\.bz2: damaged"):
        made("music4all-onion", tmp_path)


def test_pieces_are_the_whole_file_whatever_their_size(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    lines = [f"{i}\t{'é' * (i % 7)}x" for i in range(50)]
    path.write_text("a\tb\n" + "\n".join(lines), encoding="utf-8")
    whole = pl.concat(pieces(Original(path), ["a"], Broken()))
    assert whole["__row"].to_list() == list(range(1, 51))
    for size in (1, 7, 64, 1000):
        assert pl.concat(pieces(Original(path), ["a"], Broken(), size=size)).equals(whole)
    path.write_text("x\ny\na\tb\n1\t2\n\n3\t4\n\n")
    for size in (1, 100):
        some = pl.concat(pieces(Original(path), ["a"], Broken(), skip=2, size=size))
        assert some.rows() == [("1", "2", 1), ("3", "4", 3)]
    path.write_text("a\tb\n")
    with pytest.raises(InputError, match="the file has no rows"):
        list(pieces(Original(path), ["a"], Broken()))


def test_a_name_in_an_archive_leads_nowhere(tmp_path: Path, made: Made) -> None:
    files = {f"../../{name}": text for name, text in hetrec().items()}
    before = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    assert len(made("hetrec-lastfm", zipped(tmp_path / "evil.zip", files))["tracks"]) == 2
    new = {path for path in tmp_path.parent.rglob("*") if path.is_file()} - before
    assert {path.parent.name for path in new} <= {"tables", tmp_path.name}


@pytest.mark.parametrize("name", LOADERS)
def test_every_data_set_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["dataset", name, "--help"])
    assert stop.value.code == 0
    assert "--source" in capsys.readouterr().out
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert f"coldstart dataset {name} " in page
