"""A catalogue whose right answers are known: made from plain arrays, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from coldstart.factors.factors import Factors
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
