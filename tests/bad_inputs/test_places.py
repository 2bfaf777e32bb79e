"""Paths that lead to no file, and places that can't be written: refused at once."""

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from bad_inputs.verbs import LOG, Refusal, factorize, refusal_of, sharded
from helpers import World

from coldstart.errors import InputError
from coldstart.files import atomic, atomic_folder, made_folder, reserved
from coldstart.shards.reading import Shards

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes, sockets and devices")


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    return refusal_of(tmp_path, monkeypatch, capsys)


# What the path leads to

PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo if hasattr(os, "mkfifo") else Path, "it is a pipe, not a file; save what"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file; save what"),
    "link to nothing": (lambda path: path.symlink_to("gone"), "there is no such file"),
    "circle of links": (lambda path: path.symlink_to(path.name), "the system can't open it"),
}


@posix
@pytest.mark.parametrize("where", ["a file", "a part", "a pattern's"])
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("kind", PLACES)
def test_what_is_no_file_is_refused_at_once(
    kind: str, ending: str, where: str, tmp_path: Path, refusal: Refusal
) -> None:
    make, expected = PLACES[kind]
    folder = tmp_path / "log"
    folder.mkdir()
    make(folder / f"x{ending}")
    name = {"a file": f"log/x{ending}", "a part": "log", "a pattern's": f"log/x*{ending}"}[where]
    message = refusal(*factorize(name))
    if where != "a file" and kind == "circle of links":
        assert "log" in message
    else:
        assert f"x{ending}: {expected}" in message


@posix
@pytest.mark.parametrize("kind", ["attributes", "embeddings", "texts", "files"])
@pytest.mark.parametrize("ending", [".csv", ".npy"])
def test_every_kind_of_table_is_refused_if_it_is_no_file(
    kind: str, ending: str, tmp_path: Path, refusal: Refusal
) -> None:
    os.mkfifo(tmp_path / f"x{ending}")
    assert f"x{ending}: " in refusal(*sharded(kind, f"x{ending}"))


@posix
def test_a_socket_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.csv")  # in the folder of the test: a socket's path must be short
        assert "x.csv: it is a socket, not a file; save what" in refusal(*factorize("x.csv"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x" * 300 + ".csv", "x.csv: the system can't open it"),
        ("a\0b.csv", "no file can have this"),
    ],
    ids=["long", "null"],
)
def test_a_name_that_no_file_can_have_is_refused(
    path: str, expected: str, refusal: Refusal
) -> None:
    assert expected in refusal(*factorize(path))


@posix
@pytest.mark.parametrize("path", ["pipe", "/dev/zero", "/dev/null", ".", "gone", "a" * 300])
def test_files_to_store_are_refused_with_their_track(
    path: str, tmp_path: Path, refusal: Refusal
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "covers.csv").write_text(f"track_id,path\na,{path}\n")
    message = refusal(*sharded("files", "covers.csv"), "--workers", "1")
    assert "covers.csv, track 'a', field 'x'" in message
    assert "can't be read: " in message
    assert "--skip-broken" in message


# Where it is to be written

OUTPUTS: dict[str, tuple[list[str], str]] = {
    "split to a folder": (
        ["split", "tracks.csv", "--out", "folder.csv"],
        "folder.csv: .* a folder",
    ),
    "split into a file": (
        ["split", "tracks.csv", "--out", "file/x.csv"],
        "file/x.csv: .* is a fil",
    ),
    "split to a device": (["split", "tracks.csv", "--out", "null.csv"], "null.csv: .* is a device"),
    "split to a pipe": (["split", "tracks.csv", "--out", "pipe.csv"], "pipe.csv: .* is a pipe"),
    "factors into a file": (
        ["factorize", "gone.csv", "--out", "file/deep/factors", "--factors", "2"],
        "file is a file, not a folder",
    ),
    "shards to a file": (
        ["shard", "tracks.csv", "--out", "file"],
        "file is a file, not a folder",
    ),
    "shards into a file": (
        ["shard", "gone.csv", "--out", "file/x"],
        "file is a file, not a folder",
    ),
    "tables to a file": (
        ["dataset", "fma", "--source", ".", "--out", "file"],
        "file: can't be wri",
    ),
    "tables into a file": (["dataset", "fma", "--out", "file/x"], "file is a file, not a folder"),
}


@posix
@pytest.mark.parametrize("case", OUTPUTS)
def test_a_place_that_cannot_be_written_is_refused(
    case: str, tmp_path: Path, refusal: Refusal
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "null.csv").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.csv")
    args, expected = OUTPUTS[case]
    message = refusal(*args)
    assert re.search(expected, message), message
    assert (tmp_path / "file").read_text() == "mine"
    assert Path("/dev/null").is_char_device()


WRITERS: dict[str, Callable[[Path], AbstractContextManager[object]]] = {
    "atomic": atomic,
    "atomic_folder": atomic_folder,
    "reserved": lambda path: reserved(path, "taken"),
    "made_folder": lambda path: nullcontext(made_folder(path)),
}
KINDS: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_text("mine"),
    "pipe": os.mkfifo if hasattr(os, "mkfifo") else Path,
    "device": lambda path: path.symlink_to("/dev/null"),
    "folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
}
WRITTEN = {
    ("atomic", "file"),
    *(
        (writer, kind)
        for writer in ("atomic_folder", "reserved", "made_folder")
        for kind in ["folder"]
    ),
    *((writer, "nothing") for writer in WRITERS),
}


@posix
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writer", WRITERS)
def test_writers_replace_their_own_kind_alone(writer: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "place"
    KINDS[kind](path)
    before = path.lstat() if kind != "nothing" else None
    if (writer, kind) in WRITTEN:
        with WRITERS[writer](path) as place:
            if writer == "atomic":
                Path(str(place)).write_text("new")
        assert path.is_file() == (writer == "atomic")
        return
    with pytest.raises(InputError, match=r"place: can't be written: it is a .*; name another"):
        WRITERS[writer](path).__enter__()
    assert before is not None
    assert path.lstat().st_ino == before.st_ino
    assert [each.name for each in tmp_path.iterdir()] == ["place"]


@posix
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("name", ["file/x", "file/x/y", "a\0b/c", "a" * 300 + "/b"])
def test_writers_refuse_a_file_as_folder_and_names_of_none(
    name: str, writer: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"can't be written: |no folder can"):
        WRITERS[writer](tmp_path / name).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@posix
@pytest.mark.parametrize(
    ("place", "read"),
    [
        ("mgp/000000.tar", lambda shards: list(shards.samples("train", 0, ["mgp.npy"]))),
        ("tracks/000000.json", lambda shards: shards.tracks("train", 0)),
    ],
)
def test_a_pipe_in_the_place_of_a_shard_is_named(
    place: str, read: Callable[[Shards], object], tiny_world: World, tmp_path: Path
) -> None:
    shutil.copytree(tiny_world.shards, tmp_path / "shards")
    path = tmp_path / "shards" / "train" / place
    path.unlink()
    os.mkfifo(path)
    shards = Shards(tmp_path / "shards")
    with pytest.raises(InputError, match=rf"{path.name}.*pipe"):
        read(shards)
