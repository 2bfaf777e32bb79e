"""Midnights of the calendar, as microseconds since 1970 in UTC and on a clock of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY = 86_400_000_000
"""Microseconds of a day."""

FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""Of the years 1 to 9999, in days since 1970: what Python, and people, can write as dates."""

REMEDY = "Write times as YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SS with an offset such as +01:00"


class Times(NamedTuple):
    """Microseconds since 1970, on the clock of the cell's own zone, and in UTC.

    Attributes:
        local: [N] int64.
        utc: [N] int64.
        valid: [N] bool: whether the cell is a time.
    """

    local: NDArray[np.int64]
    utc: NDArray[np.int64]
    valid: NDArray[np.bool_]


def midnights(year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]) -> Times:
    """Midnights of the calendar's days; invalid ones aren't valid."""
    valid = (year >= 0) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    months = np.where(valid, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    date = months.astype("datetime64[D]") + np.where(valid, day - 1, 0)
    valid &= date.astype("datetime64[M]") == months  # no 30 February
    micros = date.astype(np.int64) * DAY
    return Times(micros, micros, valid)
