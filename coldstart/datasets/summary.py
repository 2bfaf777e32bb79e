"""What a loader gives back, for the verb to print."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Summary(NamedTuple):
    """What a loader has written.

    Attributes:
        out: folder of the tables.
        rows: name of a table → its number of rows.
        kinds: name of a table → `attributes`, `embeddings` or `texts`, as `shard` takes it; "" for
            others.
        skipped: a sentence about the broken rows that were left out, or "".
        explicit: whether the listens are ratings, for `factorize --algorithm explicit`.
    """

    out: Path
    rows: dict[str, int]
    kinds: dict[str, str]
    skipped: str
    explicit: bool = False

    def path(self, name: str) -> Path:
        """Where a table lies."""
        return self.out / f"{name}.parquet"
