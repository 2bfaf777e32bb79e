import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import samples, sharded, times

from coldstart.commands.shard import shard
from coldstart.errors import InputError
from coldstart.shards import jobs
from coldstart.shards.reading import Shards
from coldstart.shards.writing import write_tar


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nothing_in_a_dataset_is_a_pickle(source: Path, tmp_path: Path) -> None:
    shards = sharded(source, tmp_path / "shards", "mgp")
    assert (shards.folder / ".lock").stat().st_size == 0
    written = [p for p in shards.folder.rglob("*") if p.is_file() and not p.name.endswith(".lock")]
    assert {p.suffix for p in written} == {".json", ".tar", ".parquet"}
    got = samples(shards, "audio.flac", "mgp.npy", "genres.json").values()
    for sample in got:
        if "mgp.npy" in sample:
            assert np.load(io.BytesIO(sample["mgp.npy"]), allow_pickle=False).dtype == np.float32
        if "audio.flac" in sample:
            assert sample["audio.flac"][:4] == b"fLaC"
        json.loads(sample.get("genres.json", b"[]"))


def test_two_runs_and_two_workers_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        sharded(source, tmp_path / name, "mgp", workers=workers)
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")
    sharded(source, tmp_path / "d", "mgp", seed=1)
    assert files(tmp_path / "a") != files(tmp_path / "d")


