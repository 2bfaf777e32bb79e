"""New tracks join a dataset; tracks are withdrawn and come back."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from filelock import FileLock
from helpers import samples, sharded

from coldstart.commands.add import Addition, add
from coldstart.commands.remove import remove
from coldstart.commands.shard import shard
from coldstart.errors import InputError
from coldstart.shards.extension import extend_modality
from coldstart.shards.reading import Shards
from coldstart.shards.writing import add_vectors

FIELDS = ("audio.flac", "mgp.npy", "genres.json")


@pytest.fixture
def dataset(source: Path, tmp_path: Path) -> Path:
    """Twenty tracks with sound, genres and attributes."""
    return sharded(source, tmp_path / "shards", "mgp").folder


def tables(folder: Path, ids: Sequence[str], shift: float = 0.0, **columns: Any) -> Path:
    """Tables of new tracks, and their files of sound; the last lacks all but a title."""
    folder.mkdir(exist_ok=True)
    wave = 0.1 * np.sin((1.5 + shift) * np.arange(6000, dtype=np.float32))
    names = [f"{number}.wav" for number in range(len(ids) - 1)]
    for name in names:
        soundfile.write(folder / name, wave, 8000)
    rows = {
        "track_id": list(ids),
        "title": [f"New {track}" for track in ids],
        "artist": ["N"] * len(ids),
        "audio": [*names, None],
        "genres": [*["b|c"] * (len(ids) - 1), ""],
        **columns,
    }
    pl.DataFrame(rows).write_csv(folder / "tracks.csv")
    grades = np.random.default_rng(7).random((len(ids) - 1, 3)).astype(np.float32) + shift
    mgp = {f"mgp{k}": grades[:, k] for k in (2, 0, 1)}  # in another order than the dataset
    pl.DataFrame({"track_id": list(ids[:-1]), **mgp}).write_csv(folder / "mgp.csv")
    return folder


def added(dataset: Path, new: Path, **options: Any) -> Addition:
    attributes = {"mgp": str(new / "mgp.csv")}
    options = {"workers": 1, "attributes": attributes, **options}
    return add(new / "tracks.csv", shards=dataset, **options)


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    paths = [path for path in paths if not path.name.endswith(".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def new_samples(shards: Shards, *fields: str) -> dict[str, dict[str, Any]]:
    return {
        sample["track_id"]: sample
        for number in range(len(shards.shard_sizes("new")))
        for sample in shards.samples("new", number, fields)
        if shards.is_in_use(sample["track_id"], "new", number)
    }


def test_new_tracks_are_stored_as_the_dataset_stores_its_own(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, content = Shards(dataset), contents(dataset)
    result = added(dataset, tables(tmp_path / "new", list("vwxyz")))
    shards = Shards(dataset)
    assert (result.tracks, result.replaced, result.already) == (5, 0, False)
    assert result.lacks == {"audio": 1, "genres": 1, "mgp": 1}
    out = capsys.readouterr().out
    assert f"added 5 tracks to {dataset}" in out
    assert "mgp: 1 of the 5 tracks lack it" in out
    assert "next:" not in out  # of no run is anything known here
    got = new_samples(shards, *FIELDS)
    assert list(got) == list("vwxyz")
    table = pl.read_csv(tmp_path / "new" / "mgp.csv")
    for row in table.iter_rows(named=True):
        vector = np.load(io.BytesIO(got[row["track_id"]]["mgp.npy"]))
        np.testing.assert_allclose(vector, [row[name] for name in ("mgp0", "mgp1", "mgp2")])
        sound, rate = soundfile.read(io.BytesIO(got[row["track_id"]]["audio.flac"]))
        assert (len(sound), rate) == (6000, 8000)
        assert json.loads(got[row["track_id"]]["genres.json"]) == ["b", "c"]
    assert set(got["z"]) == {"track_id", "shard"}
    # What was there is as it was: tars, tracks, and what the encoders read of dataset.json.
    assert {name: contents(dataset)[name] for name in content if name in _untouched(content)} == {
        name: content[name] for name in _untouched(content)
    }
    for name, info in before.modalities.items():
        now = {**shards.info(name), "shards": {**shards.info(name)["shards"]}}
        assert sum(now["shards"].pop("new")) == 4
        assert now == info
    assert shards.about["plan"] == before.about["plan"]
    assert shards.all_tracks() == before.all_tracks()
    used = shards.tracks_in_use()
    assert used[:20] == before.all_tracks()
    assert [(t["track_id"], t["split"]) for t in used[20:]] == [(t, "new") for t in "vwxyz"]
    report = pl.read_parquet(dataset / "audio_report.parquet")
    assert len(report) == 15 + 4
    assert not (dataset / ".progress").exists()


def _untouched(content: dict[str, bytes]) -> list[str]:
    return [name for name in content if name not in ("dataset.json", "audio_report.parquet")]


def test_the_same_again_changes_nothing(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tables(tmp_path / "new", list("vwxyz"))
    added(dataset, new)
    content = contents(dataset)
    capsys.readouterr()
    assert added(dataset, new, replace=True).already
    assert added(dataset, new).already
    assert "already there, with the same content" in capsys.readouterr().out
    assert contents(dataset) == content


def test_a_modality_that_the_tables_lack_is_missing_and_one_more_table_can_follow(
    dataset: Path, tmp_path: Path
) -> None:
    result = added(dataset, tables(tmp_path / "a", list("uv")), attributes=None)
    assert result.lacks == {"audio": 1, "genres": 1, "mgp": 2}
    shards = Shards(dataset)
    assert "new" not in shards.info("mgp")["shards"]
    assert all("mgp.npy" not in sample for sample in new_samples(shards, "mgp.npy").values())
    added(dataset, tables(tmp_path / "b", list("xyz")), modalities=[])
    shards = Shards(dataset)
    assert shards.info("mgp")["shards"]["new"] == [0, 2]
    assert shards.info("audio")["shards"]["new"] == [1]
    got = new_samples(shards, "mgp.npy", "audio.flac")
    assert [set(got[t]) & set(FIELDS) for t in "uvxyz"] == [
        {"audio.flac"},
        set(),
        {"mgp.npy"},
        {"mgp.npy"},
        set(),
    ]


def test_a_track_that_is_there_is_refused_or_replaced(dataset: Path, tmp_path: Path) -> None:
    first = tables(tmp_path / "a", ["t/0", "t/19", "x", "y"])
    content = contents(dataset)
    with pytest.raises(InputError, match=r"2 of the 4 tracks are in .* such as 't/0'.*--replace"):
        added(dataset, first)
    assert contents(dataset) == content
    before = samples(Shards(dataset), "mgp.npy")
    assert added(dataset, first, replace=True).replaced == 2
    shards = Shards(dataset)
    assert shards.current == {"t/0": "new/000000", "t/19": "new/000000"}
    assert samples(shards, "mgp.npy") == before, "training and tests read what they read"
    used = {track["track_id"]: track for track in shards.tracks_in_use()}
    assert len(used) == len(shards.tracks_in_use()) == 22
    assert (used["t/0"]["split"], used["t/0"]["title"]) == ("new", "New t/0")
    # Once more, with other content; and back to the first.
    assert (
        added(dataset, tables(tmp_path / "b", ["t/0", "y", "z"], 0.5), replace=True).replaced == 2
    )
    shards = Shards(dataset)
    assert shards.current["t/0"] == "new/000001"
    assert np.load(io.BytesIO(new_samples(shards, "mgp.npy")["t/0"]["mgp.npy"])).min() > 0.5
    with pytest.raises(InputError, match="4 of the 4 tracks"):
        added(dataset, first)  # it isn't what is used now
    assert not added(dataset, first, replace=True).already
    assert Shards(dataset).current["t/0"] == "new/000002"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop("mgp1"), r"lacks 1 of the 3 attributes that 'mgp' has in .*: mgp1"),
        (
            lambda t: t.with_columns(loud=pl.col("mgp0")),
            r"1 columns that are no attributes of 'mgp' .*: loud\. .* --drop-columns loud",
        ),
        (lambda t: t.rename({"mgp0": "mgp_0"}), r"lacks 1 of the 3 .*: mgp0"),
        (
            lambda t: t.with_columns(track_id=pl.lit("q/") + pl.col("track_id")),
            "none of its tracks is in the track table",
        ),
    ],
)
def test_other_attributes_are_refused_by_name(
    dataset: Path, tmp_path: Path, change: Any, message: str
) -> None:
    new, content = tables(tmp_path / "new", list("vwxyz")), contents(dataset)
    change(pl.read_csv(new / "mgp.csv")).write_csv(new / "mgp.csv")
    with pytest.raises(InputError, match=message):
        added(dataset, new)
    assert contents(dataset) == content


def test_columns_of_the_dataset_are_attributes_whatever_they_look_like(
    source: Path, tmp_path: Path
) -> None:
    years = pl.read_csv(source / "mgp.csv").with_columns(year=pl.int_range(1990, 2008))
    years.write_csv(source / "mgp.csv")
    dataset = sharded(source, tmp_path / "out", "mgp", keep_columns="year").folder
    new = tables(tmp_path / "new", [f"n{i}" for i in range(10)])
    table = pl.read_csv(new / "mgp.csv").with_columns(year=pl.int_range(2001, 2010))
    table.write_csv(new / "mgp.csv")
    added(dataset, new)
    got = new_samples(Shards(dataset), "mgp.npy")
    assert np.load(io.BytesIO(got["n0"]["mgp.npy"]))[3] == 2001


def test_what_the_dataset_lacks_or_has_otherwise_is_refused(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = tables(tmp_path / "new", list("vwxyz"))
    table = str(new / "mgp.csv")
    with pytest.raises(InputError, match="no modality 'mood'; it has: audio, genres, mgp"):
        added(dataset, new, attributes={"mood": table})
    with pytest.raises(InputError, match=r"'mgp' holds attributes .* --attributes\.mgp"):
        added(dataset, new, attributes=None, embeddings={"mgp": table})
    pl.DataFrame({"track_id": ["v"], "text": ["la"]}).write_csv(new / "texts.csv")
    with pytest.raises(InputError, match=r"'mgp' is stored as mgp\.npy .* would be mgp\.txt"):
        added(dataset, new, attributes=None, texts={"mgp": str(new / "texts.csv")})
    with pytest.raises(InputError, match="no modality 'video'"):
        added(dataset, new, modalities=["video"])
    assert not Shards(dataset).shard_sizes("new")
    caplog.set_level("INFO", "coldstart")
    bare = shard(new / "tracks.csv", out=tmp_path / "bare", modalities=["genres"]).folder
    added(bare, tables(tmp_path / "more", ["p", "q"]), attributes=None)
    assert "column 'audio' isn't read, for this dataset has no modality 'audio'" in caplog.text


def test_vectors_of_another_width_are_refused(source: Path, tmp_path: Path) -> None:
    ids = [f"t/{i}" for i in range(20)]
    np.save(source / "emb.npy", np.random.default_rng(0).random((20, 4)).astype(np.float32))
    dataset = sharded(source, tmp_path / "out", embeddings={"emb": str(source / "emb.npy")}).folder
    new = tables(tmp_path / "new", ["x", "y"])
    for width, match in ((3, r"vectors of 3 numbers; 'emb' has 4"), (4, "")):
        np.save(new / "emb.npy", np.ones((2, width), np.float32))
        options: dict[str, Any] = {"attributes": None, "embeddings": {"emb": str(new / "emb.npy")}}
        if match:
            with pytest.raises(InputError, match=match):
                added(dataset, new, **options)
        else:
            added(dataset, new, **options)
    assert len(ids) + 2 == len(Shards(dataset).tracks_in_use())
    assert set(new_samples(Shards(dataset), "emb.npy")["y"]) >= {"emb.npy"}


def test_genres_that_nobody_has_learnt_are_named(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    added(dataset, tables(tmp_path / "new", list("xyz"), genres=["a+b", "a+c", "b+c"]))
    assert "genres are none of the training tracks'" in caplog.text
    assert "--genre-separator" in caplog.text


def test_broken_files_stop_it_or_are_left_out(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, content = tables(tmp_path / "new", list("vwxyz")), contents(dataset)
    (new / "1.wav").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"track 'w', field 'audio': 1\.wav: not"):
        added(dataset, new)
    assert Shards(dataset).about == json.loads(content["dataset.json"])
    result = added(dataset, new, skip_broken=True)
    assert (result.skipped, result.lacks["audio"]) == (1, 2)
    assert pl.read_csv(dataset / "broken.csv")["item"].to_list() == ["track 'w'"]


def test_a_dataset_of_music_to_be_recommended_takes_more(source: Path, tmp_path: Path) -> None:
    dataset = sharded(source, tmp_path / "out", "mgp", splits=None).folder
    added(dataset, tables(tmp_path / "new", list("xyz")))
    sides = [track["split"] for track in Shards(dataset).tracks_in_use()]
    assert sides == ["test"] * 20 + ["new"] * 3


def test_a_dataset_at_an_address_or_read_only_is_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tables(tmp_path / "new", list("xyz"))
    monkeypatch.setattr("coldstart.shards.writing.is_writable", lambda _: False)
    for act in (lambda: added(dataset, new), lambda: remove(["t/0"], shards=dataset)):
        with pytest.raises(InputError, match="can't be written to, so this dataset can't"):
            act()
    monkeypatch.setattr("coldstart.shards.remote.origin", lambda *_: "s3://bucket/shards")
    for act in (lambda: added(dataset, new), lambda: remove(["t/0"], shards=dataset)):
        with pytest.raises(InputError, match="s3://bucket/shards: a dataset at an address can't"):
            act()


# All columns of the table.


def test_all_columns_are_kept_and_the_kinds_of_the_dataset(source: Path, tmp_path: Path) -> None:
    table = pl.read_csv(source / "tracks.csv").with_columns(
        bpm=pl.int_range(60, 80),
        label=pl.lit("Ours"),
        day=pl.date(2026, 1, 2),
        score=pl.lit(float("nan")),
        tags=pl.lit([1.5, None]),
    )
    table.write_parquet(source / "tracks.parquet")
    shards = shard(
        source / "tracks.parquet", out=tmp_path / "out", splits=source / "splits.csv", workers=1
    )
    row = next(t for t in shards.all_tracks() if t["track_id"] == "t/3")
    assert row == {
        "track_id": "t/3",
        "title": "T3",
        "artist": "A3",
        "artist_id": "A3",
        "genres": [],
        "bpm": 63,
        "label": "Ours",
        "day": "2026-01-02",
        "score": None,
        "tags": [1.5, None],
        "split": row["split"],
    }
    new = tables(tmp_path / "new", list("xyz"), bpm=["120", " ", "99.5"], label=["1", "2", "3"])
    added(shards.folder, new, attributes=None)
    used = {t["track_id"]: t for t in Shards(shards.folder).tracks_in_use()}
    assert [used[t]["bpm"] for t in "xyz"] == [120, None, 99.5]
    assert used["x"]["label"] == "1"
    bad = tables(tmp_path / "bad", ["p", "q"], bpm=["fast", "slow"])
    with pytest.raises(InputError, match="'bpm' has 'fast' for track 'p', but values such as"):
        added(shards.folder, bad, attributes=None)


def test_known_columns_alone_give_the_bytes_of_before(source: Path, tmp_path: Path) -> None:
    table = pl.read_csv(source / "tracks.csv").drop("audio", "genres")
    table.with_columns(release_date=pl.date(2020, 5, 4)).write_parquet(source / "known.parquet")
    out = tmp_path / "out"
    shard(source / "known.parquet", out=out, splits=source / "splits.csv")
    rows = json.loads((out / "val" / "tracks" / "000000.json").read_bytes())
    assert [list(row) for row in rows] == [
        ["track_id", "title", "artist", "artist_id", "release_date"]
    ] * 3
    assert rows[0]["release_date"] == "2020-05-04"
    assert list(json.loads((out / "dataset.json").read_bytes())) == [
        "version",
        "plan",
        "splits",
        "modalities",
    ]


# Withdrawn tracks.


def test_removed_tracks_are_hidden_and_come_back(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, before = contents(dataset), Shards(dataset)
    result = remove(["t/3", "t/19", "nobody", "t/3"], shards=dataset)
    assert (result.changed, result.unknown, result.hidden) == (["t/3", "t/19"], ["nobody"], 2)
    assert "1 aren't in the dataset: 'nobody'" in capsys.readouterr().out
    shards = Shards(dataset)
    assert shards.removed == {"t/3", "t/19"}
    assert {t["track_id"] for t in shards.tracks_in_use()} == {
        t["track_id"] for t in before.all_tracks()
    } - {"t/3", "t/19"}
    assert shards.all_tracks() == before.all_tracks(), "training and tests keep their protocol"
    assert remove(["t/3"], shards=dataset).unchanged == ["t/3"]
    table = tmp_path / "back.csv"
    pl.DataFrame({"track_id": ["t/3", "t/19"]}).write_csv(table)
    assert remove(shards=dataset, file=table, undo=True).changed == ["t/3", "t/19"]
    assert contents(dataset) == content
    with pytest.raises(InputError, match="has none of these tracks: 'x', 'y'"):
        remove(["x", "y"], shards=dataset)
    with pytest.raises(InputError, match="name tracks"):
        remove(shards=dataset)


def test_a_removed_track_comes_back_when_it_is_replaced(dataset: Path, tmp_path: Path) -> None:
    remove(["t/3"], shards=dataset)
    new = tables(tmp_path / "new", ["t/3", "x"])
    with pytest.raises(InputError, match=r"\(1 of them withdrawn: `remove --undo`"):
        added(dataset, new)
    added(dataset, new, replace=True)
    shards = Shards(dataset)
    assert shards.removed == frozenset()
    assert "removed" not in shards.about
    assert sum(t["track_id"] == "t/3" for t in shards.tracks_in_use()) == 1
    remove(["t/3"], shards=dataset)
    assert all(t["track_id"] != "t/3" for t in Shards(dataset).tracks_in_use())


# Modalities that come later.


def test_a_computed_modality_is_extended_where_it_lacks(dataset: Path, tmp_path: Path) -> None:
    ids = [track["track_id"] for track in Shards(dataset).all_tracks()]
    vectors = {track: np.full(2, i, np.float32) for i, track in enumerate(ids)}
    facts = {"source": "net", "runs": ["/runs/net"], "at": str(dataset)}
    add_vectors(Shards(dataset), "stage", vectors, facts, None)
    result = added(dataset, tables(tmp_path / "new", ["t/0", "x", "y"]), replace=True)
    assert "stage" not in result.lacks
    before = Shards(dataset).info("stage")
    assert "new" not in before["shards"]
    new = {"x": np.ones(2, np.float32), "t/0": np.zeros(2, np.float32), "q": np.ones(2, np.float32)}
    assert extend_modality(Shards(dataset), "stage", new) == 2
    shards = Shards(dataset)
    assert shards.info("stage") == {
        **before,
        "shards": {**before["shards"], "new": [2]},
    }
    assert set(new_samples(shards, "stage.npy")["x"]) >= {"stage.npy"}
    assert (
        samples(shards, "stage.npy")["t/0"]["stage.npy"]
        != new_samples(shards, "stage.npy")["t/0"]["stage.npy"]
    )
    with pytest.raises(InputError, match=r"vector of track 'y' has the shape \(3,\); \(2,\)"):
        extend_modality(shards, "stage", {"y": np.ones(3, np.float32)})
    pl.DataFrame({"track_id": ["p"], "a": [0.5], "b": [0.1]}).write_csv(tmp_path / "p.csv")
    more = tables(tmp_path / "more", ["p", "r"])
    with pytest.raises(InputError, match="'stage' is made by nets, from other modalities"):
        added(dataset, more, attributes=None, embeddings={"stage": str(tmp_path / "p.csv")})
    # Predicted anew as a whole, it has the new tracks, too.
    everything = {track["track_id"]: np.ones(2, np.float32) for track in shards.tracks_in_use()}
    add_vectors(shards, "stage", everything, facts, None)
    assert Shards(dataset).info("stage")["shards"]["new"] == [3]


def test_one_more_modality_reaches_new_tracks(
    source: Path, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = tables(tmp_path / "new", ["x", "y"])
    added(dataset, new)
    mood = pl.read_csv(source / "mood.csv")
    pl.concat([mood, mood[:1].with_columns(track_id=pl.lit("x"))]).write_csv(source / "mood.csv")
    tracks = pl.concat(
        [
            pl.read_csv(path).select("track_id", "title", "artist")
            for path in (source / "tracks.csv", new / "tracks.csv")
        ]
    )
    tracks.write_csv(source / "all.csv")
    shards = shard(source / "all.csv", out=dataset, attributes={"mood": str(source / "mood.csv")})
    assert shards.info("mood")["shards"]["new"] == [1]
    assert set(new_samples(shards, "mood.npy")["x"]) >= {"mood.npy"}
    pl.read_csv(source / "mgp.csv").with_columns(mgp0=pl.lit(0.5)).write_csv(source / "mgp.csv")
    sharded(source, dataset, "mgp", overwrite=True, modalities=[])
    assert "mgp: 1 tracks that were added to the dataset have it no more" in caplog.text


# Interruptions, and two at once.


@pytest.fixture
def slow(tmp_path: Path, dataset: Path) -> Iterator[Any]:
    """Begin an `add` in a process of its own that halts before its second tar."""
    new = tables(tmp_path / "new", [f"n{i}" for i in range(12)])
    code = f"""
