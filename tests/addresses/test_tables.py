"""Tables in an object store: read as local ones, fetched once, named by their address."""

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from addresses.store import Store, few_times
from fsspec.implementations.memory import MemoryFileSystem
from helpers import World

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.tables.listens import read_listens
from coldstart.tables.parts import table_hash
from coldstart.tables.splits import read_splits
from coldstart.tables.table import read_table
from coldstart.tables.vectors import read_vectors

PLAYS = pl.DataFrame({"user_id": ["u", "v"], "track_id": ["a", "b"], "plays": [1, 2]})


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.tsv", "log.csv.gz", "log.jsonl"])
def test_a_file_is_read_and_fetched_once_until_it_changes(
    store: Store, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    write(PLAYS, path)
    address = store.put(path, f"a/{name}")
    for _ in range(2):
        assert read_table(address, ["user_id"]).equals(read_table(path, ["user_id"]))
        assert table_hash(address) == table_hash(path)
    assert store.fetched().count(f"a/{name}") == 1
    write(PLAYS.reverse(), path)
    store.put(path, f"a/{name}")
    assert read_table(address, ["user_id"])["user_id"].to_list() == ["v", "u"]
    assert store.fetched().count(f"a/{name}") == 1


def write(table: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".parquet":
        table.write_parquet(path)
    elif path.suffix == ".jsonl":
        table.write_ndjson(path)
    elif path.suffix == ".gz":
        table.write_csv(path, compression="gzip", check_extension=False)
    else:
        table.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder as Spark writes it, with what isn't read."""
    folder = tmp_path / "log"
    for day, number in (("2026-01-01", 0), ("2026-01-02", 1)):
        place = folder / f"day={day}"
        place.mkdir(parents=True)
        PLAYS[number : number + 1].write_parquet(place / f"part-{number}.parquet")
        PLAYS.write_csv(place / ".hidden.csv")
    (folder / "_SUCCESS").touch()
    (folder / "notes.txt").write_text("not a table")
    return folder


@pytest.mark.parametrize(
    "pattern", ["", "/", "/day=*", "/day=*/*.parquet", "/day=2026-01-0[12]/part-?.*"]
)
def test_folders_and_patterns_are_those_of_a_disk(
    store: Store, parts: Path, pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = store.put(parts, "b/log")
    caplog.set_level(logging.INFO, "coldstart")
    here = read_table(f"{parts}{pattern}", ["user_id"])
    expected = caplog.text.replace(str(parts), address)
    caplog.clear()
    there = read_table(f"{address}{pattern}", ["user_id"])
    assert there.equals(here)
    said = [line for line in caplog.messages if "copied into the cache" not in line]
    assert all(line in expected for line in said if line.startswith("s3:"))
    assert "cache/" not in "".join(said)
    assert not any(name.endswith((".txt", ".csv", "_SUCCESS")) for name in store.fetched())


@pytest.mark.parametrize("pattern", ["/*", "/notes.*", "/day=*/*.csv"])
def test_what_is_wrong_with_a_pattern_is_said_as_of_a_disk(
    store: Store, parts: Path, pattern: str
) -> None:
    address = store.put(parts, "log")
    with pytest.raises(InputError) as here:
        read_table(f"{parts}{pattern}", ["user_id"])
    with pytest.raises(InputError) as there:
        read_table(f"{address}{pattern}", ["user_id"])
    assert str(there.value) == str(here.value).replace(str(parts), address)


def test_parts_that_vanish_or_come_are_noticed(store: Store, parts: Path) -> None:
    address = store.put(parts, "log")
    assert len(read_table(address, ["user_id"])) == 2
    store.files.rm("bucket/log/day=2026-01-01/part-0.parquet")
    assert read_table(address, ["user_id"])["user_id"].to_list() == ["v"]
    PLAYS.write_parquet(parts / "new.parquet")
    store.put(parts / "new.parquet", "log/day=2026-01-09/new.parquet")
    assert len(read_table(address, ["user_id"])) == 3


@pytest.mark.parametrize("trouble", ["503", "cut"])
def test_trouble_that_passes_is_not_noticed(store: Store, tmp_path: Path, trouble: str) -> None:
    write(PLAYS, tmp_path / "log.csv")
    address = store.put(tmp_path / "log.csv", "log.csv")
    store.rule = few_times(3, trouble, "log.csv")
    assert len(read_table(address, ["user_id"])) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"user_id,track_id,plays\nu,a,x\n", r"^log\.csv, row 1, track 'a', field"),
        ("log.csv", b"user,track_id,plays\nu,a,1\n", r"^ADDRESS: there is no column 'user_id'"),
        ("log.csv", b"", r"^ADDRESS: not a readable \.csv table \(0 bytes\)"),
        ("log.csv", b"user_id,track_id\nu,a,b,c\n", r"^ADDRESS: not a readable \.csv table"),
        ("log.parquet", b"PAR1 is no table PAR1", r"^ADDRESS: not a readable \.parquet table"),
        ("log.zip", b"PK", r"^ADDRESS: tables are read from \.parquet"),
        ("log.csv", b"user_id;track_id;plays\nu;a;-1\n", r"^log\.csv, row 1, .*-1.* is negative"),
    ],
)
def test_what_is_wrong_is_said_of_the_address(
    store: Store, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    address = store.put(tmp_path / name, name)
    with pytest.raises(InputError, match=message.replace("ADDRESS", address)) as caught:
        read_listens(Path(address) if "-1" in message else address)
    assert "cache" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://bucket/none.csv", "there is no such file"),
        ("s3://nobucket/none.csv", "there is no such file"),
        ("s3://bucket/none/*.csv", "no file has a name of this pattern"),
    ],
)
def test_what_is_not_there_is_named(store: Store, place: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_table(place, ["user_id"])
    assert str(caught.value).startswith(f"{place}: {message}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../../escaped.csv", "is a folder without a table"),
        ("x/../../../escaped.csv", "is a folder without a table"),
        ("x\\..\\..\\escaped.csv", "no file here can have this name; rename it there"),
        ("x//escaped.csv", "no file here can have this name; rename it there"),
        ("x\nescaped.csv", "no file here can have this name; rename it there"),
        (f"{'x' * 300}escaped.csv", "no file here can have this name; rename it there"),
    ],
)
def test_a_name_that_leads_elsewhere_is_left_out_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    def find(_: object, path: str, **__: object) -> dict[str, dict[str, object]]:
        return {f"{path}/{name}": {"name": f"{path}/{name}", "type": "file", "size": 3}}

    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    MemoryFileSystem().pipe({"/elsewhere/a.csv": b"a", "/escaped.csv": b"a"})
    monkeypatch.setattr(MemoryFileSystem, "find", find)
    with pytest.raises(InputError, match=message):
        read_table("memory://elsewhere", ["user_id"])
    assert not list(tmp_path.rglob("*escaped.csv"))


