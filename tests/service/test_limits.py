"""Who may ask, how much, how often: refused before the application sees it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Fitted
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from coldstart.cli import main
from coldstart.errors import InputError
from coldstart.service import limits
from coldstart.service.limits import SECURITY_HEADERS, Gate
from coldstart.service.settings import ServiceSettings, is_loopback

TOKEN = "a-token-of-sixteen-letters"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the number of bytes that came."""
    request = Request(scope, receive)
    size = len(await request.body())
    await JSONResponse({"size": size})(scope, receive, send)


def gate(url: str = "http://localhost", **settings: Any) -> TestClient:
    return TestClient(Gate(echo, ServiceSettings("run", **settings)), base_url=url)


def test_what_is_allowed_goes_on_with_headers_for_browsers() -> None:
    answer = gate().post("/x", content=b"12345")
    assert answer.json() == {"size": 5}
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["evil.org", "evil.org:8700", "127.0.0.1.evil.org", "", "[::2]"])
def test_a_foreign_name_that_leads_here_is_refused(host: str) -> None:
    answer = gate().get("/x", headers={"host": host})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8700", "[::1]:8700"])
def test_this_machine_s_names_are_its_own(host: str) -> None:
    assert gate().get("/x", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.org"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_a_page_of_another_origin_changes_nothing(headers: dict[str, str], status: int) -> None:
    assert gate().post("/x", headers=headers).status_code == status
    assert gate().get("/x", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer é", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
    ],
)
def test_a_token_is_asked_for(header: str | None, status: int) -> None:
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    client = gate(token=TOKEN)
    assert client.get("/tracks", headers=headers).status_code == status
    assert client.get("/health").status_code == 200
    assert client.get("/page/page.js").status_code == 200
    assert client.get("/page").status_code == 200
    assert client.get("/pages", headers=headers).status_code == status


def test_large_bodies_end_as_soon_as_they_are_too_large() -> None:
    client = gate(upload_mb=0.001)
    assert client.post("/x", content=b"0" * 1000).status_code == 200
    assert client.post("/x", content=b"0" * 1001).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(10):
            yield b"0" * 500

    assert client.post("/x", content=endless()).status_code == 413  # no length is announced


def test_clients_that_ask_too_often_are_told_to_wait() -> None:
    client = gate(rate=1)
    assert [client.get("/x").status_code for _ in range(4)] == [200, 200, 429, 429]
    assert client.get("/x").headers["retry-after"] == "1"


def call(app: Gate, path: str, receive: Receive) -> tuple[int, bytes]:
    """Of one request, the status and the body."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"host", b"localhost")],
        "query_string": b"",
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_a_body_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)

    async def drip() -> Any:
        await asyncio.sleep(0.15)
        return {"type": "http.request", "body": b"0", "more_body": True}

    status, body = call(Gate(echo, ServiceSettings("run")), "/x", drip)
    assert (status, json.loads(body)["status"]) == (408, 408)


def test_more_requests_than_are_answered_at_once_are_told_to_come_again() -> None:
    app = Gate(echo, ServiceSettings("run", at_once=1))
    app.running = 1

    async def nothing() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    assert call(app, "/x", nothing)[0] == 503
    assert call(app, "/health", nothing)[0] == 200
    assert app.running == 1


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.8.8.8", True), ("::1", True), ("[::1]", True), ("::", False), ("example.org", False)],
)
def test_addresses_of_this_machine_are_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_other_machines_reach_it_by_a_token_alone(
    heard: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", f"--run={heard.run}", "--host=0.0.0.0"]) == 2
    said = capsys.readouterr().err
    assert "can be reached from other machines" in said
    assert "--token-file" in said
    token = tmp_path / "token"
    token.write_text("short\n")
    assert main(["serve", f"--run={heard.run}", f"--token-file={token}"]) == 2
    assert "at least 16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70_000), ("upload_mb", 0), ("minutes", -1), ("at_once", 0), ("rate", -1)],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        ServiceSettings("run", **{name: value}).check()  # type: ignore[arg-type]
