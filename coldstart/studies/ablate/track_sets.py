"""Sets of tracks for the talk's "more data": SMALL, a sample of all, and LARGE, the most popular.

The split of the shards holds for all sets. So a test track of one set is never a training track of
another, and the popular tracks have the small set's test tracks kept out, as in the talk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from coldstart.commands.factorize import factorize
from coldstart.errors import Broken, InputError, one_of
from coldstart.files import StrPath, file_hash, fingerprint, write_json
from coldstart.shards.reading import Shards
from coldstart.tables import read_listens, write_table


@dataclass(frozen=True)
class Choice:
    """Which tracks a set has.

    Attributes:
        by: `random`: a sample of all tracks; `plays`: the most-played ones.
        share: of all tracks, above 0 and at most 1.
        seed: of the sample.
    """

    by: Literal["random", "plays"]
    share: float
    seed: int = 0


class Cell(NamedTuple):
    """What is trained on, and what is tested on.

    Attributes:
        about: `{"trained on": set}`, or nothing.
        data: overrides of the data's configuration.
        tests: suffix of the results' name → flags of that test.
    """

    about: dict[str, str]
    data: dict[str, str]
    tests: dict[str, list[str]]


def prepare(
    sets: Mapping[str, Choice] | None,
    shards: StrPath,
    listens: StrPath,
    options: Mapping[str, Any],
    root: Path,
) -> list[Cell]:
    """Choose the sets and factorise each; without sets, one cell that changes nothing.

    A set's factors come from its training tracks alone. All sets' test tracks are folded into
    them, so that a model of one set can be measured on the other's.

    Raises:
        InputError: a set has no training or no test track.
    """
    if not sets:
        return [Cell({}, {}, {"": []})]
    tracks = pl.DataFrame(Shards(shards).all_tracks()).select("track_id", "split")
    log = read_listens(listens, "plays", Broken(False))
    plays = tracks.join(
        log.group_by("track_id").agg(pl.col("plays").sum()),
        on="track_id",
        how="left",
        maintain_order="left",
    )["plays"].fill_null(0)
    members = {name: _members(name, choice, plays.to_numpy()) for name, choice in sets.items()}
    tested = np.any(list(members.values()), axis=0) & (tracks["split"] == "test").to_numpy()
    cells = []
    for name, mine in members.items():
        folder = root / "sets" / name
        own = tracks.filter(mine)
        counts = {side: int((own["split"] == side).sum()) for side in ("train", "val", "test")}
        if not counts["train"] or not counts["test"]:
            raise InputError(f"sets: {name} has {counts}; it needs training and test tracks")
        key = fingerprint(asdict(sets[name]), own.rows(), file_hash(listens), options)
        note = folder / "set.json"
        if not note.is_file() or json.loads(note.read_bytes())["key"] != key:
            write_table(folder / "tracks.parquet", own.select("track_id"))
            write_table(folder / "splits.parquet", tracks.filter(mine | tested))
            factorize(
                listens,
                out=folder / "factors",
                splits=folder / "splits.parquet",
                **options,
            )
            write_json(note, {"key": key, **asdict(sets[name]), **counts})
        print(f"{name}: " + ", ".join(f"{count:,} {side}" for side, count in counts.items()))
        tests = {
            f"-{other}": ["--data.test_tracks", str(root / "sets" / other / "tracks.parquet")]
            for other in sets
        }
        cells.append(Cell({"trained on": name}, {"factors": str(folder / "factors")}, tests))
    return cells


def _members(name: str, choice: Choice, plays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[N] bool: which tracks are in the set."""
    one_of(f"sets: {name}: by", choice.by, ("random", "plays"))
    if not 0 < choice.share <= 1:
        raise InputError(f"sets: {name}: share is above 0 and at most 1, not {choice.share}")
    order = np.random.default_rng(choice.seed).permutation(len(plays))
    if choice.by == "plays":
        order = order[np.argsort(-plays[order], kind="stable")]
    mine = np.zeros(len(plays), dtype=bool)
    mine[order[: round(choice.share * len(plays))]] = True
    return mine
