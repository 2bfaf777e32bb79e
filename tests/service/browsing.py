"""What the tests of the page do in a browser, and the service that they do it to."""

import base64
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
import uvicorn
from helpers import ROOT, SAMPLE_RATE, music

from coldstart.service.app import make_app
from coldstart.service.settings import ServiceSettings

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
"""Browsers that can be used, by their commands."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]

ANSWER = "#answer:not([aria-busy]) .result"
"""The tracks that the page shows once it has its answer."""

PHONE = {"width": 360, "height": 740}

Open = Callable[..., Any]
"""Opens a page of the service: a path, and the browser's settings."""


class Site(NamedTuple):
    """Where a service answers, and a known track of it."""

    address: str
    track: str
    title: str
    artist: str


@contextmanager
def serving(settings: ServiceSettings) -> Iterator[str]:
    """The address of a service, in a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(make_app(settings), log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(20)


def add(address: str, **track: object) -> None:
    """Let a track join the dataset, without sound."""
    body = json.dumps({**track, "content": {"genres": ["Rock"]}}).encode()
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{address}tracks", body, headers)
    ) as answer:
        assert answer.status == 201


def search(page: Any, words: str) -> None:
    page.wait_for_selector("svg.tail")
    page.get_by_role("combobox").fill(words)
    page.get_by_role("option").first.click()
    page.wait_for_selector(ANSWER)


def saved(page: Any, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def number(text: str) -> float:
    return float(text.replace("−", "-"))


def listen(page: Any) -> None:
    """Wait until the player has sound."""
    page.wait_for_function("() => document.querySelector('#audio').readyState >= 2")


def explain(page: Any) -> None:
    """Ask why the first track is recommended."""
    page.get_by_role("button", name="Why").first.click()
    page.wait_for_selector(".reasons:not([aria-busy]):visible > *")


def complaint(page: Any) -> str:
    """What the page says is wrong, which a screen reader says, too."""
    page.wait_for_selector("#message:visible")
    said: str = page.locator("#message").inner_text()
    page.wait_for_function(
        "said => document.querySelector('[aria-live=polite]').textContent === said", arg=said
    )
    return said


def titles(page: Any) -> list[str]:
    found: list[str] = page.locator(".result h3").all_inner_texts()
    return found


def sound_file(folder: Path) -> Path:
    """A real mp3 where there is one, or an invented one."""
    real = sorted((ROOT.parent / "shared" / "data" / "audio").glob("*.mp3"))
    for path in real:
        if path.stat().st_size < 1_500_000:
            return path
    path = folder / "a song.mp3"
    soundfile.write(path, music(6), SAMPLE_RATE)
    return path


def drop(page: Any, path: Path) -> None:
    """Drop a sound file on the page, as from a file manager."""
    content = base64.b64encode(path.read_bytes()).decode()
    transfer = page.evaluate_handle(
        """([text, name]) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: "audio/mpeg" }));
            return transfer;
        }""",
        [content, path.name],
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("body", event, {"dataTransfer": transfer})
