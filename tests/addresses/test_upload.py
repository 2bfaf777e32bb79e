"""A dataset that is written to an object store: whole, in order, once, and gone on with."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from addresses.store import Proxy, Store, few_times
from helpers import World

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.shards.reading import Shards
from coldstart.shards.remote import ORIGIN
from coldstart.shards.upload import AT_ONCE, staging, upload

ADDRESS = "s3://bucket/shards"


def names_put(store: Store) -> list[str]:
    """Of the files that were uploaded, in order."""
    prefix = "/bucket/shards/"
    return [path.removeprefix(prefix) for method, path in store.asked if method == "PUT"]


@pytest.fixture
def folder(store: Store, tiny_world: World) -> Path:
    """A dataset that is written and not yet uploaded."""
    folder = staging(ADDRESS)
    shutil.copytree(tiny_world.shards, folder, dirs_exist_ok=True)
    (folder / ".progress").mkdir(exist_ok=True)
    (folder / ".progress" / "mgp").touch()
    store.asked.clear()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in found.items()
        if not any(part[0] == "." for part in name.parts)
    }


def at_the_store(store: Store) -> dict[str, bytes]:
    store.files.invalidate_cache()
    found = store.files.find("bucket/shards")
    return {name.removeprefix("bucket/shards/"): store.files.cat(name) for name in found}


def test_all_that_is_read_is_there_and_the_list_comes_last(
    store: Store, folder: Path, tiny_world: World
) -> None:
    done = upload(folder, ADDRESS)
    names = names_put(store)
    assert names[-1] == "dataset.json"
    assert len(names) == len(set(names)) == done.files
    assert done.skipped == 0
    assert at_the_store(store) == contents(tiny_world.shards)
    assert done.bytes == sum(map(len, contents(folder).values()))
    assert Shards(ADDRESS).modalities == Shards(tiny_world.shards).modalities


@pytest.mark.parametrize("note", ["kept", "lost", "damaged"])
def test_what_is_there_is_not_uploaded_again(store: Store, folder: Path, note: str) -> None:
    first = upload(folder, ADDRESS)
    if note == "lost":
        (folder / ".uploaded.jsonl").unlink()
    elif note == "damaged":
        (folder / ".uploaded.jsonl").write_text('["dataset.json"')
    store.asked.clear()
    assert staging(ADDRESS) == folder
    assert upload(folder, ADDRESS) == (0, 0, first.files)
    assert names_put(store) == []


@pytest.mark.parametrize("trouble", ["503", "500"])
def test_trouble_that_passes_is_not_noticed(store: Store, folder: Path, trouble: str) -> None:
    store.rule = few_times(3, trouble, "train/mgp/000001.tar")
    upload(folder, ADDRESS)
    store.rule = few_times(0, "pass")
    assert at_the_store(store) == contents(folder)


def test_an_interrupted_upload_lists_nothing_and_goes_on(store: Store, folder: Path) -> None:
    store.rule = few_times(10_000, "503", "train/mgp/000001.tar")
    with pytest.raises(InputError, match=r"train/mgp/000001\.tar: the server is in trouble"):
        upload(folder, ADDRESS)
    before = set(names_put(store))
    assert "dataset.json" not in before
    with pytest.raises(InputError, match="there is no such file"):
        Shards(ADDRESS)
    store.rule = few_times(0, "pass")
    store.asked.clear()
    assert staging(ADDRESS) == folder
    done = upload(folder, ADDRESS)
    assert done.skipped > 0
    assert set(names_put(store)) & before == {"train/mgp/000001.tar"}
    assert at_the_store(store) == contents(folder)


def test_a_killed_upload_goes_on(store: Store, folder: Path) -> None:
    def slowly(_: Proxy, method: str, __: str) -> str:
        time.sleep(0.1 if method == "PUT" else 0)
        return "pass"

    store.rule = slowly
    code = f"""if True:
        from pathlib import Path
        from coldstart.shards.upload import upload
        upload(Path({str(folder)!r}), {ADDRESS!r})
    """
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while len(names_put(store)) < 8:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    before = len(names_put(store))
    assert "dataset.json" not in names_put(store)
    store.rule = few_times(0, "pass")
    assert staging(ADDRESS) == folder
    done = upload(folder, ADDRESS)
    assert done.skipped >= before - 2 * AT_ONCE
    assert done.skipped > 0
    assert at_the_store(store) == contents(folder)


def test_a_file_that_does_not_arrive_whole_is_noticed(store: Store, folder: Path) -> None:
    def rule(_: Proxy, method: str, path: str) -> str:
        if method == "HEAD" and path.endswith("train/mgp/000001.tar"):
            store.files.pipe(path.strip("/"), b"half")
        return "pass"

    store.rule = rule
    with pytest.raises(InputError, match=r"000001\.tar: has 4 bytes after the upload, and"):
        upload(folder, ADDRESS)
    assert "dataset.json" not in names_put(store)


def test_what_is_added_later_takes_its_own_bytes_alone(
    store: Store, tiny_world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload(folder, ADDRESS)
    for cache in ("cache", "another machine's"):
        monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / cache))
        place = staging(ADDRESS)
        name = cache[:5]
        here = tiny_world.catalogue
        more = [f"--attributes.{name}={here / 'mgp.parquet'}", "--modalities=[]", "--workers=1"]
        table, out = str(here / "tracks.parquet"), f"--out={place}"
        flags = ["--shard-size=8"]
        assert main(["shard", table, out, f"--splits={tiny_world.splits}", *more, *flags]) == 0
        store.asked.clear()
        upload(place, ADDRESS)
        assert {path.split("/")[1] for path in names_put(store) if "/" in path} == {name}
        assert {"mgp", "audio", name} <= Shards(ADDRESS).modalities.keys()
    assert len([*Shards(ADDRESS).samples("train", 0, ["anoth.npy"])]) == 8
    # The first machine takes up what the other one has written.
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    assert "anoth" in Shards(staging(ADDRESS)).modalities


def test_two_writers_are_told_of_each_other(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload(folder, ADDRESS)
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text + " ")
    store.files.pipe("bucket/shards/dataset.json", text.encode() + b"\n")
    with pytest.raises(InputError, match=r"was changed by somebody else, and .* never uploaded"):
        staging(ADDRESS)


def test_a_stranger_cannot_have_files_fetched_from_elsewhere(store: Store, folder: Path) -> None:
    upload(folder, ADDRESS)
    shutil.rmtree(folder)
    text = store.files.cat("bucket/shards/dataset.json").decode()
    planted = text.replace("{", f'{{"{ORIGIN}": {{"address": "s3://x", "modalities": []}},', 1)
    store.files.pipe("bucket/shards/dataset.json", planted.encode())
    assert Shards(staging(ADDRESS)).address is None


def test_what_cannot_be_written_is_named_before_the_work(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a web server takes no files"):
        staging("https://example.org/shards")
    (tmp_path / "file").write_text("x")
    store.put(tmp_path / "file", "shards")
    with pytest.raises(InputError, match="is a file, not a folder"):
        staging(ADDRESS)


def test_a_bucket_that_is_not_there_is_named(store: Store, folder: Path) -> None:
    with pytest.raises(InputError, match="there is no such bucket, or it can't be seen; make it"):
        upload(folder, "s3://nobucket/shards")
