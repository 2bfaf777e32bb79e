"""A soak: `coldstart serve` under mixed load for a while. Wrong answers, or memory that grows, end
with status 1.

Four clients ask (similar tracks, listeners, words, what somebody likes). A fifth one changes the
data: tracks join, of which each must be found and be a candidate; some are withdrawn, listens come,
and now and then the run is loaded anew. Each client has one request in flight. The run is made
first, of an invented catalogue without sound.

    python -m benchmarks.soak                          # 30 minutes
    MINUTES=3 TRACKS=1000 python -m benchmarks.soak
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

import coldstart as cs
from coldstart.cli import main
from coldstart.datasets.synthetic import make_catalogue

MINUTES = float(os.environ.get("MINUTES", 30))
TRACKS = int(os.environ.get("TRACKS", 3000))
LISTENERS = 1000
ASKING = 4
"""Clients that ask, beside the one that changes."""

BETWEEN = 2.0
"""Seconds between two changes."""

KEPT = 20
"""So many of the added tracks stay; older ones are withdrawn."""

GROWTH = 1.1
"""Memory at the end, as a multiple of that after the first quarter, may be so much."""


class Answer(NamedTuple):
    """When it came, in seconds since the start; how long it took; what was wrong, if anything."""

    at: float
    seconds: float
    wrong: str = ""


class Client:
    """A connection that stays open, and what its answers were like."""

    def __init__(self, port: int, start: float) -> None:
        """To a service."""
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.start, self.answers = start, list[Answer]()

    def ask(self, path: str, body: object = None, method: str = "", status: int = 200) -> Any:
        """The answer's content; another status than this is noted."""
        began = time.perf_counter()
        text = None if body is None else json.dumps(body)
        headers = {} if text is None else {"content-type": "application/json"}
        try:
            self.connection.request(
                method or ("POST" if body is not None else "GET"), path, text, headers
            )
            response = self.connection.getresponse()
            content, got = response.read(), response.status
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            content, got = repr(error).encode(), 0
        wrong = "" if got == status else f"{path}: {got}, not {status}: {content[:300]!r}"
        if wrong:
            print(wrong, flush=True)
        now = time.perf_counter()
        self.answers.append(Answer(now - self.start, now - began, wrong))
        return {} if wrong else json.loads(content)

    def must(self, holds: bool, what: str) -> None:
        """Note what should hold, and doesn't."""
        if not holds:
            print(what, flush=True)
            self.answers.append(Answer(time.perf_counter() - self.start, 0.0, what))


def asking(client: Client, generator: Generator, end: float, listeners: list[str]) -> None:
    """Ask for what the dataset had from the beginning, which nobody withdraws."""
    while time.perf_counter() < end:
        track, other = (f"t{generator.integers(TRACKS):06d}" for _ in range(2))
        k = int(generator.choice([5, 10, 50]))
        match generator.integers(5):
            case 0:
                rows = client.ask(f"/tracks/{track}/similar?k={k}&candidates=all")
                client.must(len(rows.get("tracks", ())) == k, f"a list of {k} tracks is shorter")
            case 1:
                client.ask(
                    f"/tracks/{track}/similar?k={k}&per_artist=1&new_share=0.3&candidates=all"
                )
            case 2:
                user = listeners[int(generator.integers(len(listeners)))]
                client.ask(f"/users/{user}/recommendations?k={k}")
            case 3:
                found = client.ask(f"/tracks?q={track}").get("tracks", ())
                client.must(any(row["track_id"] == track for row in found), f"{track} isn't found")
            case 4:
                client.ask("/recommend", {"liked": [track, other], "candidates": "all", "k": k})


def changing(
    client: Client, attributes: dict[str, Any], end: float, kept: list[str], warm: list[str]
) -> None:
    """Let tracks join and go, listens come, and the run be loaded anew."""
    number = 0
    while time.perf_counter() < end:
        number += 1
        track = f"new/{number}"
        content = {"attributes": attributes, "genres": ["Rock"]}
        new = {"track_id": track, "title": f"Title {number}", "artist": "A", "content": content}
        client.ask("/tracks", new, status=201)
        kept.append(track)
        is_candidate(client, track, True)
        client.ask("/tracks", new, status=409)
        if number % 2 == 0:
            user, heard = f"listener {number}", [track, warm[0], warm[number % len(warm)]]
            rows = [{"user_id": user, "track_id": name} for name in heard]
            client.ask("/listens", {"listens": rows})
            client.ask(f"/users/listener%20{number}/recommendations?candidates=all")
        if len(kept) > KEPT:
            gone = kept.pop(0)
            client.ask(f"/tracks/{gone.replace('/', '%2F')}", method="DELETE")
            is_candidate(client, gone, False)
        if number % 10 == 0:
            client.ask("/reload", method="POST")
        time.sleep(BETWEEN)
    for track in kept:
        is_candidate(client, track, True)


def is_candidate(client: Client, track: str, there: bool) -> None:
    """Check that a track is there, and recommended; or that it is neither."""
    client.ask(f"/tracks/{track.replace('/', '%2F')}", status=200 if there else 404)
    asked = {"like": ["t000000"], "where": f"title = 'Title {track.partition('/')[2]}'"}
    rows = client.ask("/recommend", asked, status=200 if there else 422).get("tracks", ())
    client.must(
        [row["track_id"] for row in rows] == [track] * there,
        f"{track} is {'no' if there else 'a'} candidate",
    )


