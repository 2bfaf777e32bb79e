"""The local copy of a dataset at an address: whole, private, and deleted where it is damaged."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from bad_inputs.hosts import (
    FIELDS,
    LISTING,
    TAR,
    TRACKS,
    Handler,
    Host,
    copies,
    dripping,
    endless,
    everything,
    impatience,
    message_about,
    status,
)

from coldstart.errors import InputError
from coldstart.sample import malformed
from coldstart.shards.reading import Shards


def copy_of(address: str) -> Path:
    return Shards(address).folder


@pytest.mark.parametrize("name", [LISTING, TRACKS, TAR])
@pytest.mark.parametrize("damage", ["cut", "garbage", "nothing"])
def test_a_damaged_copy_is_deleted_and_fetched_again(host: Host, name: str, damage: str) -> None:
    everything(Shards(host.address))
    path = copy_of(host.address) / name
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "garbage": b"?" * 999}.get(damage, b""))
    if name != LISTING:  # it is fetched with each run
        shards = Shards(host.address)
        message = message_about(f"{host.address}/{name}: ", lambda: everything(shards))
        assert "the local copy is deleted: the same command fetches it again" in message
        assert not path.exists()
    assert everything(Shards(host.address)) == everything(Shards(host.folder))


def test_damage_that_only_a_reader_notices_deletes_the_copy_too(host: Host) -> None:
    shards = Shards(host.address)
    first = next(shards.samples("train", 0, FIELDS))
    field = next(name for name in FIELDS if name.startswith("mgp"))
    message = str(shards.malformed(malformed(first, field, "it holds no numbers")))
    assert message.startswith(f"{host.address}/{TAR}: shard train/000000, track 'train/0/0', field")
    assert "it holds no numbers; the local copy is deleted" in message
    assert not (shards.folder / TAR).exists()
    assert everything(Shards(host.address)) == everything(Shards(host.folder))


def test_a_password_is_nowhere_in_messages_and_the_log(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    address = host.address.replace("//", "//ann:secret@")
    host.replies[TAR] = [status(500)] * 9
    with caplog.at_level("INFO"), pytest.raises(InputError, match=r"//ann:\*\*\*@") as caught:
        everything(Shards(address))
    assert "//ann:***@" in caplog.text
    assert "secret" not in f"{caught.value} {caplog.text} {Shards(address).shown}"
    assert "secret" in Shards(address).place  # by which data is found again


def test_what_was_written_into_the_copy_alone_is_not_taken_for_the_address(host: Host) -> None:
    folder = copy_of(host.address)
    about = json.loads((folder / LISTING).read_bytes())
    about["modalities"]["mine"] = {
        **about["modalities"]["mgp"],
        "fields": {"mine.npy": "npy"},
    }
    (folder / LISTING).write_text(json.dumps(about))
    path = folder / "train/mine/000000.tar"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    shards = Shards(host.address)
    with pytest.raises(InputError, match=r"cache/.*mine/000000\.tar: damaged .*shard 'mine' again"):
        list(shards.samples("train", 0, ["mine.npy"]))
    assert path.exists(), "nobody else has it"
    path.unlink()
    with pytest.raises(InputError, match=r"cache/.*mine/000000\.tar: missing"):
        list(shards.samples("train", 0, ["mine.npy"]))
    assert not any("mine" in name for name in host.asked)
    # Once the address has a modality of this name, it is that of the address that counts.
    path.write_bytes(b"damaged")
    (host.folder / LISTING).write_text(json.dumps(about))
    Shards(host.address)
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_copies_are_the_users_alone(host: Host, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        everything(Shards(host.address))
        folder = copy_of(host.address)
        assert (folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777) == (
            0o700,
            0o700,
        )
        folder.chmod(0o755)  # of an earlier version
        Shards(host.address)
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_nothing_is_left_of_what_was_given_up(host: Host, tmp_path: Path) -> None:
    host.replies[TAR] = [endless]
    with pytest.raises(InputError):
        everything(Shards(host.address))
    host.replies[TAR] = [dripping]
    with pytest.raises(InputError), impatience(True):
        everything(Shards(host.address))
    time.sleep(0.1)
    assert copies(tmp_path, TAR) == []
    assert not list((tmp_path / "cache").rglob(".*"))


def test_a_copy_that_cannot_be_written_is_named(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("x")
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "a file"))
    with pytest.raises(InputError, match=r"^http.*: its local copy .*a file.*COLDSTART_CACHE"):
        Shards(host.address)
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    shards = Shards(host.address)
    (shards.folder / "train").write_text("x")
    with pytest.raises(InputError, match=r"^http.*: its local copy .*COLDSTART_CACHE"):
        everything(shards)


@pytest.mark.parametrize("name", [LISTING, TAR])
def test_a_disk_that_is_too_small_is_named(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shards = Shards(host.address) if name == TAR else None
    usage = shutil.disk_usage(tmp_path)
    small = usage._replace(free=5000) if name == TAR else usage._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: small)
    message = message_about(
        f"{host.address}/",
        lambda: list((shards or Shards(host.address)).samples("train", 0, FIELDS)),
    )
    assert "doesn't fit on the disk" in message
    assert "COLDSTART_CACHE" in message


def test_an_announced_length_beyond_all_measure_is_refused_at_once(host: Host) -> None:
    def boast(to: Handler, _: bytes) -> None:
        to.head(200, Content_Length=10**18)
        to.wait()

    host.replies[TAR] = [boast]
    shards = Shards(host.address)
    message = message_about(f"{host.address}/{TAR}: ", lambda: everything(shards))
    assert "1,000,000,000,000,000,000 bytes or more" in message
    assert host.asked.count(TAR) == 1
