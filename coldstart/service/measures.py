"""What Prometheus reads of the service."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coldstart.service.engine import Loaded

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
"""Limits of the classes of latencies."""


class Measures:
    """Counts, latencies and sizes."""

    def __init__(self) -> None:
        """From nothing."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self.requests = Counter(
            "coldstart_requests", "Requests", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "coldstart_request_seconds",
            "From a request's arrival to its answer's end",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.shown = Counter(
            "coldstart_recommended_tracks",
            "Tracks in answers: new (not factorised) or known",
            ["kind"],
            registry=registry,
        )
        self.reloads = Counter(
            "coldstart_reloads", "Loads of the run", ["outcome"], registry=registry
        )
        self.load_seconds = Gauge(
            "coldstart_load_seconds", "How long the last load took", registry=registry
        )
        self.tracks = Gauge(
            "coldstart_tracks", "Tracks that can be recommended", ["kind"], registry=registry
        )
        self.listeners = Gauge("coldstart_listeners", "Known listeners", registry=registry)
        self.model = Info("coldstart_model", "What answers", registry=registry)

    def loaded(self, loaded: Loaded | None) -> None:
        """A run answers from now on; None: it couldn't be loaded."""
        if loaded is None:
            self.reloads.labels("refused").inc()
            return
        catalogue = loaded.recommender.catalogue
        self.tracks.labels("known").set(catalogue.warm)
        self.tracks.labels("new").set(len(catalogue) - catalogue.warm)
        factors = catalogue.factors
        self.listeners.set(0 if factors is None else len(factors.user_ids))
        self.load_seconds.set(loaded.seconds)
        self.model.info({"version": loaded.version, "run": loaded.recommender.run.folder.name})
        self.reloads.labels("loaded").inc()

    def answered(self, by: Sequence[str]) -> None:
        """Tracks were recommended; `plays` are known ones, all others new."""
        known = by.count("plays")
        self.shown.labels("known").inc(known)
        self.shown.labels("new").inc(len(by) - known)

    def text(self) -> bytes:
        """In Prometheus's format."""
        return generate_latest(self.registry)


class Clock:
    """Measures the requests of an application."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        """Of this application."""
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, and measure."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "other").replace(":path", "")
            self.measures.seconds.labels(route).observe(time.perf_counter() - start)
            method = scope["method"] if scope.get("route") else "other"
            self.measures.requests.labels(route, method, status).inc()
