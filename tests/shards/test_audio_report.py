"""The report that `shard` ends with: complete, resumed, and warned of."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from helpers import sharded

from coldstart.audio.report import NAME, SCHEMA
from coldstart.commands.shard import shard
from coldstart.shards import build, jobs
from coldstart.shards.reading import Shards
from coldstart.shards.writing import write_tar

RATE = 8000


def report_of(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / NAME)


def catalogue(folder: Path, waves: dict[str, Any]) -> Path:
    for name, wave in waves.items():
        soundfile.write(folder / name, wave, RATE, subtype="FLOAT")
    columns = {"track_id": list(waves), "title": list(waves), "artist": list(waves)}
    pl.DataFrame(columns | {"audio": list(waves)}).write_csv(folder / "tracks.csv")
    return folder / "tracks.csv"


def sine(seconds: float = 2) -> Any:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_file_has_a_row(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "coldstart")
    wave = sine()
    waves = {
        "plain.wav": wave,
        "opposite.wav": np.stack([wave, -wave], 1),
        "integers.wav": wave * 20_000,
        "clipped.wav": np.clip(3 * wave, -1, 1),
        "half.wav": np.concatenate([wave, 0 * wave]),
        "silent.wav": 0 * wave,
    }
    out = tmp_path / "out"
    table = catalogue(tmp_path, waves)
    shard(table, out=out, shard_size=2, workers=workers, sample_rate=RATE, skip_broken=True)
    report = report_of(out)
    assert report.schema == SCHEMA
    rows = {row["track_id"]: row for row in report.to_dicts()}
    assert set(rows) == set(waves)
    assert [t["track_id"] for t in Shards(out).all_tracks()] == report["track_id"].to_list()
    assert rows["plain.wav"] == {
        "track_id": "plain.wav",
        "modality": "audio",
        "file": "plain.wav",
        "seconds": 2.0,
        "rate": RATE,
        "channels": 1,
        "peak": pytest.approx(0.5, abs=0.01),
        "clipped": 0.0,
        "silent": 0.0,
        "offset": pytest.approx(0, abs=1e-3),
        "done": "",
        "doubts": "",
    }
    assert "opposite phase" in rows["opposite.wav"]["done"]
    assert rows["opposite.wav"]["channels"] == 2
    assert "scale of 16-bit integers" in rows["integers.wav"]["done"]
    assert rows["integers.wav"]["peak"] == pytest.approx(10_000, rel=0.01)
    assert rows["clipped.wav"]["clipped"] > 0.3
    assert "clipped" in rows["clipped.wav"]["doubts"]
    assert rows["half.wav"]["silent"] == 0.5
    assert rows["silent.wav"]["done"].startswith("left out: silent")
    assert rows["silent.wav"]["seconds"] is None
    assert "audio: 5 files, 0.2 minutes of sound, 2 treated, 1 doubtful, 1 left out" in caplog.text
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert sum("opposite.wav: its two channels are in opposite" in text for text in warnings) == 1
    assert not any("plain.wav" in text or "half.wav" in text for text in warnings)


def test_many_files_that_are_not_ordinary_are_not_all_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waves = {f"{i}.wav": np.stack([sine(), -sine()], 1) for i in range(build.REMARKS + 3)}
    shard(catalogue(tmp_path, waves), out=tmp_path / "out", workers=1, sample_rate=RATE)
    assert caplog.text.count("opposite phase") == build.REMARKS
    assert "and 3 more files like these" in caplog.text


def test_an_interrupted_job_has_all_rows_in_the_end(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    written: list[Path] = []

    def stops_at_the_third(path: Path, members: Any) -> int:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        return write_tar(path, members)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "write_tar", stops_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            sharded(source, out, modalities=["audio"])
    assert not (out / NAME).exists()
    sharded(source, out, modalities=["audio"])
    sharded(source, tmp_path / "at once", modalities=["audio"])
    assert report_of(out).equals(report_of(tmp_path / "at once"))
    assert len(report_of(out)) == 15
    assert not list(out.glob(".*.parquet"))


def test_notes_of_an_earlier_version_are_made_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no rows: a job that an earlier version began ends with a report all the same."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(build, "list_modality", lambda *_: None)
        patch.setattr(build.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyError):  # it isn't listed
            sharded(source, out, modalities=["audio"])
    notes = list((out / ".progress").rglob("*.json"))
    assert notes
    for note in notes:
        note.write_text('{"tracks": 3, "broken": []}')
    (out / NAME).unlink()
    sharded(source, out, modalities=["audio"])
    assert len(report_of(out)) == 15


def test_two_stores_of_the_same_files_have_their_rows(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sharded(source, out, modalities=["audio"])
    options: dict[str, Any] = {"bins": 24, "fmin": 110.0, "frame_hop": 256, "store": "mel"}
    sharded(source, out, modalities=["audio"], **options)
    assert report_of(out)["modality"].value_counts().sort("modality").rows() == [
        ("audio", 15),
        ("mel", 15),
    ]
    soundfile.write(source / "1.wav", sine(), RATE)
    sharded(source, out, modalities=["audio"], overwrite=True)
    rows = report_of(out).filter(track_id="t/1").select("modality", "seconds").rows()
    assert rows == [("audio", 2.0), ("mel", 1.0)]


def test_a_dataset_without_sound_has_no_report(source: Path, tmp_path: Path) -> None:
    out = sharded(source, tmp_path / "out", "mgp", modalities=["genres"]).folder
    assert not (out / NAME).exists()


def test_a_dataset_of_an_earlier_version_still_opens(source: Path, tmp_path: Path) -> None:
    out = sharded(source, tmp_path / "out").folder
    (out / NAME).unlink()
    assert set(Shards(out).modalities) == {"audio", "genres"}
    sharded(source, out, "mgp")
    assert not (out / NAME).exists()
