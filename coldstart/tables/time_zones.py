"""Clocks of zones and offsets → UTC."""

from __future__ import annotations

import logging
import zoneinfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.tables.calendar import Times

log = logging.getLogger(__name__)


def in_utc(times: Times, zone: pl.Series, has_clock: pl.Series, place: str) -> Times:
    """Shift times that have an offset or a zone to UTC; those of an unknown zone aren't valid."""
    if zone.null_count() == len(zone):
        return times
    naive = (has_clock & zone.is_null()).to_numpy() & times.valid
    if naive.any():
        log.warning(
            f"{place}: {naive.sum():,} times have neither offset nor zone, others have one; the "
            "former are taken as UTC"
        )
    utc, valid = times.utc.copy(), times.valid.copy()
    for name in zone.drop_nulls().unique():
        rows = np.flatnonzero((zone == name).fill_null(value=False).to_numpy())
        shifted = _shifted(times.local[rows], name)
        utc[rows] = shifted.fill_null(0).to_numpy()
        valid[rows] &= shifted.is_not_null().to_numpy()
    return Times(times.local, utc, valid)


def _shifted(local: NDArray[np.int64], zone: str) -> pl.Series:
    """Microseconds on a zone's clock → in UTC; null where the zone's clock has no such instant, or
    two of them.
    """
    micros = pl.Series(local)
    offset = zone.upper().removeprefix("UTC").removeprefix("GMT")
    if offset in ("", "Z"):
        return micros
    if offset[0] in "+-":
        digits = offset[1:].replace(":", "").ljust(4, "0")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        if minutes > 18 * 60 or int(digits[2:]) > 59:
            return pl.Series([None] * len(local), dtype=pl.Int64)
        return micros - (minutes if offset[0] == "+" else -minutes) * 60_000_000
    if zone not in zoneinfo.available_timezones():
        return pl.Series([None] * len(local), dtype=pl.Int64)
    clock = micros.cast(pl.Datetime("us")).dt.replace_time_zone(
        zone, ambiguous="null", non_existent="null"
    )
    return clock.dt.convert_time_zone("UTC").to_physical()
