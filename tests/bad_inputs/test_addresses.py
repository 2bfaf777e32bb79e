"""Addresses that are half an address, or lead to nobody."""

import os
import re
import socket
from pathlib import Path
from typing import Any

import fsspec
import pytest
from bad_inputs.hosts import (
    LISTING,
    TAR,
    TRACKS,
    Host,
    copies,
    everything,
    message_about,
)

from coldstart.cli import main
from coldstart.shards.reading import Shards

HALF_FORMED = [
    "http:/",
    "http://",
    "http:///",
    "https://",
    "s3://",
    "s3:///",
    "file:///",
    "file://",
    "memory://",
    "http://?",
    "http://#",
    "http://:80/x",
    "http://@/x",
    "http://user:word@/x",
    "http://[::1/x",
    "http://[]/x",
    "http://127.0.0.1:port/x",
    "http://127.0.0.1:99999/x",
    "http://127.0.0.1:-1/x",
    "http://127.0.0.1:1/x",
    "HTTP://127.0.0.1:1/x",
    "http:/127.0.0.1:1/x",
    "http://.../x",
    "http://" + "a" * 300 + "/x",
    "http://127.0.0.1:1/" + "x" * 5000,
    "http://127.0.0.1:1/a b\tc",
    "http://127.0.0.1:1/%zz",
    "http://127.0.0.1:1/é/\U0001f3b5",
    "https://127.0.0.1:1/x",
    "gopher://host/x",
    "nothing+known://host/x",
    "reference://host/x",
    "simplecache://host/x",
    "filecache:///x",
    "dir://host/x",
    "zip://host/x",
    "tar://host/x",
    "github://host/x",
    "generic://host/x",
    "jlab://host/x",
    "data:/x",
    "data://,x",
    "ftp://127.0.0.1:1/x",
    "webhdfs://127.0.0.1:1/x",
    "memory://nothing/here",
    "file:///nothing/here",
    "local:/nothing/here",
    "file://nothing/here",
    "file:/dev/null",
]


@pytest.mark.parametrize("address", HALF_FORMED, ids=lambda address: address[:40])
def test_a_half_formed_address_is_named(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert main(["remove", "a", "--shards", address]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("coldstart remove: ")
    rest = re.sub("^[a-zA-Z0-9+]+:/+", "", address)
    assert rest.rstrip("/").replace(":word@", ":***@") in line
    assert ":word" not in line
    assert ";" in line
    assert copies(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "tries"), [(socket.EAI_AGAIN, 2), (socket.EAI_FAIL, 2), (socket.EAI_NONAME, 1)]
)
def test_a_name_server_that_fails_is_named(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: int, tries: int
) -> None:
    asked = []

    def getaddrinfo(name: Any, *_: Any, **__: Any) -> Any:
        asked.append(name)
        raise socket.gaierror(error, "the name server says so")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    address = "http://nobody.invalid/shards"
    message = message_about(f"{address}/{LISTING}: ", lambda: Shards(address))
    assert "the name server says so" in message
    assert len(asked) == tries


def test_a_name_server_that_does_not_answer_is_named(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: host.closed.wait(20))
    address = "http://nobody.invalid/shards"
    message = message_about(f"{address}/{LISTING}: ", lambda: Shards(address), slow=True)
    assert "nobody answers" in message


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device"])
@pytest.mark.parametrize("name", [LISTING, TRACKS, TAR])
def test_what_is_no_file_behind_a_file_address_is_named(host: Host, kind: str, name: str) -> None:
    shards = Shards(f"file://{host.folder}") if name != LISTING else None
    path = host.folder / name
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    place = f"file://{host.folder}"
    message_about(f"{place}/{name}: ", lambda: everything(shards or Shards(place)))


def test_a_file_system_that_raises_or_hangs_is_named(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = fsspec.filesystem("memory")
    for raised in (RuntimeError("as it likes"), KeyError("x"), AssertionError(), OSError()):

        def fail(*_: object, raised: Exception = raised, **__: object) -> None:
            raise raised

        monkeypatch.setattr(type(system), "get_file", fail)
        message_about(f"memory://x/{LISTING}: can't", lambda: Shards("memory://x"))
    monkeypatch.setattr(type(system), "get_file", lambda *_, **__: host.closed.wait(20))
    message_about(f"memory://x/{LISTING}: nobody", lambda: Shards("memory://x"), slow=True)


@pytest.mark.parametrize("kind", ["file://", "file:", "local://", "memory://", "HTTP"])
def test_good_addresses_of_any_kind_read_as_the_folder_does(host: Host, kind: str) -> None:
    address = f"{kind}{host.folder}"
    if kind == "memory://":
        fsspec.filesystem("memory").put(str(host.folder), "/good", recursive=True)
        address = "memory://good"
    elif kind == "HTTP":
        address = host.address.replace("http", "HTTP")
    expected = everything(Shards(host.folder))
    assert everything(Shards(address)) == everything(Shards(address + "/")) == expected
    if kind == "memory://":
        fsspec.filesystem("memory").rm("/good", recursive=True)
