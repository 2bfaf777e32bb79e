"""The verb `serve`: a run behind HTTP, with a page to listen and search."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from coldstart.errors import InputError
from coldstart.files import StrPath, unusable

STRANGERS_RATE = 20
"""Requests a second of a client on another machine, unless another number is named."""

EXTRA = "the service's packages are missing ({name}); install them: pip install 'coldstart[serve]'"


def serve(
    *,
    run: StrPath,
    host: str = "127.0.0.1",
    port: int = 8700,
    token_file: StrPath | None = None,
    shards: str | None = None,
    factors: str | None = None,
    placement: Literal["ensemble", "either"] | None = None,
    search: Literal["exact", "index"] | None = None,
    play: bool = False,
    upload_mb: float = 64,
    minutes: float = 20,
    at_once: int = 64,
    rate: float | None = None,
    watch: float = 10,
) -> None:
    """Answer over HTTP until it is stopped, and show a page at `/`.

    The run is loaded once. New tracks, withdrawn ones and listens that come by HTTP are written as
    `add`, `remove` and `update` write them. /openapi.json lists all that can be asked.

    Args:
        run: folder of a fitted run.
        host: address to listen on; any but this machine's own needs a token.
        port: to listen on; 0: any that is free.
        token_file: text file that holds the token which requests must bring.
        shards: other shards than the run's, to recommend from.
        factors: other factors than the run's.
        placement: where a track lies that was not factorised: `ensemble`, the default: where its
            content and its plays put it; `either`: where its content puts it.
        search: how the best tracks are found, as for `recommend`: `exact`, or by the run's `index`.
        play: whether the dataset's sound may be heard; mind whose rights it is under.
        upload_mb: largest request, in MB.
        minutes: longest sound file.
        at_once: requests that are answered at once; more are told to come again.
        rate: requests a second of one client; by default any number from this machine alone, and 20
            if others can reach the service.
        watch: seconds between two looks whether the run's files have changed, such as by `update`
            or `add`; then they are loaded beside the old ones, and take over. 0: only on request.
    """
    from coldstart.service.allocation import steady

    steady()  # before anything starts threads
    from coldstart.service.settings import ServiceSettings, is_loopback

    settings = ServiceSettings(
        run=str(run),
        shards=shards,
        factors=factors,
        placement=placement,
        search=search,
        host=host,
        port=port,
        token=None if token_file is None else _token(Path(token_file)),
        play=play,
        upload_mb=upload_mb,
        minutes=minutes,
        at_once=at_once,
        rate=(0 if is_loopback(host) else STRANGERS_RATE) if rate is None else rate,
        watch=watch,
    )
    settings.check()
    try:
        from coldstart.service.server import serve_forever
    except ModuleNotFoundError as error:
        raise InputError(EXTRA.format(name=error.name)) from error
    serve_forever(settings, print)


def _token(path: Path) -> str:
    if reason := unusable(path):
        raise InputError(f"--token-file: {path}: {reason}")
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"--token-file: {path}: a token is one word of at least 16 letters, digits and signs; "
            "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token
