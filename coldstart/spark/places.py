"""Where a run and its data lie, as all machines of a cluster see them."""

from __future__ import annotations

from typing import NamedTuple

from coldstart.files import absolute


class RunPlaces(NamedTuple):
    """Which run, as `open_run` takes it.

    Attributes:
        run: its folder.
        shards: other shards than the run's.
        factors: other factors.
    """

    run: str
    shards: str | None = None
    factors: str | None = None

    def everywhere(self) -> RunPlaces:
        """The same by absolute paths and addresses: executors run in folders of their own.

        >>> RunPlaces("/runs/a", "s3://bucket/shards").everywhere().shards
        's3://bucket/shards'
        """
        shards, factors = (absolute(place) if place else None for place in self[1:])
        return RunPlaces(absolute(self.run), shards, factors)
