"""Many sound files: heard once, without a FLAC, where they were when shards' FLACs were heard."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
import torch
from helpers import Fitted, Listened, World, data_flags

from coldstart.audio import pcm
from coldstart.audio.storage import content_of
from coldstart.cli import main
from coldstart.encoders.patches import PatchEncoder, PatchReader
from coldstart.errors import InputError
from coldstart.extractors.sound_files import SoundFile
from coldstart.retrieval import sound_queries
from coldstart.retrieval.hearing import hear
from coldstart.retrieval.recommender import Recommender
from coldstart.retrieval.sound_queries import hear_files
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import Run, open_run

QUICK = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.workers=0"]

SOUNDS = {
    "shorter_than_a_window": (1.3, 22_050, 1),
    "a_window": (4.0, 8_000, 1),
    "stereo": (9.2, 44_100, 2),
    "long": (47.0, 8_000, 2),
    "odd_rate": (6.5, 7_919, 1),
    "three_channels": (5.0, 11_025, 3),
}
"""Seconds, Hz, channels; the nets' windows have 4 s."""


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for number, (name, (seconds, rate, channels)) in enumerate(SOUNDS.items()):
        generator = np.random.default_rng(number)
        time_s = np.arange(int(seconds * rate)) / rate
        wave = 0.3 * np.sin(2 * np.pi * (200 + 90 * number) * time_s * (1 + time_s / 60))
        noise = 0.05 * generator.normal(size=(len(time_s), channels))
        soundfile.write(folder / f"{name}.wav", wave[:, None] + noise, rate)
    return folder


def files_in(folder: Path) -> list[SoundFile]:
    return [SoundFile(path.stem, path, folder.name) for path in sorted(folder.iterdir())]


def fitted(world: World, root: Path, text: str, shards: Path | None = None) -> Run:
    (root / "c.yaml").write_text(text, encoding="utf-8")
    data = data_flags(world._replace(shards=shards or world.shards))
    args = [f"--config={root / 'c.yaml'}", f"--run={root / 'run'}", *data, *QUICK, "--stages=1"]
    assert main(["fit", *args]) == 0
    return open_run(root / "run")


def half(world: World, root: Path) -> Run:
    """Windows that overlap, and a waveform's beside a spectrogram's."""
    audio = "{net: small, patch_seconds: 4, bins: 36, fmin: 110, frame_hop: 256, dim: 8}"
    wave = "{net: small, patch_seconds: 3, dim: 8}"
    return fitted(
        world,
        root,
        f"model: {{encoders: {{audio: {{class_path: Audio, init_args: {audio}}}, "
        f"wave: {{class_path: Waveform, init_args: {wave}}}}}}}",
    )


def extracted(world: World, root: Path) -> Run:
    """Nothing but what an extractor hears, at another rate than the dataset's sound."""
    args = [str(world.catalogue / "tracks.parquet"), f"--splits={world.splits}"]
    flags = [f"--out={root / 'shards'}", "--modalities=[genres]", "--extract=MFCC"]
    assert main(["shard", *args, *flags]) == 0
    encoder = "{class_path: Embedding, init_args: {modality: mfcc, hidden: [8]}}"
    return fitted(world, root, f"model: {{encoders: {{mfcc: {encoder}}}}}", root / "shards")


