"""Folders of sound → tables: whole, in order, resumed, and with what can't be used left out."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from helpers import begin, music, wait_for

from coldstart.audio.report import NAME, SCHEMA
from coldstart.errors import Broken, InputError
from coldstart.extractors import extraction
from coldstart.extractors.base import Features, track_features
from coldstart.extractors.extraction import Extraction, extract_features
from coldstart.extractors.mfcc import MFCC
from coldstart.extractors.sound_files import sound_files


class Counting(MFCC):
    """MFCC that counts the windows it has heard, and has a tag."""

    tag_names = ("quiet",)

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def hear(self, sound: torch.Tensor) -> Features:
        self.heard += len(sound)
        vectors = super().hear(sound).vectors
        return Features(vectors, 1 - sound.abs().amax(1, keepdim=True))


def write(folder: Path, name: str, seconds: float, seed: int = 0, rate: int = 22_050) -> None:
    folder.mkdir(exist_ok=True)
    wave = music(seconds, seed)
    places = np.linspace(0, len(wave) - 1, round(seconds * rate))
    wave = np.interp(places, np.arange(len(wave)), wave)
    soundfile.write(folder / name, wave, rate)


def extract(
    folder: Path, out: Path, extractor: MFCC | None = None, skip: bool = False, **options: Any
) -> Extraction:
    broken = Broken(skip)
    files = sound_files([folder], broken)
    return extract_features(extractor or Counting(), files, out, broken, **options)


def vectors(out: Path) -> pl.DataFrame:
    return pl.read_parquet(out / "vectors.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        write(tmp_path / "in", f"{number}.wav", 4 + number, number)
    return tmp_path / "in"


@pytest.mark.parametrize("workers", [1, 3])
def test_each_file_has_its_vector_and_tags_in_order(folder: Path, workers: int) -> None:
    out = folder.parent / "out"
    threads = torch.get_num_threads()
    done = extract(folder, out, workers=workers)
    assert torch.get_num_threads() == threads
    assert done == Extraction(out, "Counting", 5, 0, 80, ("quiet",), 0.5, False)
    table = vectors(out)
    assert table["track_id"].to_list() == [str(number) for number in range(5)]
    for track, vector in table.iter_rows():
        expected = track_features(Counting(), folder / f"{track}.wav")[0].vectors[0]
        assert np.allclose(vector, expected, atol=1e-4)
    tags = pl.read_parquet(out / "tags.parquet")
    assert tags.schema == {"track_id": pl.String, "quiet": pl.Float32}
    report = pl.read_parquet(out / NAME)
    assert report.schema == SCHEMA
    assert report["seconds"].to_list() == [4.0, 5.0, 6.0, 7.0, 8.0]
    about = json.loads((out / "about.json").read_text())
    assert about | Counting().about() | {"tracks": 5, "width": 80} == about
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [".lock", "about.json", NAME, "tags.parquet", "vectors.parquet"]
    )


def test_the_same_again_is_already_there_and_something_else_is_refused(folder: Path) -> None:
    out, again = folder.parent / "out", Counting()
    first = extract(folder, out)
    assert extract(folder, out, again) == first._replace(already=True)
    assert again.heard == 0
    with pytest.raises(InputError, match=r"about\.json is there already.*--overwrite"):
        extract(folder, out, MFCC(13))
    assert extract(folder, out, MFCC(13), overwrite=True).width == 52
    write(folder, "9.wav", 4)
    with pytest.raises(InputError, match="--overwrite"):
        extract(folder, out, MFCC(13))
    assert not (out / "tags.parquet").exists()
    before = vectors(out)
    (folder / "9.wav").write_bytes(b"RIFF broken")
    with pytest.raises(InputError, match="track '9'"):
        extract(folder, out, Counting(), overwrite=True)
    assert vectors(out).equals(before)
    assert json.loads((out / "about.json").read_text())["extractor"] == "MFCC"


def test_what_was_heard_before_a_broken_file_is_not_heard_again(folder: Path) -> None:
    out, mended = folder.parent / "out", Counting()
    (folder / "4.wav").write_bytes(b"RIFF broken")
    with pytest.raises(InputError, match=r"track '4'.*4\.wav: .*\n.*--skip-broken"):
        extract(folder, out, workers=1)
    write(folder, "4.wav", 4)
    extract(folder, out, mended)
    assert mended.heard == 1
    assert len(vectors(out)) == 5


def test_a_changed_file_is_heard_again(folder: Path) -> None:
    out, changed = folder.parent / "out", Counting()
    (folder / "4.wav").write_bytes(b"RIFF broken")
    with pytest.raises(InputError):
        extract(folder, out, workers=1)
    write(folder, "0.wav", 30, seed=7)
    (folder / "4.wav").unlink()
    extract(folder, out, changed)
    assert changed.heard == 10
    expected = track_features(Counting(), folder / "0.wav")[0].vectors[0]
    assert np.allclose(vectors(out)["vector"][0], expected, atol=1e-4)


def test_unusual_files_are_heard_and_unusable_ones_listed(tmp_path: Path) -> None:
    for name, seconds, rate in (("short", 0.6, 22_050), ("odd", 5, 11_111), ("high", 5, 96_000)):
        write(tmp_path / "in", f"{name}.wav", seconds, rate=rate)
    write(tmp_path / "in", "shorter.wav", 0.2)
    soundfile.write(tmp_path / "in" / "silent.wav", np.zeros(44_100), 22_050)
    (tmp_path / "in" / "text.mp3").write_text("no sound")
    (tmp_path / "in" / "empty.ogg").write_bytes(b"")
    done = extract(tmp_path / "in", tmp_path / "out", skip=True)
    assert (done.tracks, done.skipped) == (3, 4)
    table = vectors(tmp_path / "out")
    assert set(table["track_id"]) == {"short", "odd", "high"}
    assert all(np.isfinite(vector).all() for vector in table["vector"].to_list())
    report = pl.read_parquet(tmp_path / "out" / NAME)
    left_out = dict(report.filter(pl.col("seconds").is_null())["track_id", "done"].iter_rows())
    assert "silent" in left_out.pop("silent")
    assert "at least 0.5 s" in left_out.pop("shorter")
    assert "0 bytes" in left_out.pop("empty")
    assert "not audio" in left_out.pop("text")
    assert left_out == {}


def test_nothing_that_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.mp3").write_text("no sound")
    with pytest.raises(InputError, match="no file can be used"):
        extract(tmp_path / "in", tmp_path / "out", skip=True)
    with pytest.raises(InputError, match="no file can be used; without --skip-broken"):
        extract_features(Counting(), [], tmp_path / "other", Broken(skip=True))


def test_numbers_that_are_none_are_a_fault(folder: Path) -> None:
    class Broke(Counting):
        def hear(self, sound: torch.Tensor) -> Features:
            return Features(torch.full((len(sound), 2), torch.nan), torch.zeros(len(sound), 1))

    with pytest.raises(InputError, match="the extractor gives what is no finite number"):
        extract(folder, folder.parent / "out", Broke())


def test_many_files_a_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_PARTS_AT_LEAST", 2)
    (folder / "1.wav").write_bytes(b"RIFF broken")
    done = extract(folder, folder.parent / "out", skip=True)
    assert (done.tracks, done.skipped) == (4, 1)
    assert vectors(folder.parent / "out")["track_id"].to_list() == ["0", "2", "3", "4"]


def test_a_job_that_was_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / "in", f"{number:02}.wav", 60, number)
    extract(tmp_path / "in", tmp_path / "whole", MFCC())
    args = ["extract", "MFCC", f"--audio={tmp_path / 'in'}", f"--out={tmp_path / 'out'}"]
    process = begin(*args, "--workers=1")
    parts = tmp_path / "out" / ".parts"
    wait_for(lambda: len(list(parts.glob("[!.]*.parquet"))) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "vectors.parquet").exists()
    kept = len(list(parts.glob("[!.]*.parquet")))
    rest = MFCC()
    counts: list[int] = []
    hear = rest.hear
    rest.hear = lambda sound: counts.append(len(sound)) or hear(sound)  # type: ignore
    extract(tmp_path / "in", tmp_path / "out", rest)
    assert sum(counts) == (8 - kept) * 20
    one, other = (vectors(tmp_path / name) for name in ("whole", "out"))
    assert one["track_id"].equals(other["track_id"])
    assert np.allclose(one["vector"].to_list(), other["vector"].to_list(), atol=1e-4)
