"""HetRec Last.fm, in its original format."""

import re
from pathlib import Path

import numpy as np
import pytest
from originals import Made, hetrec, write, zipped

import coldstart as cs
from coldstart.cli import main


def test_hetrec_from_a_folder_or_its_zip(made: Made, tmp_path: Path) -> None:
    files = {**hetrec(), "artist_genres.tsv": "artistID\tgenre\n1\tSka\n1\tPunk\n"}
    folder = write(tmp_path / "hetrec", files)
    archive = zipped(tmp_path / "hetrec2011-lastfm-2k.zip", files)
    for source in (folder, archive, [str(archive)]):
        got = made("hetrec-lastfm", source, tags=2)
        want = [(str(u), str(a), 10 * u + a) for u in range(1, 6) for a in (1, 2)]
        assert got["listens"].rows() == want
        assert got["tracks"].rows() == [
            ("1", 'Art"ist 1', 'Art"ist 1', ["Ska", "Punk"]),
            ("2", 'Art"ist 2', 'Art"ist 2', None),
        ]
        # Of two tags equally often given, the one with the smaller number comes first.
        mgp = got["mgp"]
        assert mgp.columns == ["track_id", "rock", "indie pop"]
        assert mgp.row(0) == ("1", pytest.approx(np.log(3)), pytest.approx(np.log(2)))
        assert mgp.row(1) == ("2", 0.0, pytest.approx(np.log(2)))
    binary = made("hetrec-lastfm", folder, binary=True, min_listeners=4)
    assert binary["tracks"]["track_id"].to_list() == ["1", "2", "90"]
    assert binary["mgp"].rows()[0] == ("1", 1.0, 1.0, 0.0)
    assert binary["mgp"].columns == ["track_id", "indie pop", "rock", "sk\u00e4"]


def test_the_real_hetrec_gives_the_tables_that_the_figures_come_from(
    shared_data: Path, made: Made
) -> None:
    """Sums over the tables that the example's script made before the loader took its place."""
    got = made("hetrec-lastfm", shared_data / "lastfm")
    assert (len(got["listens"]), got["listens"]["plays"].sum()) == (71_365, 60_218_777)
    assert got["tracks"].row(0)[:2] == ("2", "Diary of Dreams")
    assert (len(got["tracks"]), got["tracks"]["genres"].list.len().sum()) == (2818, 7746)
    assert got["mgp"].columns[:5] == ["track_id", "rock", "alternative", "pop", "indie"]
    grades = got["mgp"].drop("track_id").to_numpy()
    assert grades.shape == (2818, 400)
    assert grades.sum(dtype=float) == pytest.approx(40407.121, abs=0.01)


def test_a_hetrec_sample_goes_through_split_factorize_and_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands that the verb names at its end."""
    files = hetrec(artists=12)
    tagged = "".join(f"1\t{a}\t{5 + a % 3}\t1\t4\t2009\n" for a in range(1, 13))
    files["user_taggedartists.dat"] = "userID\tartistID\ttagID\tday\tmonth\tyear\n" + tagged
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "hetrec", files)
    assert (
        main(["dataset", "hetrec-lastfm", "--binary", "--out", "tables", "--source", "hetrec"]) == 0
    )
    shown = capsys.readouterr()
    assert "non-commercial" in shown.err
    assert "Cite: Cantador" in shown.err
    commands = re.findall("^next: coldstart (.*)$", shown.out, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["split", "factorize", "shard"]
    for command in commands:
        more = ["--factors", "4"] if command.startswith("factorize") else []
        assert main([*command.split(), *more]) == 0, command
    assert "mgp" in cs.Shards("tables/shards").modalities
