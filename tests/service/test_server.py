"""The verb, as a process of its own; and the container's files, whose commands are run here."""

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from helpers import ROOT, Fitted
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from coldstart.cli import main
from coldstart.service.server import HEAD_BYTES, BoundedProtocol

SERVICE = ROOT / "examples" / "service"
DOCKERFILE = (SERVICE / "Dockerfile").read_text(encoding="utf-8")


@contextmanager
def served(output: Path, *args: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The address of a service in a process of its own, and the process."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "coldstart", "serve", "--port=0", *args],
            stdout=file,
            stderr=file,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        end = time.monotonic() + 120
        while not (match := re.search(r"listening: http://\S+:(\d+)/", output.read_text())):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < end, output.read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{match[1]}", process
    finally:
        process.kill()
        process.wait()


def ask(address: str, token: str = "") -> Any:
    request = urllib.request.Request(address)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_answers_until_a_signal_comes(
    heard: Fitted, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    with served(tmp_path / "said.txt", f"--run={heard.run}") as (address, process):
        assert ask(f"{address}/health")["status"] == "ok"
        process.send_signal(number)
        assert process.wait(60) == status
    said = (tmp_path / "said.txt").read_text()
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("coldstart serve: ")


def test_a_head_without_an_end_is_not_waited_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        size = len(await Request(scope, receive).body())
        await PlainTextResponse(str(size))(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, http=BoundedProtocol, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    address = server.servers[0].sockets[0].getsockname()
    try:
        with socket.create_connection(address, 10) as connection, suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
            for _ in range(1000):
                connection.sendall(b"a" * HEAD_BYTES)
            raise AssertionError("64 MB of a header are taken")
        client = HTTPConnection(address[0], address[1], timeout=10)
        for size in (1, 10 * HEAD_BYTES):  # a body is no head
            client.request("POST", "/", b"a" * size)
            assert client.getresponse().read() == str(size).encode()
        client.close()
    finally:
        server.should_exit = True
        thread.join()


def test_an_address_in_use_is_named(heard: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", f"--run={heard.run}", f"--port={port}"]) == 2
    assert f"127.0.0.1:{port} can't be listened on" in capsys.readouterr().err


def test_what_is_no_run_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"--run={tmp_path}"]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def of_dockerfile(word: str) -> list[str]:
    """The last command of the file that begins with a word, as a list."""
    lines = re.findall(rf"^{word}\b.*", DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(lines[-1][lines[-1].index("[") :])
    return words


def test_the_container_s_commands_serve_and_its_health_check_sees_it(
    heard: Fitted, tmp_path: Path
) -> None:
    """What the Dockerfile starts, with the paths of this machine in the place of its own."""
    token = tmp_path / "token"
    token.write_text("the-token-of-the-container\n")
    entry, command = of_dockerfile("ENTRYPOINT"), of_dockerfile("CMD")
    assert entry[:2] == ["coldstart", "serve"]
    words = [*entry[2:], *command]
    words[words.index("/run/secrets/token")] = str(token)
    words[words.index("/data/run")] = str(heard.run)
    with served(tmp_path / "said.txt", *words) as (address, _):
        health = of_dockerfile("HEALTHCHECK")
        health = [word.replace("http://127.0.0.1:8700", address) for word in health]
        assert subprocess.run([sys.executable, *health[1:]]).returncode == 0
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(f"{address}/model")
        assert ask(f"{address}/model", token.read_text().strip())["tracks"] == 60
    assert "other machines can reach this" in (tmp_path / "said.txt").read_text()
    assert subprocess.run([sys.executable, *health[1:]], capture_output=True).returncode != 0


def test_the_container_s_files_name_what_there_is() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists(), source
    users = re.findall(r"^USER (\w+)", DOCKERFILE, re.MULTILINE)
    assert users
    assert "root" not in users
    compose = yaml.safe_load((SERVICE / "compose.yaml").read_text(encoding="utf-8"))
    build = compose["services"]["coldstart"]["build"]
    assert (SERVICE / build["context"] / build["dockerfile"]).is_file()
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    scrape = yaml.safe_load((SERVICE / "prometheus.yml").read_text(encoding="utf-8"))
    (target,) = scrape["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == "coldstart:8700"
