"""A real S3 on loopback, and before it a proxy that cuts answers short, or refuses to give some."""

from __future__ import annotations

import http.client
import http.server
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

BUCKET = "bucket"

Rule = Callable[["Proxy", str, str], str]
"""Of a request's method and path: what happens to it: `pass`, `cut`, or a status."""

ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>Not now</Message></Error>"
CODES = {"503": "SlowDown", "500": "InternalError", "403": "AccessDenied"}


class Proxy(http.server.BaseHTTPRequestHandler):
    """Hands on each request to the store, unless the store's rule is against it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer's body would wait for its head's receipt
    store: Store

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self.chunks()
        path = self.path.partition("?")[0]
        self.store.asked.append((self.command, path))
        what = self.store.rule(self, self.command, path)
        if what not in ("pass", "cut"):
            content = ERROR.format(code=CODES[what]).encode()
            self.answer(int(what), [("Content-Type", "application/xml")], content)
            return
        there = http.client.HTTPConnection("127.0.0.1", self.store.behind, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k != "Transfer-Encoding"}
        there.request(self.command, self.path, body, headers)
        reply = there.getresponse()
        content = reply.read()
        self.answer(reply.status, reply.getheaders(), content, what == "cut")
        there.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

    def chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False
    ) -> None:
        length = next((v for k, v in headers if k.lower() == "content-length"), len(content))
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut


class Store:
    """A bucket in an S3 of its own port, whose requests go through a proxy.

    Attributes:
        behind: the port of the store itself.
        rule: what happens to a request.
        asked: method and path of each request.
    """

    def __init__(self, behind: int) -> None:
        self.behind, self.asked = behind, list[tuple[str, str]]()
        self.rule: Rule = lambda *_: "pass"
        handler = type("Handler", (Proxy,), {"store": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def files(self) -> Any:
        """The file system, as anybody would open it."""
        return fsspec.filesystem("s3")

    def put(self, place: Path, name: str) -> str:
        """Upload a file or a folder; the address that it has then."""
        self.files.put(str(place), f"{BUCKET}/{name}", recursive=place.is_dir())
        self.asked.clear()
        return f"s3://{BUCKET}/{name}"

    def fetched(self) -> list[str]:
        """Paths of the files that were fetched, without the bucket."""
        return [path.removeprefix(f"/{BUCKET}/") for method, path in self.asked if method == "GET"]

    def control(self, what: str, content: bytes = b"") -> None:
        """Have moto do something to all that it holds."""
        address = f"http://127.0.0.1:{self.behind}/moto-api/{what}"
        headers = {"Content-Type": "text/plain"}  # urllib's own would make a form of it
        request = urllib.request.Request(address, content, headers, method="POST")
        urllib.request.urlopen(request, timeout=10).close()


def few_times(number: int, what: str, ending: str = "") -> Rule:
    """The first requests for files of this ending are answered otherwise."""
    left = [number]

    def rule(_: Proxy, method: str, path: str) -> str:
        if method in ("GET", "PUT") and path.endswith(ending) and left[0]:
            left[0] -= 1
            return what
        return "pass"

    return rule
