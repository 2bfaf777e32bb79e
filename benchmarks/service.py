"""The service: `/tracks/ID/similar` over HTTP, by 1, 8 and 64 clients at once.

The floor is the bare query in the same process: the product of all places and one of them, and the
best 10. Clients are threads of another process with connections that stay open. Latencies are p50
and p99; throughput is a row of its own, beside bare queries one after the other.

    python -m benchmarks.service [--rounds 3]
    TRACKS=10000 python -m benchmarks.service
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO
from unittest.mock import patch

import numpy as np
import torch
import uvicorn

from benchmarks.retrieval import catalogue_of
from benchmarks.table import Row, main, seconds
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.recommender import Recommender
from coldstart.retrieval.selection import select
from coldstart.service import engine
from coldstart.service.app import make_app
from coldstart.service.settings import ServiceSettings

SIZES = tuple(map(int, os.environ.get("TRACKS", "10000,1000000").split(",")))
CLIENTS = (1, 8, 64)
FACTORS, K = 128, 10
SECONDS = float(os.environ.get("SECONDS", 10))
"""How long each number of clients asks."""


def recommender_of(catalogue: Catalogue) -> Recommender:
    """A recommender of made-up places: of a run it has what the service asks for."""
    recommender = object.__new__(Recommender)
    recommender.catalogue, recommender.index = catalogue, None
    places = {"factors": None, "shards": None}
    recommender.run = SimpleNamespace(  # type: ignore[assignment]
        folder=Path("made-up"),
        model=torch.nn.Linear(1, 1),
        data=SimpleNamespace(shards=None),
        places=places,
    )
    recommender._select = lru_cache(4)(partial(select, catalogue))
    return recommender


@contextmanager
def serving(catalogue: Catalogue) -> Iterator[int]:
    """The service in a thread; gives its port."""
    recommender = recommender_of(catalogue)
    with patch.object(engine, "Recommender", lambda *_, **__: recommender):
        app = make_app(ServiceSettings("made-up", watch=0, at_once=256))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def bare(catalogue: Catalogue) -> list[float]:
    """Seconds of bare queries, one after the other."""
    items = catalogue.directions.numpy()
    times: list[float] = []
    end = time.perf_counter() + SECONDS / 4
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        torch.from_numpy(items @ items[len(times)]).topk(K)
        times.append(time.perf_counter() - began)
    return times


def ask(port: int, clients: int, tracks: int) -> list[float]:
    """In a process of its own: seconds of each answer."""
    command = [sys.executable, __file__, "--ask", str(port), str(clients), str(tracks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def _read(file: BinaryIO) -> None:
    """A response, of whose head only two lines are looked at: a whole client takes half a
    millisecond of the cores that the service needs.
    """
    status = file.readline()
    assert status.startswith(b"HTTP/1.1 200"), status
    size = 0
    while (line := file.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            size = int(line.partition(b":")[2])
    file.read(size)


def _asked(port: int, clients: int, tracks: int) -> None:
    """Ask for `SECONDS`, and print the seconds of each answer."""
    times: list[list[float]] = [[] for _ in range(clients)]
    end = time.perf_counter() + SECONDS

    def client(number: int) -> None:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = connection.makefile("rb")
        generator = np.random.default_rng(number)
        while time.perf_counter() < end:
            track = int(generator.integers(tracks))
            began = time.perf_counter()
            path = f"/tracks/t{track:07d}/similar?k={K}&candidates=all"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            _read(file)
            times[number].append(time.perf_counter() - began)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(str(value) for each in times for value in each))


def measure(rounds: int = 3) -> list[Row]:
    rows = []
    for tracks in SIZES:
        catalogue = catalogue_of(tracks, 10, FACTORS)
        with serving(catalogue) as port:
            ask(port, 1, tracks)  # what is the same for all queries is made once
            for clients in CLIENTS:
                rows += _rows(catalogue, port, clients, tracks, rounds)
    return rows


def _rows(catalogue: Catalogue, port: int, clients: int, tracks: int, rounds: int) -> list[Row]:
    results: list[tuple[Any, ...]] = []
    for _ in range(rounds):
        floor, ours = bare(catalogue), ask(port, clients, tracks)
        low, high = (float(np.quantile(ours, share)) for share in (0.5, 0.99))
        results.append((low, high, len(ours) / SECONDS, statistics.median(floor)))
    low, high, rate, floor_low = (
        statistics.median(column) for column in zip(*results, strict=True)
    )
    name = f"/similar, {tracks:,} tracks × {FACTORS}, {clients} clients"
    latency = f"p50 {seconds(low)}, p99 {seconds(high)}"
    target = f"≤ {(floor_low + 0.002) / floor_low:.2f} (floor + 2 ms)" if clients == 1 else ""
    return [
        Row(f"{name}: latency", latency, seconds(floor_low), low / floor_low, target),
        Row(f"{name}: answers/s", f"{rate:.0f}", f"{1 / floor_low:.0f}", rate * floor_low, "≥ 0.5"),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        _asked(*map(int, sys.argv[2:]))
    else:
        main(measure)
