"""Sound and other files in an object store, which a table names: fetched when they are stored."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile
from addresses.store import Store, few_times

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.shards.reading import Shards
from coldstart.tables.parts import places_of


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A table beside a folder of six sounds and a cover."""
    folder = tmp_path / "music"
    (folder / "sound").mkdir(parents=True)
    wave = 0.1 * np.sin(np.arange(16_000, dtype=np.float32))
    for i in range(6):
        soundfile.write(folder / "sound" / f"{i}.wav", wave * (1 + i / 6), 8000)
    (folder / "cover.bin").write_bytes(b"a picture")
    table = {
        "track_id": list("abcdef"),
        "title": list("ABCDEF"),
        "artist": list("UVWXYZ"),
        "audio": [f"sound/{i}.wav" for i in range(6)],
    }
    pl.DataFrame(table).write_csv(folder / "tracks.csv")
    covers = pl.DataFrame({"track_id": list("abcdef"), "path": ["cover.bin"] * 6})
    covers.write_csv(folder / "covers.csv")
    return folder


def sharded(tracks: object, covers: object, out: Path, *more: str) -> int:
    flags = [f"--files.cover={covers}", f"--out={out}", "--sample-rate=8000", *more]
    return main(["shard", str(tracks), *flags])


def stored(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.tar")}


@pytest.mark.parametrize("workers", [1, 2])
def test_paths_relative_to_a_table_in_a_bucket_lead_into_it(
    store: Store, music: Path, tmp_path: Path, workers: int
) -> None:
    there, flag = store.put(music, "music"), f"--workers={workers}"
    far, near = tmp_path / "far", tmp_path / "near"
    assert sharded(f"{there}/tracks.csv", f"{there}/covers.csv", far, flag) == 0
    assert sharded(music / "tracks.csv", music / "covers.csv", near, flag) == 0
    assert stored(far) == stored(near)
    sounds = [name for name in store.fetched() if name.endswith(".wav")]
    assert sorted(sounds) == [f"music/sound/{i}.wav" for i in range(6)]


def test_a_local_table_may_name_sounds_in_a_bucket(
    store: Store, music: Path, tmp_path: Path
) -> None:
    there = store.put(music, "music")
    table = pl.read_csv(music / "tracks.csv").with_columns(pl.format(f"{there}/{{}}", "audio"))
    table.write_csv(tmp_path / "tracks.csv")
    far, near = tmp_path / "far", tmp_path / "near"
    assert sharded(tmp_path / "tracks.csv", music / "covers.csv", far) == 0
    assert sharded(music / "tracks.csv", music / "covers.csv", near) == 0
    assert stored(far) == stored(near)


def test_a_sound_that_changed_is_noticed_and_one_that_did_not_is_not_fetched(
    store: Store, music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, out = store.put(music, "music"), tmp_path / "out"
    assert sharded(f"{there}/tracks.csv", f"{there}/covers.csv", out) == 0
    store.asked.clear()
    assert sharded(f"{there}/tracks.csv", f"{there}/covers.csv", out) == 0
    assert not [name for name in store.fetched() if name.endswith(".wav")]
    store.put(music / "sound" / "0.wav", "music/sound/1.wav")
    assert sharded(f"{there}/tracks.csv", f"{there}/covers.csv", out) == 2
    assert "made from something else" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["missing", "damaged", "empty"])
def test_a_broken_sound_is_reported_as_of_a_disk(
    store: Store, music: Path, tmp_path: Path, broken: str
) -> None:
    path = music / "sound" / "2.wav"
    if broken == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if broken == "empty" else b"no sound at all" * 100)
    there = store.put(music, "music")
    far, near = tmp_path / "far", tmp_path / "near"
    assert sharded(f"{there}/tracks.csv", f"{there}/covers.csv", far) == 2
    assert sharded(f"{there}/tracks.csv", f"{there}/covers.csv", far, "--skip-broken") == 0
    assert sharded(music / "tracks.csv", music / "covers.csv", near, "--skip-broken") == 0
    assert (far / "broken.csv").read_bytes() == (near / "broken.csv").read_bytes()
    assert sum(Shards(far).modalities["audio"]["shards"]["test"]) == 5


def test_a_store_in_trouble_is_not_taken_for_broken_sound(
    store: Store, music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, out = store.put(music, "music"), tmp_path / "out"
    flags = (f"{there}/tracks.csv", f"{there}/covers.csv", out, "--skip-broken", "--workers=1")
    store.rule = few_times(1000, "503", "3.wav")
    assert sharded(*flags) == 2
    assert "sound/3.wav: the server is in trouble" in capsys.readouterr().err
    store.rule = few_times(0, "pass")
    assert sharded(*flags) == 0
    assert sum(Shards(out).modalities["audio"]["shards"]["test"]) == 6
    assert not (out / "broken.csv").exists()


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("tracks.csv", "http://169.254.169.254/latest/meta-data"),
        ("tracks.csv", "file:///etc/passwd"),
        ("https://example.org/tracks.csv", "https://elsewhere.example.org/x.mp3"),
        ("https://example.org/tracks.csv", "http://example.org/x.mp3"),
        ("s3://bucket/tracks.csv", "sftp://host/x.mp3"),
    ],
)
def test_a_table_cannot_have_other_hosts_asked(table: str, name: str) -> None:
    with pytest.raises(InputError, match="a table may name files of object stores"):
        places_of(table, [name])
    assert places_of("https://a.org/x/t.csv?key=1", ["y.mp3", "https://a.org/z.mp3"]) == [
        "https://a.org/x/y.mp3",
        "https://a.org/z.mp3",
    ]
