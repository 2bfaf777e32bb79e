"""One row of a benchmark's table: ours beside a floor that does only what must be done."""

from typing import NamedTuple


class Row(NamedTuple):
    """What was measured: both figures as text, their ratio, and the ratio that is wanted."""

    item: str
    ours: str
    floor: str
    ratio: float
    target: str
