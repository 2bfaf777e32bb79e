"""Servers on loopback that are ill, each in its own way, and how tests look at what came of it."""

import gzip
import http.server
import io
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from coldstart.addresses import transfer
from coldstart.errors import InputError
from coldstart.shards.reading import Shards

FIELDS = ["mgp.npy", "genres.json"]
LISTING = "dataset.json"
TRACKS = "train/tracks/000000.json"
TAR = "train/mgp/000000.tar"
TRACKS_IN_ALL = 20
PAGE = b"<!DOCTYPE html>\n<html><form>Please log in</form></html>"

Reply = Callable[["Handler", bytes], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a file of the dataset, or as the test says."""

    host: "Host"
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        name = self.path.partition("/shards/")[2]
        self.host.asked.append(name)
        path = self.host.folder / name
        content = path.read_bytes() if path.is_file() else b""
        replies = self.host.replies[name]
        reply = replies.pop(0) if len(replies) > 1 else replies[0] if replies else well
        try:
            reply(self, content)
        except OSError:  # they have hung up
            self.close_connection = True

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def wait(self, seconds: float = 20) -> bool:
        return self.host.closed.wait(seconds)


class Host:
    """A dataset served on loopback; `replies` says how each file is answered, in turn.

    The last of a file's replies stays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.closed = folder, list[str](), threading.Event()
        self.replies: dict[str, list[Reply]] = defaultdict(list)
        handler = type("HandlerOfHost", (Handler,), {"host": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.address = f"http://127.0.0.1:{self.server.server_port}/shards"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()


# How a server may answer.


def well(to: Handler, content: bytes) -> None:
    to.head(200 if content else 404, Content_Length=len(content))
    to.wfile.write(content)


def body(content: bytes, **headers: object) -> Reply:
    def reply(to: Handler, _: bytes) -> None:
        to.head(200, Content_Length=len(content), **headers)
        to.wfile.write(content)

    return reply


def status(code: int, **headers: object) -> Reply:
    return lambda to, _: to.head(code, Content_Length=0, **headers)


def silent(to: Handler, _: bytes) -> None:
    to.wait()


def dripping_headers(to: Handler, _: bytes) -> None:
    to.wfile.write(b"HTTP/1.0 200 OK\r\nX-Drip: ")
    while not to.wait(0.02):
        to.wfile.write(b"x")


def dripping(to: Handler, content: bytes) -> None:
    to.head(200, Content_Length=1 << 20)
    while not to.wait(0.02):
        to.wfile.write(b" ")


def stalled(to: Handler, content: bytes) -> None:
    to.head(200, Content_Length=len(content))
    to.wfile.write(content[: len(content) // 2])
    to.wait()


def endless(to: Handler, _: bytes) -> None:
    to.head(200)
    while not to.host.closed.is_set():
        to.wfile.write(b" " * 65536)


def endless_chunks(to: Handler, _: bytes) -> None:
    to.protocol_version = "HTTP/1.1"
    to.head(200, Transfer_Encoding="chunked")
    while not to.host.closed.is_set():
        to.wfile.write(b"10000\r\n" + b" " * 65536 + b"\r\n")


def endless_headers(to: Handler, _: bytes) -> None:
    to.wfile.write(b"HTTP/1.0 200 OK\r\n")
    while not to.host.closed.is_set():
        to.wfile.write(b"X-More: " + b"x" * 4096 + b"\r\n")


def cut(to: Handler, content: bytes) -> None:
    to.head(200, Content_Length=len(content))
    to.wfile.write(content[: len(content) // 2])


def cut_chunk(to: Handler, content: bytes) -> None:
    to.protocol_version = "HTTP/1.1"
    to.head(200, Transfer_Encoding="chunked")
    to.wfile.write(b"ffff\r\n" + content[:100])
    to.close_connection = True


def half_without_length(to: Handler, content: bytes) -> None:
    to.head(200)
    to.wfile.write(content[: len(content) // 2])


def too_short_a_length(to: Handler, content: bytes) -> None:
    to.head(200, Content_Length=len(content) // 2)
    to.wfile.write(content)


def hung_up(to: Handler, _: bytes) -> None:
    to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    to.connection.close()


def no_http(to: Handler, _: bytes) -> None:
    to.wfile.write(b"\x00\x01\x02 220 mail.example.org ESMTP\r\n\r\n")


def a_bomb(to: Handler, _: bytes) -> None:
    bomb = gzip.compress(b" " * (1 << 24))
    to.head(200, Content_Length=len(bomb), Content_Encoding="gzip")
    to.wfile.write(bomb)


def half(to: Handler, content: bytes) -> None:
    body(content[: len(content) // 2 // 512 * 512])(to, b"")


def damaged_in_the_middle(to: Handler, content: bytes) -> None:
    middle = len(content) // 2 // 512 * 512
    body(content[:middle] + b"\xff" * 512 + content[middle + 512 :])(to, b"")


SLOW = [silent, dripping_headers, dripping, stalled]
"""They wait until nobody listens."""


# What the tests share.


def npy(number: int) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.full(64, number, np.float32))
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"run": "me"}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def everything(shards: Shards) -> list[dict[str, object]]:
    return [
        dict(sample)
        for split in ("train", "val", "test")
        for number in range(len(shards.shard_sizes(split)))
        for sample in shards.samples(split, number, FIELDS)
    ]


@contextmanager
def impatience(when: bool) -> Iterator[None]:
    """Wait for slow servers no longer than a test can."""
    with pytest.MonkeyPatch.context() as patch:
        if when:
            patch.setattr(transfer, "PATIENCE", 0.3)
        yield


def message_about(place: str, read: Callable[[], object], slow: bool = False) -> str:
    """The message that reading ends with: soon, in one sentence that names a place at an address.

    Nothing of the copy's own place is in it.
    """
    start = time.monotonic()
    with pytest.raises(InputError) as caught, impatience(slow):
        read()
    message = str(caught.value)
    assert time.monotonic() - start < 8
    assert message.startswith(place), message
    assert "\n" not in message
    assert "cache/" not in message
    assert ";" in message, "it says what to do"
    return message


def copies(tmp_path: Path, of: str = "") -> list[Path]:
    """The local copies of a file, and what is left of copies that were begun; of all by default."""
    found = (path for path in (tmp_path / "cache").rglob("*") if path.suffix != ".lock")
    return [path for path in found if path.is_file() and (of in str(path) or path.name == "file")]