def fitted(root: Path) -> Path:
    """A run of attributes and genres on an invented catalogue."""
    catalogue = make_catalogue(root / "catalogue", tracks=TRACKS, users=LISTENERS, audio=False)
    tracks, splits, shards = catalogue / "tracks.parquet", root / "splits.parquet", root / "shards"
    cs.split(tracks, out=splits)
    options: dict[str, Any] = {"factors": 64, "shrinkage": 0.15, "axes": "scores"}
    cs.factorize(catalogue / "listens.parquet", out=root / "factors", splits=splits, **options)
    cs.shard(tracks, out=shards, splits=splits, attributes={"mgp": str(catalogue / "mgp.parquet")})
    run = root / "run"
    flags = [f"--run={run}", f"--data.shards={shards}", f"--data.factors={root / 'factors'}"]
    assert main(["fit", "--config=kernel.yaml", *flags]) == 0
    return run


def known(run: Path) -> tuple[list[str], list[str]]:
    """Listeners whom lists can be made for, and tracks whose plays say something of a taste."""
    catalogue = cs.Recommender(run).catalogue
    ids = catalogue.known_factors().user_ids
    listeners = [ids[row] for row in np.flatnonzero(catalogue.has_taste)]
    return listeners, catalogue.track_ids[: catalogue.warm]


@contextmanager
def serving(run: Path, said: Path) -> Iterator[tuple[int, int]]:
    """A service in a process of its own: its port, and its process id."""
    command = [sys.executable, "-u", "-m", "coldstart", "serve", f"--run={run}", "--port=0"]
    with said.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        while not (match := re.search(r"listening: http://\S+:(\d+)/", said.read_text())):
            if process.poll() is not None:
                raise SystemExit(said.read_text())
            time.sleep(0.1)
        yield int(match[1]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def memory_mb(pid: int) -> float:
    """Resident memory of a process and all that it has started."""
    total, left = 0.0, [pid]
    while left:
        process = Path(f"/proc/{left.pop()}")
        try:
            total += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in (process / "task").iterdir():
                left += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return total / 1e6


def watched(pid: int, clients: list[Client], start: float) -> list[float]:
    """Print a row a minute until the time is over; gives the memory, each second."""
    memory: list[float] = []
    print("minute  requests  p50 ms  p99 ms  wrong  memory MB, median and most")
    for minute in range(1, int(np.ceil(MINUTES)) + 1):
        before = len(memory)
        while time.perf_counter() < start + min(minute, MINUTES) * 60:
            memory.append(memory_mb(pid))
            time.sleep(1)
        answers = [a for client in clients for a in list(client.answers)]
        answers = [a for a in answers if minute - 1 <= a.at / 60 < minute]
        low, high = np.quantile([a.seconds for a in answers] or [0.0], [0.5, 0.99]) * 1000
        wrong, rows = sum(bool(a.wrong) for a in answers), memory[before:] or [0.0]
        print(
            f"{minute:6}{len(answers):10,}{low:8.1f}{high:8.0f}{wrong:7}"
            f"{statistics.median(rows):15.0f}{max(rows):10.0f}",
            flush=True,
        )
    return memory


def soak(root: Path) -> bool:
    """Whether all went well."""
    run = fitted(root)
    listeners, warm = known(run)
    with serving(run, root / "said.txt") as (port, pid):
        start = time.perf_counter()
        end = start + MINUTES * 60
        clients = [Client(port, start) for _ in range(ASKING + 1)]
        attributes = {
            name: dict.fromkeys(names, 0.5)
            for name, names in clients[0].ask("/model")["attributes"].items()
        }
        kept: list[str] = []
        work: list[Callable[[], None]] = [
            lambda: changing(clients[-1], attributes, end, kept, warm)
        ]
        for number, client in enumerate(clients[:-1]):
            generator = np.random.default_rng(number)
            work.append(partial(asking, client, generator, end, listeners))
        threads = [threading.Thread(target=each) for each in work]
        for thread in threads:
            thread.start()
        memory = watched(pid, clients, start)
        for thread in threads:
            thread.join()
    lost = set(kept) - cs.Recommender(run).catalogue.row.keys()
    wrong = [answer.wrong for client in clients for answer in client.answers if answer.wrong]
    wrong += [f"{track} isn't in the dataset after the end" for track in sorted(lost)]
    wrong += [line for line in (root / "said.txt").read_text().splitlines() if "rror" in line]
    print("\n".join(wrong[:20]))
    quarter = len(memory) // 4
    first = statistics.median(memory[quarter : 2 * quarter])
    last = statistics.median(memory[-quarter:])
    print(f"memory: {first:.0f} MB in the second quarter, {last:.0f} MB in the last")
    print(
        f"{sum(len(c.answers) for c in clients):,} requests, {len(wrong)} faults, {len(kept)} kept"
    )
    return not wrong and last <= GROWTH * first


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="coldstart-") as folder:
        sys.exit(not soak(Path(folder)))