def test_an_array_of_vectors_is_read(store: Store, tmp_path: Path) -> None:
    np.save(tmp_path / "mert.npy", np.eye(2, 3, dtype=np.float32))
    address = store.put(tmp_path / "mert.npy", "mert.npy")
    assert read_vectors(address, ["a", "b"])["b"].tolist() == [0, 1, 0]
    with pytest.raises(InputError, match=r"^s3://bucket/mert\.npy: holds float32 \(2, 3\)"):
        read_vectors(address, ["a"])


def test_verbs_take_their_tables_from_a_bucket(
    store: Store, tiny_world: World, tmp_path: Path
) -> None:
    there = store.put(tiny_world.catalogue, "catalogue")
    splits, here = tmp_path / "splits.csv", tiny_world.catalogue
    assert main(["split", f"{there}/tracks.parquet", f"--out={splits}", "--seed=3"]) == 0
    assert main(["split", f"{here}/tracks.parquet", f"--out={tmp_path}/own.csv", "--seed=3"]) == 0
    assert splits.read_bytes() == (tmp_path / "own.csv").read_bytes()
    sides = store.put(splits, "splits.csv")
    assert read_splits(sides).equals(read_splits(splits))
    quick = ["--factors=4", "--iterations=1"]
    log = f"{there}/listens.parquet"
    assert main(["factorize", log, f"--splits={sides}", f"--out={tmp_path}/factors", *quick]) == 0
    for place, name in ((there, "far"), (str(here), "near")):
        more = ["--modalities=[genres]", f"--attributes.mgp={place}/mgp.parquet", "--workers=1"]
        table, out = f"{place}/tracks.parquet", f"--out={tmp_path / name}"
        assert main(["shard", table, f"--splits={sides}", out, *more]) == 0
    near, far = (contents(tmp_path / name) for name in ("near", "far"))
    assert far == near
    assert store.fetched().count("catalogue/mgp.parquet") == 1


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
