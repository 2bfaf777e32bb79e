"""Random tables through the real `shard`, random factors, and trainers that only train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, random_array

from coldstart.commands.shard import shard
from coldstart.factors.factors import VERSION, Factors

FACTORS = 64


class World(NamedTuple):
    """Folders of a dataset."""

    shards: Path
    factors: Path


def attribute_tables(folder: Path, tracks: int, attributes: int) -> dict[str, Any]:
    """Write random tables of tracks and attributes; → arguments for `shard`."""
    generator = np.random.default_rng(0)
    ids = [f"t{i:07d}" for i in range(tracks)]
    names = [f"a{i}" for i in range(attributes)]
    values = generator.random((tracks, attributes), dtype=np.float32)
    table = pl.DataFrame({"track_id": ids, "title": ids, "artist": ids})
    table.write_parquet(folder / "tracks.parquet")
    frame = pl.DataFrame(values, schema=names).insert_column(0, pl.Series("track_id", ids))
    frame.write_parquet(folder / "mgp.parquet")
    return {"tracks": folder / "tracks.parquet", "attributes": {"mgp": str(folder / "mgp.parquet")}}


def random_factors(folder: Path, splits: list[str], users: int = 1) -> Path:
    """Random vectors of tracks t0000000 … with these splits, and 20 listens a user."""
    generator = np.random.default_rng(1)
    tracks = len(splits)
    order = np.argsort(np.array(splits) != "train", kind="stable")
    sides = np.array(splits)[order]  # warm tracks first
    listens = random_array(
        (users, tracks), density=min(1, 20 / tracks), dtype=np.float32, rng=generator
    )
    Factors(
        track_ids=[f"t{i:07d}" for i in order],
        user_ids=[f"u{i}" for i in range(users)],
        tracks=generator.normal(size=(tracks, FACTORS)).astype(np.float32),
        users=generator.normal(size=(users, FACTORS)).astype(np.float32),
        folded=sides != "train",
        split=sides,
        listens=csr_matrix(listens),
        about={
            "version": VERSION,
            "protocol": "benchmark",
            "algorithm": "implicit",
            "factors": FACTORS,
            "regularization": 0.01,
        },
    ).save(folder)
    return folder


def attribute_world(folder: Path, tracks: int, attributes: int, shard_size: int = 1024) -> World:
    """A dataset of attributes, all of it for training."""
    tables = attribute_tables(folder, tracks, attributes)
    splits = ["train"] * tracks
    ids = pl.read_parquet(tables["tracks"])["track_id"]
    pl.DataFrame({"track_id": ids, "split": splits}).write_parquet(folder / "splits.parquet")
    shard(**tables, splits=folder / "splits.parquet", out=folder / "shards", shard_size=shard_size)
    return World(folder / "shards", random_factors(folder / "factors", splits))


def trainer_options() -> dict[str, Any]:
    """A trainer on the CPU that trains, and writes nothing."""
    return {
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "limit_val_batches": 0,
        "accelerator": "cpu",
    }
