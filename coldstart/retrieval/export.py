"""Places of tracks and users as plain files, for other systems."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from coldstart.errors import InputError
from coldstart.files import StrPath, atomic_folder, writable, write_json
from coldstart.model.predictions import as_array
from coldstart.retrieval.catalogue import SOURCES
from coldstart.retrieval.recommender import Recommender


class Export(NamedTuple):
    """What was written.

    Attributes:
        folder: to which.
        tracks: how many.
        warm: how many of those have the place that their plays give.
        users: how many; 0 without factors.
        width: K.
        score: `cosine` or `dot`: how users and tracks are compared.
    """

    folder: Path
    tracks: int
    warm: int
    users: int
    width: int
    score: str


def export_vectors(recommender: Recommender, out: StrPath, overwrite: bool = False) -> Export:
    """Write the places of all tracks and users, so that a dot product gives the score.

    Where users and tracks are compared by cosine, all vectors have length 1. The folder holds
    `tracks.parquet` (track_id, vector, warm, by), `users.parquet` (user_id, vector), `tracks.npy`
    and `users.npy` [N, K] float32 with `tracks.ids.json` and `users.ids.json`, the ids of their
    rows, and `about.json`. Users of whose taste nothing is known are left out.

    Raises:
        InputError: the folder exists, and isn't to be replaced.
    """
    out = writable(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(f"{out}: exists already; pass --overwrite to replace it")
    catalogue = recommender.catalogue
    tracks = as_array(catalogue.scoring if catalogue.by_length else catalogue.directions)
    warm = np.arange(len(tracks)) < catalogue.warm
    by = pl.Series(SOURCES, dtype=pl.String).gather(catalogue.sources)
    has_users = catalogue.factors is not None
    ids, users = list[str](), np.zeros((0, catalogue.width), np.float32)
    if has_users:
        rows = np.flatnonzero(catalogue.has_taste)
        ids = [catalogue.known_factors().user_ids[row] for row in rows]
        users = as_array(catalogue.users)[rows]
    score = "dot" if catalogue.by_length else "cosine"
    with atomic_folder(out) as new:
        _write(new, "tracks", "track_id", catalogue.track_ids, tracks, {"warm": warm, "by": by})
        if has_users:
            _write(new, "users", "user_id", ids, users, {})
        about = {
            "tracks": len(tracks),
            "warm": int(warm.sum()),
            "users": len(ids),
            "width": catalogue.width,
            "score": score,
            "factors": catalogue.factors.about["id"] if catalogue.factors else None,
        }
        write_json(new / "about.json", about)
    return Export(out, len(tracks), int(warm.sum()), len(ids), catalogue.width, score)


def _write(
    folder: Path,
    name: str,
    id_column: str,
    ids: list[str],
    vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    more: dict[str, np.ndarray[tuple[int], np.dtype[np.bool_]] | pl.Series],
) -> None:
    """Write the same vectors as Parquet and as NPY."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    width = vectors.shape[1]
    column = pl.Series("vector", vectors, dtype=pl.Array(pl.Float32, width)).cast(
        pl.List(pl.Float32)  # fixed-size lists are unknown to Spark
    )
    table = pl.DataFrame({id_column: pl.Series(ids, dtype=pl.String), "vector": column, **more})
    table.write_parquet(folder / f"{name}.parquet")
    np.save(folder / f"{name}.npy", vectors, allow_pickle=False)
    write_json(folder / f"{name}.ids.json", ids)
