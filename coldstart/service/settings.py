"""How a service is set up."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from coldstart.errors import InputError

if TYPE_CHECKING:
    from coldstart.retrieval.recommender import Placement, SearchMethod


class ServiceSettings(NamedTuple):
    """All that `serve` may be told.

    Attributes:
        run: folder of a fitted run.
        shards: other shards than the run's.
        factors: other factors than the run's.
        placement: where tracks lie that were not factorised, as for `recommend`.
        search: how the best tracks are found, as for `recommend`.
        host: address that is listened on.
        port: of it; 0: any that is free.
        token: what requests must bring, if there is one.
        play: whether the dataset's sound may be heard.
        upload_mb: largest body of a request, in MB.
        minutes: longest sound.
        at_once: requests that are answered at once; others are told to come again.
        rate: requests a second of one client; 0: as many as it likes.
        watch: seconds between two looks for changes of the run's files; 0: none.
    """

    run: str
    shards: str | None = None
    factors: str | None = None
    placement: Placement | None = None
    search: SearchMethod | None = None
    host: str = "127.0.0.1"
    port: int = 8700
    token: str | None = None
    play: bool = False
    upload_mb: float = 64
    minutes: float = 20
    at_once: int = 64
    rate: float = 0
    watch: float = 10

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Raise InputError for values out of range."""
        if not 0 <= self.port <= 65_535:
            raise InputError(f"port is a number from 0 to 65535, not {self.port}")
        for name in ("upload_mb", "minutes", "at_once"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is above 0, not {getattr(self, name)}")
        for name in ("rate", "watch"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is 0 or more, not {getattr(self, name)}")
        if not self.loopback and self.token is None:
            raise InputError(
                f"host {self.host} can be reached from other machines: whoever reaches it could "
                "search the catalogue, see what each listener is recommended, and add and remove "
                "tracks and listens. Name a file with a token that requests must bring: "
                "--token-file FILE"
            )


@lru_cache(64)  # each request asks it of its Host
def is_loopback(host: str) -> bool:
    """Whether an address is reached from the same machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
