"""Tables of a web server: fetched when they have changed, or where nothing tells."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart.addresses import copies, transfer
from coldstart.errors import InputError
from coldstart.tables.table import read_table

LOG = b"user_id,track_id\nu,a\n"


class Web:
    """One table on a web server.

    Attributes:
        content: of the table.
        headers: that come with it.
        knows_head: whether it answers HEAD.
        asked: methods and paths.
    """

    def __init__(self) -> None:
        self.content, self.headers = LOG, {"ETag": '"1"'}
        self.knows_head, self.asked = True, list[str]()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def head(self) -> None:
                web.asked.append(f"{self.command} {self.path}")
                found = self.path.startswith("/log.csv")
                knows = web.knows_head or self.command == "GET"
                self.send_response(200 if found and knows else 404 if knows else 501)
                for key, value in web.headers.items():
                    self.send_header(key, value)
                self.end_headers()

            def do_HEAD(self) -> None:
                self.head()

            def do_GET(self) -> None:
                self.head()
                if self.path.startswith("/log.csv"):
                    self.wfile.write(web.content)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/log.csv"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def fetched(self) -> int:
        return sum(each.startswith("GET") for each in self.asked)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "WAITS", (0.01,))
    web = Web()
    yield web
    web.server.shutdown()
    web.server.server_close()


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_a_table_is_fetched_again_when_it_has_changed(web: Web, header: str) -> None:
    web.headers = {header: "Mon, 30 Nov 2026 10:00:00 GMT"}
    for _ in range(3):
        assert len(read_table(web.address, ["user_id"])) == 1
    assert web.fetched() == 1
    web.content, web.headers = LOG + b"v,b\n", {header: "Mon, 30 Nov 2026 11:00:00 GMT"}
    assert len(read_table(web.address, ["user_id"])) == 2
    assert web.fetched() == 2


@pytest.mark.parametrize("knows_head", [True, False])
def test_where_nothing_tells_a_table_is_fetched_each_time(web: Web, knows_head: bool) -> None:
    web.headers, web.knows_head = {} if knows_head else {"ETag": '"1"'}, knows_head
    for rows in (1, 2):
        assert len(read_table(web.address, ["user_id"])) == rows
        web.content += b"v,b\n"
    assert web.fetched() == 2


def test_what_is_asked_beside_a_file_is_no_part_of_its_name(web: Web) -> None:
    assert len(read_table(f"{web.address}?key=a/b.txt", ["user_id"])) == 1
    assert "GET /log.csv?key=a/b.txt" in web.asked


def test_what_is_no_table_of_a_web_server_is_named(web: Web) -> None:
    with pytest.raises(InputError, match=r"none\.csv: there is no such file"):
        read_table(web.address.replace("log", "none"), ["user_id"])
    with pytest.raises(InputError, match=r"^http://[\d.:]+/log: tables are read from"):
        read_table(web.address.replace(".csv", ""), ["user_id"])
    with pytest.raises(InputError, match=r"^http://[\d.:]+/log\.csv: there is no column 'day'"):
        read_table(web.address, ["day"])


def test_a_table_without_end_is_refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "UNANNOUNCED", 1 << 20)
    web.content = LOG + b"v,b\n" * (1 << 20)
    with pytest.raises(InputError, match=r"log\.csv: is refused, since it is longer than 1,048"):
        read_table(web.address, ["user_id"])


def test_the_copy_is_the_user_s_alone(web: Web, tmp_path: Path) -> None:
    read_table(web.address.replace("//", "//ann:secret@"), ["user_id"])
    folders = [path for path in (tmp_path / "cache" / "tables").iterdir() if path.is_dir()]
    assert [oct(path.stat().st_mode & 0o777) for path in folders] == ["0o700"]
    assert not any("secret" in str(path) for path in (tmp_path / "cache").rglob("*"))


def test_a_cache_that_cannot_be_written_to_is_named(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"its local copy can't lie in .*COLDSTART_CACHE"):
        read_table(web.address, ["user_id"])
