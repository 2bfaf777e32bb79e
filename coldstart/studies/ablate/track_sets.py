"""Sets of tracks for the talk's "more data": SMALL, a sample of all, and LARGE, the most popular.

One split holds for all sets. So a test track of one set is never a training track of another, and
the small set's test tracks are no training tracks of the large one, as in the talk.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from coldstart.commands.factorize import factorize
from coldstart.errors import Broken, InputError, one_of
from coldstart.files import StrPath, file_hash, fingerprint, write_json
from coldstart.shards.reading import Shards
from coldstart.studies.ablate.design import TrackSet
from coldstart.tables.listens import read_listens
from coldstart.tables.splits import SPLITS
from coldstart.tables.table import write_table

log = logging.getLogger(__name__)

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


class Cell(NamedTuple):
    """What is trained on, and what is tested on.

    Attributes:
        about: `{"trained_on": set}`, or nothing.
        data: overrides of the data's configuration.
        tests: suffix of the results' name → flags of that test.
    """

    about: dict[str, str]
    data: dict[str, str]
    tests: dict[str, list[str]]


def prepare(
    sets: Mapping[str, TrackSet] | None,
    shards: StrPath,
    listens: StrPath,
    options: Mapping[str, Any],
    root: Path,
) -> list[Cell]:
    """Choose the tracks of each set and factorise its listens.

    A set's factors come from its training tracks alone. All sets' test tracks are folded into
    them, so that a model of one set can be measured on the other's.

    Args:
        sets: name → which tracks.
        shards: folder; its split is that of all sets.
        listens: the listening log.
        options: of `factorize`.
        root: the ablation's folder.

    Returns:
        A cell for each set; without sets, one cell that changes nothing.

    Raises:
        InputError: a set has no training or no test track.
    """
    if not sets:
        return [Cell({}, {}, {"": []})]
    tracks = pl.DataFrame(Shards(shards).all_tracks()).select("track_id", "split")
    plays = _plays(tracks, listens)
    masks = {name: _mask(name, track_set, plays) for name, track_set in sets.items()}
    tested = np.any(list(masks.values()), axis=0) & (tracks["split"] == "test").to_numpy()
    for name, mask in masks.items():
        splits = tracks.filter(mask | tested)
        _prepare_set(name, sets[name], tracks.filter(mask), splits, listens, options, root)
    tests = {
        f"-{name}": ["--data.test_tracks", str(root / "sets" / name / "tracks.parquet")]
        for name in sets
    }
    return [
        Cell({"trained_on": name}, {"factors": str(root / "sets" / name / "factors")}, tests)
        for name in sets
    ]


def _prepare_set(
    name: str,
    track_set: TrackSet,
    members: pl.DataFrame,
    splits: pl.DataFrame,
    listens: StrPath,
    options: Mapping[str, Any],
    root: Path,
) -> None:
    """Write a set's tracks and factors, unless they exist already."""
    folder = root / "sets" / name
    counts = {side: int((members["split"] == side).sum()) for side in SPLITS}
    if not counts["train"] or not counts["test"]:
        raise InputError(f"sets: {name} has {counts}; it needs training and test tracks")
    key = fingerprint(asdict(track_set), members.rows(), file_hash(listens), options)
    note = folder / "set.json"
    if not note.is_file() or json.loads(note.read_bytes())["key"] != key:
        write_table(folder / "tracks.parquet", members.select("track_id"))
        write_table(folder / "splits.parquet", splits)
        factorize(listens, out=folder / "factors", splits=folder / "splits.parquet", **options)
        write_json(note, {"key": key, **asdict(track_set), **counts})
    log.info(f"{name}: " + ", ".join(f"{count:,} {side}" for side, count in counts.items()))


def _plays(tracks: pl.DataFrame, listens: StrPath) -> np.ndarray[Any, Any]:
    """[N] plays of each track by all users."""
    played = read_listens(listens, "plays", Broken(False)).group_by("track_id")
    totals = played.agg(pl.col("plays").sum())
    joined = tracks.join(totals, on="track_id", how="left", maintain_order="left")
    return joined["plays"].fill_null(0).to_numpy()


def _mask(name: str, track_set: TrackSet, plays: np.ndarray[Any, Any]) -> Mask:
    """[N] which tracks are in the set."""
    one_of(f"sets: {name}: by", track_set.by, ("random", "plays"))
    if not 0 < track_set.share <= 1:
        raise InputError(f"sets: {name}: share is above 0 and at most 1, not {track_set.share}")
    order = np.random.default_rng(track_set.seed).permutation(len(plays))
    if track_set.by == "plays":
        order = order[np.argsort(-plays[order], kind="stable")]
    mask = np.zeros(len(plays), dtype=bool)
    mask[order[: round(track_set.share * len(plays))]] = True
    return mask
