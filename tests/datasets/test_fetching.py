"""Downloads from a real server: interrupted, resumed, verified."""

import hashlib
import http.server
import json
import re
import threading
import urllib.error
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from originals import zipped
from tenacity import wait_fixed

from coldstart.datasets import fetching, jamendo, music4all, yambda
from coldstart.datasets.fetching import HuggingFace, Remote, Zenodo, download
from coldstart.datasets.originals import About, Originals
from coldstart.errors import InputError

BODY = bytes(range(256)) * 4096
MD5, SHA256 = hashlib.md5(BODY).hexdigest(), hashlib.sha256(BODY).hexdigest()


class Host:
    """Serves BODY in ranges, cut off when told to; and what Zenodo and Hugging Face would say."""

    def __init__(self) -> None:
        self.body, self.stop_after, self.ranges, self.asked = BODY, 0, True, list[str]()
        self.troubles: list[int] = []
        """Statuses of the next answers; 0: it hangs up without one."""
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                host.asked.append(self.headers.get("Range", "all"))
                if host.troubles:
                    if code := host.troubles.pop(0):
                        return self.answer(code, b"", {"Retry-After": "0"})
                    self.connection.close()
                    return None
                if self.path.startswith("/api/records/1"):
                    files = [{"key": "x.bin", "checksum": f"md5:{MD5}"}]
                    return self.answer(200, json.dumps({"files": files}).encode())
                if self.path.startswith("/raw/"):
                    return self.answer(200, f"version 1\noid sha256:{SHA256}\nsize 3\n".encode())
                if self.path == "/gone.bin":
                    return self.answer(404, b"")
                tag = f'"{hashlib.md5(host.body).hexdigest()}"'
                start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if host.ranges else 0
                if self.headers.get("If-Range", tag) != tag:
                    start = 0
                if start >= len(host.body):
                    return self.answer(416, b"", {"Content-Range": f"bytes */{len(host.body)}"})
                return self.answer(206 if start else 200, host.body[start:], {"ETag": tag})

            def answer(self, code: int, body: bytes, more: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for key, value in {**(more or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body[: host.stop_after] if host.stop_after else body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(fetching, "WAIT", wait_fixed(0.01))
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()


def test_a_download_goes_on_where_it_broke_off(host: Host, tmp_path: Path) -> None:
    remote = Remote("x.bin", f"{host.address}/x.bin", f"sha256:{SHA256}")
    host.stop_after = 200_000
    with pytest.raises(
        InputError,
        match=r"800,000 of 1,048,576 bytes, at each of 4 tries\. The same command goes on",
    ):
        download(remote, tmp_path)
    assert not (tmp_path / "x.bin").exists()
    host.stop_after = 0
    assert download(remote, tmp_path).read_bytes() == BODY
    assert host.asked == ["all", *(f"bytes={n}00000-" for n in (2, 4, 6, 8))]
    assert download(remote, tmp_path).read_bytes() == BODY
    assert len(host.asked) == 5, "what is there is not fetched again"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == [
        *["x.bin", "x.bin.checksum.json"]
    ]


def test_a_download_that_breaks_off_now_and_then_comes_to_its_end(
    host: Host, tmp_path: Path
) -> None:
    host.stop_after = 300_000
    remote = Remote("x.bin", f"{host.address}/x.bin", f"sha256:{SHA256}")
    assert download(remote, tmp_path).read_bytes() == BODY
    assert host.asked == ["all", *(f"bytes={n}00000-" for n in (3, 6, 9))]


@pytest.mark.parametrize("trouble", [503, 500, 429, 408, 0])
def test_what_may_pass_by_itself_is_tried_again(
    host: Host, tmp_path: Path, trouble: int, caplog: pytest.LogCaptureFixture
) -> None:
    host.troubles = [trouble, trouble]
    remote = Remote("x.bin", f"{host.address}/x.bin", f"sha256:{SHA256}")
    assert download(remote, tmp_path).read_bytes() == BODY
    assert len(host.asked) == 3
    assert caplog.text.count("another try in") == 2
    face = HuggingFace("z.bin", f"{host.address}/resolve/main/z.bin")
    host.troubles = [trouble]
    assert face.published() == f"sha256:{SHA256}"


def test_tries_end_and_say_how_many_there_were(host: Host, tmp_path: Path) -> None:
    host.troubles = [503] * 9
    with pytest.raises(InputError, match=r"x\.bin: can't be fetched .*503.*, at each of 4 tries"):
        download(Remote("x.bin", f"{host.address}/x.bin"), tmp_path)
    assert len(host.asked) == fetching.TRIES
    host.asked.clear()
    with pytest.raises(InputError, match=r"asked for a checksum .*503.*, at each of 4 tries"):
        HuggingFace("z.bin", f"{host.address}/resolve/main/z.bin").published()
    assert len(host.asked) == fetching.TRIES


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501])
def test_what_stays_so_is_not_tried_again(host: Host, tmp_path: Path, code: int) -> None:
    host.troubles = [code] * 9
    with pytest.raises(InputError, match=rf"x\.bin: can't be fetched .*{code}") as refusal:
        download(Remote("x.bin", f"{host.address}/x.bin"), tmp_path)
    assert "tries" not in str(refusal.value)
    assert len(host.asked) == 1


def test_a_wait_is_as_long_as_the_server_asks_within_limits(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = list[float]()
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    monkeypatch.setattr(fetching, "WAIT", wait_fixed(2))
    for asked, expected in (("7", 7), ("86400", fetching.LONGEST_WAIT), ("soon", 2)):
        error = urllib.error.HTTPError("x", 429, "Slow down", Message(), None)
        error.headers["Retry-After"] = asked

        def refuse(address: str, headers: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(fetching, "_open", refuse)
        with pytest.raises(InputError, match="Slow down"):
            download(Remote("x.bin", f"{host.address}/x.bin"), tmp_path)
        assert slept == [expected] * 3
        slept.clear()


def test_a_download_begins_anew_where_it_must(host: Host, tmp_path: Path) -> None:
    remote = Remote("x.bin", f"{host.address}/x.bin")
    for case in ("another version", "no ranges", "more than all", "all but the name"):
        folder = tmp_path / case
        host.body, host.ranges, host.stop_after = BODY, True, 1000
        with pytest.raises(InputError, match="broke off"):
            download(remote, folder)
        host.stop_after = 0
        if case == "another version":
            host.body = BODY[::-1]
        elif case == "no ranges":
            host.ranges = False
        else:
            longer = b"?" if case == "more than all" else b""
            (folder / "x.bin.part").write_bytes(BODY + longer)
        assert download(remote, folder).read_bytes() == host.body, case


def test_a_wrong_checksum_leaves_nothing_that_counts(host: Host, tmp_path: Path) -> None:
    remote = Remote("x.bin", f"{host.address}/x.bin", "md5:" + 32 * "0", by="a friend")
    with pytest.raises(InputError, match=rf"is md5:{MD5}, but should be md5:0+ \(says a friend\)"):
        download(remote, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    (tmp_path / "x.bin").write_bytes(b"by hand")
    with pytest.raises(InputError, match=r"Delete .*x\.bin\. Try again"):
        download(remote, tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == b"by hand", "people's own files stay"


def test_without_a_published_checksum_the_first_one_is_recorded(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "coldstart")
    remote = Remote("x.bin", f"{host.address}/x.bin")
    path = download(remote, tmp_path)
    assert f"no checksum is published; sha256:{SHA256} is recorded" in caplog.text
    about = json.loads((tmp_path / "x.bin.checksum.json").read_text())
    assert about["checksum"] == f"sha256:{SHA256}"
    assert about["published_by"] == ""
    path.unlink()
    host.body = BODY[1:]
    with pytest.raises(InputError, match=r"says the first one, in .*x\.bin\.checksum\.json"):
        download(remote, tmp_path)


def test_zenodo_and_hugging_face_are_asked_for_their_checksums(host: Host, tmp_path: Path) -> None:
    zenodo = Zenodo("a/x.bin", f"{host.address}/records/1/files/x.bin?download=1")
    assert zenodo.published() == f"md5:{MD5}"
    assert download(zenodo, tmp_path) == tmp_path / "a" / "x.bin"
    other = Zenodo("y.bin", f"{host.address}/records/1/files/y.bin?download=1")
    with pytest.raises(InputError, match=r"has no file 'y\.bin'; it has: x\.bin"):
        download(other, tmp_path)
    face = HuggingFace("z.bin", f"{host.address}/resolve/main/z.bin")
    assert face.published() == f"sha256:{SHA256}"
    assert download(face, tmp_path).read_bytes() == BODY


def test_what_cannot_be_fetched_is_named(host: Host, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.bin: can't be fetched .*404"):
        download(Remote("x", f"{host.address}/gone.bin"), tmp_path)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1/x: can't be fetched"):
        download(Remote("x", "http://127.0.0.1:1/x"), tmp_path)
    with pytest.raises(InputError, match=r"file:///etc/passwd: can't be fetched"):
        download(Remote("x", "file:///etc/passwd"), tmp_path)


def test_a_data_set_is_downloaded_where_nothing_is_brought(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    host.body = zipped(tmp_path / "d.zip", {"x/y.tsv": "a\n1\n"}).read_bytes()
    about = About("d", "D", "page", "terms", "cite", (Remote("d.zip", f"{host.address}/d.zip"),))
    files = Originals(about)
    assert files.need("y.tsv", "d.zip").bytes() == b"a\n1\n"
    assert (tmp_path / "cache" / "datasets" / "d" / "d.zip").is_file()
    with pytest.raises(InputError, match="there is no file z"):
        files.need("z.tsv", "d.zip")


def test_addresses_are_addresses_and_checksums_checksums() -> None:
    for about in (jamendo.ABOUT, music4all.ABOUT, yambda.ABOUT):
        for remote in about.remotes:
            assert re.fullmatch(r"https?://\S+", remote.address)
            assert re.fullmatch(
                r"|md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}", remote.checksum
            )