@pytest.fixture(scope="module")
def own_nets(tiny_world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return half(tiny_world, tmp_path_factory.mktemp("own_nets"))


@pytest.fixture(scope="module", params=["own nets", "extracted", "listeners"])
def run(
    request: pytest.FixtureRequest, tiny_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    if request.param == "own nets":
        own: Run = request.getfixturevalue("own_nets")
        return own
    root = tmp_path_factory.mktemp("run")
    if request.param == "extracted":
        return extracted(tiny_world, root)
    listened: Listened = request.getfixturevalue("listened")
    encoder = "{class_path: MachineListened, init_args: {hidden: [8]}}"
    return fitted(tiny_world, root, f"model: {{encoders: {{mlg: {encoder}}}}}", listened.shards)


def test_samples_are_heard_as_the_flac_was(run: Run, music: Path) -> None:
    """To the last bit."""
    for file in files_in(music):
        vector = hear(run, file.path)
        assert torch.equal(vector, hear(run, file.path, content_of)), file.track_id
        assert vector.isfinite().all()


def test_what_lies_in_a_temporary_file_is_the_same(
    run: Run, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = music / "long.wav"
    vector = hear(run, path)
    monkeypatch.setattr(pcm, "IN_MEMORY", 10_000)
    assert torch.equal(hear(run, path), vector)


def test_several_at_a_time_are_heard_as_one(run: Run, music: Path) -> None:
    """In their order. With one thread a net adds up in another order than with several."""
    files = files_in(music) * 3
    heard = list(hear_files(run, files, workers=4))
    assert [each.file for each in heard] == files
    for each in heard:
        assert each.vector is not None
        torch.testing.assert_close(each.vector, hear(run, each.file.path), atol=1e-6, rtol=1e-5)


def test_a_file_is_where_its_track_in_the_shards_is(own_nets: Run, tiny_world: World) -> None:
    table = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").drop_nulls("audio").head(8)
    stored = dict(zip(*predictions_of(own_nets), strict=True))
    rows = table.select("track_id", "audio").iter_rows()
    files = [SoundFile(track, tiny_world.catalogue / audio, "t") for track, audio in rows]
    for each in hear_files(own_nets, files):
        assert each.vector is not None
        torch.testing.assert_close(each.vector, stored[each.file.track_id], atol=1e-5, rtol=1e-4)


class OwnReader(PatchReader):
    """Of another package: it decodes by itself."""

    def length(self, content: Any) -> int:
        assert bytes(content[:4]) == b"fLaC"
        return super().length(content)


def test_a_reader_of_another_package_gets_a_flac(
    audio: Fitted, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = open_run(audio.run), music / "stereo.wav"
    vector = hear(run, path)
    (encoder,) = run.model.encoders.values()
    assert isinstance(encoder, PatchEncoder)
    reader = encoder.reader()
    assert isinstance(reader, PatchReader)
    own = OwnReader(reader.field, reader.size, reader.fixed, reader.hop, reader.trim)
    monkeypatch.setattr(encoder, "reader", lambda: own)
    run.data.lend(run.model.lend())
    assert torch.equal(hear(run, path), vector)


# The verb


@pytest.fixture
def folder(music: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    shutil.copytree(music, folder)
    (folder / "nearly.flac").write_bytes(b"fLaC")
    return folder


def lists_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    table = pl.read_parquet(path)
    assert table.columns == ["query", "rank", "track_id", "score", "by"]
    return {
        name: part.sort("rank").select("rank", "track_id", "score", "by").rows()
        for (name,), part in table.group_by("query", maintain_order=True)
    }


def test_a_folder_has_a_list_for_each_file(
    audio: Fitted, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "recs.parquet"
    args = ["recommend", f"--run={audio.run}", f"--audio={folder}", f"--out={out}", "--k=3"]
    assert main(args) == 2
    told = capsys.readouterr().err
    assert "track 'nearly', field 'audio': nearly.flac: not audio" in told
    assert "--skip-broken" in told
    assert not out.exists()
    assert main([*args, "--skip-broken", "--workers=2"]) == 0
    said = capsys.readouterr().out
    assert f"wrote {out}: 18 recommendations for 6 sound files" in said
    assert f"1 broken items were skipped; the reasons are in {out}.broken.csv" in said
    assert pl.read_csv(f"{out}.broken.csv")["item"].to_list() == ["track 'nearly'"]
    lists = lists_of(out)
    assert list(lists) == sorted(SOUNDS)
    for name, rows in lists.items():
        one = Recommender(audio.run).for_audio(folder / f"{name}.wav", k=3)
        assert [(rank, track) for rank, track, _, _ in rows] == [(r.rank, r.track_id) for r in one]
        assert [score for *_, score, _ in rows] == pytest.approx([r.similarity for r in one])
    assert main([*args, "--skip-broken"]) == 2
    assert "exists already; pass --overwrite" in capsys.readouterr().err
    (folder / "nearly.flac").unlink()
    assert main([*args, "--overwrite"]) == 0
    assert not Path(f"{out}.broken.csv").exists()


def test_a_table_names_files_and_several_places_are_joined(
    audio: Fitted, music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"track_id": ["x", "y"], "title": ["X", "Y"], "artist": ["A", "B"]}
    paths = [str(music / "long.wav"), str(music / "stereo.wav")]
    pl.DataFrame({**rows, "audio": paths}).write_csv(tmp_path / "new.csv")
    more = [f"--audio={tmp_path / 'new.csv'}", f"--audio={music / 'a_window.wav'}"]
    out = tmp_path / "recs.csv"
    args = ["recommend", f"--run={audio.run}", "--k=2", "--candidates=all", *more]
    assert main(args) == 2
    assert "is written into a file: name it, --audio" in capsys.readouterr().err
    assert main([*args, f"--out={out}", "--json"]) == 0
    assert '"files": 3' in capsys.readouterr().out
    assert pl.read_csv(out)["query"].unique(maintain_order=True).to_list() == ["x", "y", "a_window"]


def test_a_job_that_was_stopped_is_continued(
    audio: Fitted,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sound_queries, "PART", 2)
    out, whole = tmp_path / "recs.parquet", tmp_path / "whole.parquet"
    args = ["recommend", f"--run={audio.run}", f"--audio={folder}", "--k=3"]
    assert main([*args, f"--out={out}"]) == 2  # at the third file, nearly.flac
    caplog.clear()
    heard: list[str] = []
    with monkeypatch.context() as patch, caplog.at_level(logging.INFO, "coldstart"):
        patch.setattr(sound_queries, "hear_files", noted(heard))
        assert main([*args, f"--out={out}", "--skip-broken"]) == 0
    assert "1 parts exist already" in caplog.text
    assert heard == ["nearly", "odd_rate", "shorter_than_a_window", "stereo", "three_channels"]
    assert main([*args, f"--out={whole}", "--skip-broken"]) == 0
    assert lists_of(out) == lists_of(whole)
    assert not out.with_name("recs.parquet.parts").exists()


def noted(names: list[str]) -> Any:
    """`hear_files`, which notes what it was asked to hear."""

    def hear_and_note(run: Run, files: list[SoundFile], workers: int | None) -> Iterator[Any]:
        names.extend(file.track_id for file in files)
        return hear_files(run, files, workers)

    return hear_and_note


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--like=t1", "--out=a.csv"], "--out is for --users, and for --audio FOLDER"),
        (["--audio=x.flac", "--workers=2"], "--workers and --skip-broken are for --audio FOLDER"),
        (["--audio=FOLDER", "--out=a.csv", "--workers=0"], "workers is at least 1, not 0"),
        (["--audio=FOLDER", "--out=a.csv", "--why"], "--why explains one query's tracks"),
        (["--audio=FOLDER", "--out=a.txt"], "recommendations are written as .parquet"),
        (["--audio=no/where", "--out=a.csv"], "no/where"),
    ],
)
def test_what_does_not_go_together_is_refused(
    audio: Fitted,
    music: Path,
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [flag.replace("FOLDER", str(music)) for flag in flags]
    assert main(["recommend", f"--run={audio.run}", *given]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_hears_nothing_and_a_folder_without_sound(
    mgp_genres: Fitted, audio: Fitted, music: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="hears nothing"):
        list(hear_files(open_run(mgp_genres.run), files_in(music)))
    (tmp_path / "a.wav").write_bytes(b"")
    heard = list(hear_files(open_run(audio.run), files_in(tmp_path)))
    assert [(each.vector, each.reason) for each in heard] == [(None, "the file is empty (0 bytes)")]
    args = ["recommend", f"--run={audio.run}", f"--audio={tmp_path}", f"--out={tmp_path / 'r.csv'}"]
    assert main([*args, "--skip-broken"]) == 2
    assert not (tmp_path / "r.csv").exists()
