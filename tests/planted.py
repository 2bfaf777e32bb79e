"""A catalogue and a log whose right answers are known: of plain arrays, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from helpers import World
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.datasets.synthetic import make_catalogue
from coldstart.factors.factors import Factors
from coldstart.factors.folding import half_step, settings_of
from coldstart.model.space import TrackPlaces
from coldstart.retrieval.catalogue import Catalogue

ABOUT = {
    "algorithm": "implicit",
    "factors": 6,
    "iterations": 5,
    "seed": 0,
    "regularization": 0.05,
    "weighting": "log",
    "alpha": 2.0,
    "id": "planted",
}


def planted(
    tracks: int = 40, users: int = 12, width: int = 6, seed: int = 0, **options: Any
) -> Catalogue:
    """Half of the tracks are warm; the last listener has no taste; five artists; two countries."""
    generator = np.random.default_rng(seed)
    warm = tracks // 2
    vectors = generator.normal(size=(tracks, width)).astype(np.float32)
    ids = [f"t{i:03d}" for i in range(tracks)]
    plays = (generator.random((users, warm)) < 0.3).astype(np.float32)
    tastes = generator.normal(size=(users, width)).astype(np.float32)
    plays[-1], tastes[-1] = 0, 0
    factors = Factors(
        track_ids=ids[:warm],
        user_ids=[f"u{i:02d}" for i in range(users)],
        tracks=vectors[:warm],
        users=tastes,
        folded=np.zeros(warm, bool),
        split=np.full(warm, "train"),
        listens=csr_matrix(plays),
        about=ABOUT,
    )
    rows = [
        {
            "track_id": track,
            "title": f"Title {i}",
            "artist": f"Artist {i % 5}",
            "release_date": f"20{i:02d}-01-01",
            "country": "AT" if i % 2 else "DE",
        }
        for i, track in enumerate(ids)
    ]
    places = TrackPlaces(ids, torch.from_numpy(vectors), warm)
    return Catalogue(places, rows, factors, name="planted", **options)


class PlantedLog(NamedTuple):
    """A log whose listeners and tracks have known places.

    Attributes:
        factors: 100 factorised tracks, and others that were folded in: `val` and `test`.
        ids: those of one side: `val` or `test`.
        truth: [N, K] of all tracks in the order of the factors, as the log was drawn by them.
        artists: track id → artist; the tracks of an artist are about equally popular.
    """

    factors: Factors
    ids: dict[str, list[str]]
    truth: NDArray[np.float32]
    artists: dict[str, str]

    def vectors(self, side: str) -> NDArray[np.float32]:
        """[N, K] folded-in places of one side's tracks."""
        return self.factors.tracks[self.factors.rows(self.ids[side])]


def planted_log(
    val: int = 30, test: int = 30, users: int = 200, seed: int = 0, algorithm: str = "implicit"
) -> PlantedLog:
    """Each listener has one of six tastes, each track is for one; the last has heard nothing."""
    generator, width, warm = np.random.default_rng(seed), 6, 100
    split = np.repeat(["train", "val", "test"], [warm, val, test])
    taste = generator.integers(0, width, len(split))
    artist = generator.integers(0, 10, len(split))
    truth = np.full((len(split), width), 0.04)
    truth[np.arange(len(split)), taste] = 0.6
    truth *= (0.3 + 0.14 * artist)[:, None]
    own = 0.1 * generator.random((users, width))
    own[np.arange(users), np.arange(users) % width] += 0.9
    plays = (generator.random((users, len(split))) < own @ truth.T).astype(np.float32)
    plays[-1], own[-1] = 0, 0
    tastes = own.astype(np.float32)
    if algorithm == "explicit":
        plays = np.where(plays > 0, np.round(1 + 4 * (own @ truth.T)), 0).astype(np.float32)
    ids = [f"{side}{number:03d}" for number, side in enumerate(split)]
    about = {**ABOUT, "algorithm": algorithm, "protocol": "strict cold start"}
    listens = csr_matrix(plays)
    factors = Factors(
        track_ids=ids,
        user_ids=[f"u{number:03d}" for number in range(users)],
        tracks=half_step(listens.T.tocsr(), tastes, settings_of(about)),
        users=tastes,
        folded=split != "train",
        split=split,
        listens=listens,
        about=about,
    )
    sides = {side: [track for track in ids if track.startswith(side)] for side in ("val", "test")}
    artists = {track: f"artist {number}" for track, number in zip(ids, artist, strict=True)}
    return PlantedLog(factors, sides, truth.astype(np.float32), artists)


def label_world(root: Path) -> World:
    """A label's tables and their data, without sound: of 200 tracks, 40 each are held out."""
    world = World(root, root / "tables", root / "splits.csv", root / "factors", root / "shards")
    make_catalogue(world.catalogue, tracks=200, users=60, seed=0, audio=False)
    tracks = world.catalogue / "tracks.parquet"
    split(tracks, out=world.splits, fractions=(0.6, 0.2, 0.2))
    listens = world.catalogue / "listens.parquet"
    factorize(listens, out=world.factors, splits=world.splits, factors=8, hold_out=0.1)
    mgp = {"mgp": str(world.catalogue / "mgp.parquet")}
    shard(tracks, out=world.shards, splits=world.splits, attributes=mgp, shard_size=50)
    return world