def test_the_same_command_again_writes_nothing(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharded(source, tmp_path / "out", "mgp")
    before, stamps = files(tmp_path / "out"), times(tmp_path / "out")
    capsys.readouterr()
    sharded(source, tmp_path / "out", "mgp", overwrite=True)
    assert "mgp: already there, from the same source" in capsys.readouterr().out
    assert (files(tmp_path / "out"), times(tmp_path / "out")) == (before, stamps)


def test_one_more_modality_leaves_the_others_untouched(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = sharded(source, out, "mgp").modalities
    stamps, content = times(out), files(out)
    after = sharded(source, out, "mood", modalities=[]).modalities
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"mood"}
    assert {path: stamp for path, stamp in times(out).items() if "/mood/" not in path} == stamps
    content.pop("dataset.json")
    assert {path: files(out)[path] for path in content} == content
    sharded(source, tmp_path / "at once", "mgp", "mood")
    assert files(tmp_path / "at once") == files(out)


def test_another_source_needs_overwrite(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", "mgp", "mood")
    stamps = times(tmp_path / "out")
    table = pl.read_csv(source / "mgp.csv").with_columns(mgp0=pl.lit(0.25))
    table.write_csv(source / "mgp.csv")
    with pytest.raises(InputError, match=r"'mgp' is already there, .* --overwrite"):
        sharded(source, tmp_path / "out", "mgp")
    assert times(tmp_path / "out") == stamps
    shards = sharded(source, tmp_path / "out", "mgp", "mood", overwrite=True)
    vector = np.load(io.BytesIO(samples(shards, "mgp.npy")["t/0"]["mgp.npy"]))
    assert vector[0] == 0.25
    changed = {path for path, stamp in times(tmp_path / "out").items() if stamps[path] != stamp}
    assert changed == {path for path in stamps if "/mgp/" in path}


@pytest.mark.parametrize("skip", [False, True])
def test_an_interrupted_job_goes_on_where_it_stopped(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: bool
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
    assert "audio" not in Shards(out).modalities  # a half-written modality is never read
    stamps = times(out)
    assert len(stamps) == 2
    (out / "train/audio/.000002.99.tar").write_bytes(b"as if it had been killed")
    shards = sharded(source, out, modalities=["audio"], skip_broken=skip)
    assert {path: times(out)[path] for path in stamps} == stamps
    assert len(times(out)) == 6
    assert len(samples(shards, "audio.flac")) == 20
    assert not list(out.rglob(".progress/*"))
    sharded(source, tmp_path / "at once", modalities=["audio"])
    assert files(out) == files(tmp_path / "at once")
    assert len(pl.read_parquet(out / "audio_report.parquet")) == 15


def test_a_job_stopped_by_a_broken_file_goes_on_when_told_to_skip(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    order = [t["track_id"] for t in sharded(source, out, modalities=[]).all_tracks(["train"])]
    last = next(t for t in reversed(order) if int(t[2:]) % 4)
    (source / f"{last[2:]}.wav").write_bytes(b"broken")
    with pytest.raises(InputError, match=rf"track '{last}', field 'audio': {last[2:]}\.wav: not"):
        sharded(source, out, modalities=["audio"])
    stamps = times(out)
    assert len(stamps) == 3
    shards = sharded(source, out, modalities=["audio"], skip_broken=True)
    assert {path: times(out)[path] for path in stamps} == stamps
    assert "audio.flac" not in samples(shards, "audio.flac")[last]
    assert pl.read_csv(out / "broken.csv")["item"].to_list() == [f"track '{last}'"]


def test_tracks_are_fixed_when_a_dataset_is_made(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", modalities=[])
    before = files(tmp_path / "out")
    new = pl.read_csv(source / "tracks.csv").vstack(
        pl.DataFrame({"track_id": "new", "title": "", "artist": "", "audio": "", "genres": ""})
    )
    new.write_csv(source / "tracks.csv")
    with pytest.raises(InputError, match="track 'new' is not in this dataset"):
        sharded(source, tmp_path / "out", "mgp", splits=None)
    assert files(tmp_path / "out") == before
    with pytest.raises(InputError, match=r"1 tracks have no split \(the first is 'new'\)"):
        sharded(source, tmp_path / "other")


def test_splits_that_disagree_with_the_dataset_are_refused(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", modalities=[])
    table = pl.read_csv(source / "splits.csv")
    table.with_columns(split=pl.lit("test")).write_csv(source / "splits.csv")
    with pytest.raises(InputError, match="track 't/0' is in 'train' here, but in 'test' of"):
        sharded(source, tmp_path / "out", "mgp")


def test_a_subset_of_the_tracks_may_get_one_more_modality(source: Path, tmp_path: Path) -> None:
    sharded(source, tmp_path / "out", modalities=[])
    pl.read_csv(source / "tracks.csv")[3:6].write_csv(source / "tracks.csv")
    shards = sharded(source, tmp_path / "out", "mgp", modalities=[], splits=None)
    got = samples(shards, "mgp.npy")
    assert len(got) == 20
    assert {t for t, s in got.items() if "mgp.npy" in s} == {"t/3", "t/4", "t/5"}


def test_without_splits_everything_is_to_be_recommended(source: Path, tmp_path: Path) -> None:
    shards = sharded(source, tmp_path / "out", splits=None)
    assert {split: sum(sizes) for split, sizes in shards.about["splits"].items()} == {
        "train": 0,
        "val": 0,
        "test": 20,
    }


def test_constant_attributes_are_warned_of_and_kept(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pl.read_csv(source / "mgp.csv").with_columns(mgp1=pl.lit(0.1)).write_csv(source / "mgp.csv")
    shards = sharded(source, tmp_path / "out", "mgp")
    assert "mgp.csv: 1 attributes are constant and tell nothing: mgp1" in caplog.text
    assert shards.info("mgp")["names"] == ["mgp0", "mgp1", "mgp2"]
    assert shards.info("mgp")["std"][1] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_size": 0}, "shard_size is at least 1"),
        ({"sample_rate": 10}, "sample_rate 1,000 to"),
        ({"sample_rate": 10**9}, "sample_rate 1,000 to"),
        ({"modalities": ["video"]}, "can't shard 'video'.* it has: audio, genres"),
    ],
)
def test_options_out_of_range_are_refused(
    source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sharded(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["audio", "genres", "tracks", "factors", "a b", "a/b", "../x"])
def test_an_attribute_modality_cannot_take_any_name(
    source: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match="can't be the name"):
        shard(
            source / "tracks.csv", out=tmp_path / "out", attributes={name: str(source / "mgp.csv")}
        )


def test_attributes_of_other_tracks_are_refused_or_counted(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "coldstart")
    table = pl.read_csv(source / "mgp.csv")
    pl.concat([table, table.with_columns(track_id=pl.lit("x/") + pl.col("track_id"))]).write_csv(
        source / "mgp.csv"
    )
    sharded(source, tmp_path / "out", "mgp")
    assert "left out 18 rows of tracks that aren't in the table" in caplog.text
    table.with_columns(track_id=pl.lit("x/") + pl.col("track_id")).write_csv(source / "mood.csv")
    with pytest.raises(InputError, match=r"mood\.csv: none of its tracks is in the track table"):
        sharded(source, tmp_path / "out", "mood")
