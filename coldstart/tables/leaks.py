"""What leaks between the sides of a split: artists, and files of the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from coldstart.files import file_hash, unusable

Digester = Callable[[Path, pl.Series], pl.Series]
"""As `digests`: a folder and [N] paths of files → [N] digests."""


def digests(folder: Path, paths: pl.Series) -> pl.Series:
    """SHA-256 of files; null where there is no path, or no such file.

    Args:
        folder: what the paths are relative to.
        paths: [N] text.

    Returns:
        [N] binary, 32 bytes each.
    """

    def digest(path: str | None) -> bytes | None:
        place = folder / (path or "")
        return bytes.fromhex(file_hash(place)) if path and not unusable(place) else None

    return pl.Series("digest", [digest(path) for path in paths], dtype=pl.Binary)


def leaks(
    table: pl.DataFrame, folder: Path | None, digester: Digester = digests
) -> dict[str, object]:
    """Count the artists on both sides of train | test, and files of the same bytes on two sides.

    Args:
        table: a track table with a `split` column.
        folder: what its `audio` paths are relative to; None: files are not compared.
        digester: what reads the files.
    """
    in_training = pl.col("split") == "train"
    artists = table.filter(in_training)["artist_id"].drop_nulls().unique()
    others = table.filter(~in_training)["artist_id"].drop_nulls()
    held_out = others.filter(others.is_in(artists.implode()))
    report: dict[str, object] = {
        "artists_on_both_sides": held_out.n_unique(),
        "held_out_tracks_of_training_artists": len(held_out),
    }
    if folder is not None and "audio" in table.columns:
        report["duplicate_audio"] = _copies(
            table.select("track_id", "split", digest=digester(folder, table["audio"]))
        )
    return report


def _copies(table: pl.DataFrame) -> list[list[str]]:
    """Tracks whose files have the same bytes and which are on several sides, in the table's order.

    A file that is missing is reported by `shard`.
    """
    alike = table.filter(pl.col("digest").is_not_null() & pl.col("digest").is_duplicated())
    groups = alike.group_by("digest", maintain_order=True).agg(
        "track_id", sides=pl.col("split").n_unique()
    )
    copies: list[list[str]] = groups.filter(pl.col("sides") > 1)["track_id"].to_list()
    return copies
