"""Who may ask, how much, and how often; and the headers that every response has."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coldstart.service.problems import problem
from coldstart.service.settings import ServiceSettings, is_loopback

BODY_SECONDS = 60
"""How long the body of a request may take to arrive."""

CLIENTS = 10_000
"""So many clients' rates are remembered."""

OPEN_TO_ALL = ("/health", "/ready", "/", "/page")
"""Paths that need no token: they say nothing of tracks or listeners."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

_ADDED = [
    (name.encode(), value.encode())
    for name, value in {**SECURITY_HEADERS, "cache-control": "no-store"}.items()
]
"""What a response gets that doesn't say otherwise itself."""


class _TooLargeError(Exception):
    """A body that is larger than allowed."""


class Gate:
    """Stands before the application, and refuses what may not reach it."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        """Before this application."""
        self.app, self.settings = app, settings
        self.running = 0
        self.rates = Rates(settings.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sender = _with_headers(send)
        refused = self._refused(scope, headers)
        if refused is not None:
            status, detail = refused
            extra = {"retry-after": "1"} if status in (429, 503) else {}
            if status == HTTPStatus.UNAUTHORIZED:
                extra["www-authenticate"] = 'Bearer realm="coldstart"'
            await problem(status, detail, extra)(scope, receive, sender)
            return
        self.running += 1
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await sender(message)

        try:
            await self.app(scope, self._limited(receive), send_on)
        except _TooLargeError:
            if started:
                raise
            await problem(413, self._too_large())(scope, receive, sender)
        except TimeoutError:
            if started:
                raise
            detail = f"the request's body took over {BODY_SECONDS} s to arrive"
            await problem(408, detail)(scope, receive, sender)
        finally:
            self.running -= 1

    def _refused(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """The status and the reason for a request that may not be answered."""
        settings, path = self.settings, scope["path"]
        if not self._is_own_name(headers.get("host", "")):
            return 400, "the header Host names another machine than this service's"
        if scope["method"] not in SAFE_METHODS and _is_foreign(headers):
            return 403, "a page of another origin may not change anything here"
        if settings.token is not None and not _is_open(path) and not self._has_token(headers):
            return 401, "a token is needed: header `Authorization: Bearer TOKEN`"
        if self.running >= settings.at_once and path not in ("/health", "/ready"):
            return 503, f"{settings.at_once} requests are being answered; come again in a second"
        client = scope.get("client")
        if client is not None and not self.rates.allow(client[0]):
            return 429, f"over {settings.rate:g} requests a second; come again in a second"
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._largest():
            return 413, self._too_large()
        return None

    def _is_own_name(self, host: str) -> bool:
        """A name that leads here by another's name server may not be used to read from here."""
        if not self.settings.loopback:
            return True  # behind any name, and with a token
        name = urlsplit(f"//{host}").hostname or ""
        return is_loopback(name)

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        own = (self.settings.token or "").encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), own)

    def _largest(self) -> int:
        return int(self.settings.upload_mb * 1_000_000)

    def _too_large(self) -> str:
        return f"the request's body is larger than {self.settings.upload_mb:g} MB"

    def _limited(self, receive: Receive) -> Receive:
        """`receive`, which ends when too much has come, or too slowly."""
        size, end = 0, time.monotonic() + BODY_SECONDS
        complete = False

        async def limited() -> Message:
            nonlocal size, complete
            if complete:  # only a disconnection can come any more, whenever it likes
                return await receive()
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                message = await receive()
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > self._largest():
                raise _TooLargeError
            return message

        return limited


class PathAsSent:
    """Gives an application the path as it was sent, not decoded.

    So `%2F` belongs to an id, and ids may end like a route: `/tracks/a%2Fsimilar` is the track
    `a/similar`, and `/tracks/a/similar` what is like the track `a`. It stands before the gate, so
    that the gate judges the path that a route is found by.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Before this application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self.app(scope, receive, send)


class Rates:
    """How many requests each client may still make: so many a second, twice as many at once."""

    def __init__(self, rate: float) -> None:
        """Of requests a second; 0: any."""
        self.rate = rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, client: str, now: float | None = None) -> bool:
        """Count a request, if it is allowed.

        >>> rates = Rates(1)
        >>> [rates.allow("a", now) for now in (0.0, 0.1, 0.2, 1.5)]
        [True, True, False, True]
        """
        if not self.rate:
            return True
        now = time.monotonic() if now is None else now
        most = max(2 * self.rate, 1.0)
        left, last = self._left.pop(client, (most, now))
        left = min(most, left + (now - last) * self.rate)
        allowed = left >= 1
        self._left[client] = (left - allowed, now)
        if len(self._left) > CLIENTS:
            self._left.popitem(last=False)
        return allowed


def _is_open(path: str) -> bool:
    return path in OPEN_TO_ALL or path.startswith("/page/")


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another origin asks."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host", "")


def _with_headers(send: Send) -> Send:
    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            names = {name.lower() for name, _ in own}
            message["headers"] = own + [pair for pair in _ADDED if pair[0] not in names]
        await send(message)

    return send_on