import time
from coldstart.shards import jobs
write, count = jobs.write_tar, []
def slow(*args):
    count.append(1)
    if len(count) > 1:
        print("halted", flush=True)
        time.sleep(600)
    return write(*args)
jobs.write_tar = slow
from coldstart.cli import main
main(["add", {str(new / "tracks.csv")!r}, "--shards", {str(dataset)!r}, "--workers", "1"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "halted\n"
    yield process, new
    process.kill()
    process.wait()


def test_an_add_that_is_killed_leaves_the_dataset_as_it_was_and_is_continued(
    slow: tuple["subprocess.Popen[str]", Path], dataset: Path, tmp_path: Path
) -> None:
    process, new = slow
    about = Shards(dataset).about
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Shards(dataset).about == about
    assert len(samples(Shards(dataset), *FIELDS)) == len(Shards(dataset).tracks_in_use()) == 20
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    tar = dataset / "new" / "genres" / "000000.tar"
    stamp = tar.stat().st_mtime_ns
    added(dataset, new, attributes=None)
    assert tar.stat().st_mtime_ns == stamp
    assert len(Shards(dataset).tracks_in_use()) == 32
    assert not (dataset / ".progress").exists()
    # Other tracks are added first: what the killed one left is cleared.
    added(copy, tables(tmp_path / "other", ["x", "y"]))
    assert list(new_samples(Shards(copy), *FIELDS)) == ["x", "y"]
    files = sorted(path.name for path in (copy / "new").glob("*/*"))
    assert files == ["000000.json", *["000000.tar"] * 3]
    added(copy, new, attributes=None)
    assert len(Shards(copy).tracks_in_use()) == 34


def test_a_second_add_waits(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "coldstart")
    new = tables(tmp_path / "new", ["x", "y"])
    lock = FileLock(dataset / ".adding.lock")
    lock.acquire()
    second = threading.Thread(target=added, args=(dataset, new))
    second.start()
    for _ in range(1000):
        if "another process is adding tracks" in caplog.text:
            break
        time.sleep(0.01)
    assert not Shards(dataset).shard_sizes("new")
    lock.release()
    second.join()
    assert Shards(dataset).shard_sizes("new") == [2]


def test_a_modality_that_changes_meanwhile_is_noticed(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coldstart.shards import extension

    write = extension._write

    def meddling(*args: Any) -> Any:
        counts = write(*args)
        about = json.loads((dataset / "dataset.json").read_bytes())
        about["modalities"]["mgp"]["source"] = "another"
        (dataset / "dataset.json").write_text(json.dumps(about))
        return counts

    new = tables(tmp_path / "new", ["x", "y"])
    with monkeypatch.context() as patch:
        patch.setattr(extension, "_write", meddling)
        with pytest.raises(InputError, match="'mgp' was changed while tracks were added"):
            added(dataset, new)
    assert not Shards(dataset).shard_sizes("new")
    added(dataset, new)
    assert Shards(dataset).shard_sizes("new") == [2]
