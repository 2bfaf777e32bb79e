"""Why something at an address doesn't come, or can't be written: for people, and how often to try.

The errors of fsspec's packages are told by what they inherit and by their names: a package that
isn't installed can't be imported to ask for its own.
"""

from __future__ import annotations

import errno
import socket
from functools import partial
from textwrap import shorten
from typing import NamedTuple

from coldstart.errors import InputError

TRIES = 4
"""Where the reason may soon pass by itself."""

ADVICE = "write an address like https://host/folder or s3://bucket/folder"
AGAIN = (
    "see that the server and the network are well, and give the same command again: what has come "
    "already is not transferred twice"
)
CREDENTIALS = "make it public, or put your credentials where fsspec looks for them"


class AbsentError(InputError):
    """There is nothing at the address."""


class Failure(NamedTuple):
    """Why a try failed.

    Attributes:
        reason: for people.
        advice: what they can do.
        tries: how many tries this is worth.
        error: what was raised.
        kind: what is raised in the end.
    """

    reason: str
    advice: str
    tries: int
    error: Exception
    kind: type[InputError] = InputError


def failure_of(error: Exception, what: str = "fetched") -> Failure:
    """What an error of fsspec's, or of the package below it, means.

    Args:
        error: what was raised.
        what: was to be done.

    >>> failure_of(FileNotFoundError("bucket/a")).reason
    'there is no such file'
    >>> failure_of(OSError(errno.EBUSY, "Please reduce your request rate.")).tries
    4
    """
    import aiohttp

    text = str(error) or type(error).__name__
    status = _status_of(error)
    number, cause = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{status} {error.message}"
    text = shorten(text, 200, placeholder=" …")
    said = partial(Failure, error=error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return said(
            "there is no such file",
            "see that address and upload are complete",
            1,
            kind=AbsentError,
        )
    if any("Credential" in name for name in names):  # before a server is asked
        return said(f"no credentials are found ({text})", CREDENTIALS, 1)
    if isinstance(error, PermissionError) or status in (401, 403):
        return said(f"access is refused ({text})", CREDENTIALS, 1)
    if isinstance(error, ImportError):
        return said(f"can't be {what} ({text})", "install what is missing beside coldstart", 1)
    if "Redirect" in type(error).__name__:  # aiohttp has several, in each version others
        return said(f"is redirected too often, or to no http address ({text})", ADVICE, 1)
    if number == socket.EAI_NONAME:
        return said(f"there is no such host ({text})", ADVICE, 1)
    if number in (socket.EAI_AGAIN, socket.EAI_FAIL):  # often after ten seconds or more
        return said(f"no name server knows the host ({text})", AGAIN, 2)
    if number == errno.EFBIG:
        return said(f"is refused, since {cause}", "see that it is the right address", 1)
    if number in (errno.ENOSPC, errno.EDQUOT):
        advice = "make room, or let COLDSTART_CACHE name a folder with more"
        return said(f"doesn't fit on the disk ({cause})", advice, 1)
    if isinstance(error, TimeoutError) or names & {"ConnectTimeoutError", "ReadTimeoutError"}:
        return said(f"nobody answers, or too slowly ({text})", AGAIN, 2)
    if status >= 500 or status in (408, 425, 429) or number == errno.EBUSY:
        return said(f"the server is in trouble ({text})", AGAIN, TRIES)
    passing = (ConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
    broken = isinstance(error, passing) or names & {"ConnectionError", "HTTPClientError"}
    if broken and not any("SSL" in name for name in names):
        kinds = (aiohttp.ClientConnectorError, ConnectionRefusedError)
        nobody = isinstance(error, kinds) or "EndpointConnectionError" in names
        reason = "nobody answers" if nobody else "the connection broke off"
        return said(f"{reason} ({text})", AGAIN, TRIES)
    return said(f"can't be {what} ({text})", ADVICE, 1)


def _status_of(error: Exception) -> int:
    """The status of the HTTP reply that an error comes from; 0 if there is none."""
    for each in (error, error.__cause__):
        reply = getattr(each, "response", None)  # of S3's packages, a mapping
        if isinstance(reply, dict):
            return int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    status = getattr(error, "status", None) or getattr(error, "status_code", None)
    return status if isinstance(status, int) else 0
