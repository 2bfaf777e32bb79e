"""Runs the application."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from coldstart.errors import InputError
from coldstart.service.app import make_app
from coldstart.service.settings import ServiceSettings
from coldstart.sigterm import saving

DRAIN = 10
"""Seconds that requests in flight have to end when the service is stopped."""

HEAD_BYTES = 1 << 16
"""Largest head of a request: its first line and its headers."""


class BoundedProtocol(HttpToolsProtocol):
    """The parser itself has no limit: a head without an end would fill the memory."""

    pending = 0

    def data_received(self, data: bytes) -> None:
        """Parse; end a connection that sends more than a head without being one."""
        self.pending += len(data)
        super().data_received(data)
        if self.pending > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.pending = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """The body's size is limited where it is read."""
        self.pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next head may come."""
        self.pending = 0
        super().on_message_complete()


def serve_forever(settings: ServiceSettings, say: Callable[[str], object]) -> None:
    """Load the run, and answer until a signal comes; requests in flight are ended first.

    Args:
        settings: of the service.
        say: is given what people want to know.

    Raises:
        InputError: the run can't be loaded, or the address can't be listened on.
    """
    listening = _listen(settings)  # before loading, which may take long
    try:
        app = make_app(settings)
        host, port = listening.getsockname()[:2]
        loaded = app.state.service.current
        catalogue = loaded.recommender.catalogue
        say(
            f"{settings.run}: {len(catalogue):,} tracks, {catalogue.warm:,} of them known, loaded "
            f"in {loaded.seconds:.1f} s"
        )
        if not settings.loopback:
            say(
                "other machines can reach this: with the token, they search the catalogue, see "
                "what listeners are recommended, and add and remove tracks and listens. Put a "
                "server with TLS before it"
            )
        name = f"[{host}]" if ":" in host else host
        say(f"listening: http://{name}:{port}/   (Ctrl-C ends it)")
        config = uvicorn.Config(
            app,
            log_config=None,  # the command line's, which uvicorn would shut down
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN,
            http=BoundedProtocol,
        )
        with saving():  # the server answers signals itself: requests in flight come to their end
            uvicorn.Server(config).run([listening])
    finally:
        listening.close()


def _listen(settings: ServiceSettings) -> socket.socket:
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{settings.host}:{settings.port} can't be listened on ({reason}); name another --host "
            "or --port"
        ) from error
    listening.listen(1024)
    return listening
