"""From a query to ranked tracks: what the verb `recommend` and the model's method share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from coldstart.data.datamodule import ColdStartData
from coldstart.errors import InputError, one_of
from coldstart.factors.factors import Factors
from coldstart.model.explain import BY_PLAYS, Explain, Likeness, Why
from coldstart.model.net import Net
from coldstart.model.predictions import Predictions
from coldstart.model.space import Known, known_tracks
from coldstart.ranking import top_k
from coldstart.targets.track_factors import TrackFactors

Candidates = Literal["cold", "warm", "all"]


Vector = Tensor | NDArray[np.floating] | Sequence[float]


class Recommendation(NamedTuple):
    """One recommended track.

    Attributes:
        rank: 1 is best.
        track_id: its id.
        title: its title.
        artist: its artist.
        plays: in the listening log; a held-out track's were hidden from the factorisation.
        similarity: cosine between the query's vector and the track's, -1..1; for a user of a model
            in which lengths count, the dot product: how much they are predicted to like it, about
            0..1 with implicit factors.
        why: what the track's content added to it, if that was asked.
    """

    rank: int
    track_id: str
    title: str
    artist: str
    plays: int
    similarity: float
    why: Why | None = None


def answer(
    model: Net,
    data: ColdStartData,
    predict: Callable[[], Predictions],
    *,
    like: str | None = None,
    user: str | None = None,
    vector: Vector | None = None,
    k: int = 10,
    candidates: Candidates | Collection[str] = "cold",
    explain: Explain | None = None,
) -> list[Recommendation]:
    """Rank tracks by cosine to a track, to a user, or to any vector of the space.

    For a user of a model in which lengths count (`TrackFactors`), by dot product.

    Args:
        model: it must predict factors.
        data: the shards that say what tracks are called, and the factors, if any.
        predict: gives the predicted vectors; called once the question has been checked.
        like: id of a track.
        user: id of a listener; tracks that they have played are left out.
        vector: [K].
        k: how many.
        candidates: `cold`, `warm` or `all`, or ids of tracks.
        explain: says why the cold ones among the best were found; a warm one's plays decide.

    Returns:
        At most k, best first.

    Raises:
        InputError: not one query, an unknown one, or nothing to choose from.
    """
    if sum(query is not None for query in (like, user, vector)) != 1:
        raise InputError("name one query: like, user or vector")
    if isinstance(candidates, str):
        one_of("candidates", candidates, ("cold", "warm", "all"))
    if k < 1:
        raise InputError("k is at least 1")
    if not isinstance(model.target, TrackFactors):
        raise InputError(
            f"this model predicts {type(model.target).__name__}; it doesn't predict factors, so it "
            "can't recommend"
        )
    known = known_tracks(predict(), data.factors)
    leave_out: set[str] = set()
    if like is not None:
        query, leave_out = _like(known, like, model, data), {like}
    elif user is not None:
        query, leave_out = _taste(user, data.factors)
    else:
        query = _direction(vector, known.vectors.shape[1])
    chosen = _choose(known, candidates, data)
    rows = np.array([i for i in chosen if known.track_ids[i] not in leave_out], dtype=np.int64)
    if len(rows) == 0:
        kind = f"{candidates} track" if isinstance(candidates, str) else "track of those named"
        raise InputError(
            f"there is no {kind} to recommend in {data.shards.folder}; candidates `all` takes warm "
            "and cold ones"
        )
    vectors = known.vectors[rows]
    likeness = _dot_with(query) if user is not None and model.target.length else _cosine_to(query)
    similarity = likeness(vectors)
    best = next(top_k(lambda _: similarity[None], 1, len(rows), k))[1][0]
    about = {track["track_id"]: track for track in data.shards.all_tracks()}
    plays = data.factors.plays if data.factors else np.zeros(0)
    factor_row = data.factors.row if data.factors else {}
    cold = [known.track_ids[i] for i in rows[best.tolist()] if not known.warm[i]]
    reasons = explain(likeness, cold) if explain and cold else {}
    found = []
    for rank, i in enumerate(best.tolist(), start=1):
        track_id = known.track_ids[rows[i]]
        track = about.get(track_id, {"title": "", "artist": ""})
        row = factor_row.get(track_id)
        found.append(
            Recommendation(
                rank,
                track_id,
                track["title"] or "",
                track["artist"] or "",
                int(plays[row]) if row is not None else 0,
                round(float(similarity[i]), 4),
                reasons.get(track_id, BY_PLAYS) if explain else None,
            )
        )
    return found


def _cosine_to(query: Tensor) -> Likeness:
    direction = F.normalize(query, dim=0)
    return lambda vectors: F.normalize(vectors, dim=1) @ direction.to(vectors)


def _dot_with(query: Tensor) -> Likeness:
    return lambda vectors: vectors @ query.to(vectors)


def _choose(
    known: Known, candidates: Candidates | Collection[str], data: ColdStartData
) -> NDArray[np.int64]:
    """Rows of the candidates."""
    if isinstance(candidates, str):
        masks = {"cold": ~known.warm, "warm": known.warm, "all": np.ones_like(known.warm)}
        return np.flatnonzero(masks[candidates])
    named = set(candidates)
    there = named.intersection(known.track_ids)
    if there != named:
        strange = named - there - {track["track_id"] for track in data.shards.all_tracks()}
        if strange:
            raise InputError(
                f"{data.shards.folder}: there is no track {sorted(strange)[0]!r} among the "
                f"candidates' {len(named):,}"
            )
    return np.array([i for i, track in enumerate(known.track_ids) if track in there], np.int64)


def _like(known: Known, like: str, model: Net, data: ColdStartData) -> Tensor:
    if like in known.track_ids:
        return known.vectors[known.track_ids.index(like)]
    if any(track["track_id"] == like for track in data.shards.all_tracks()):
        raise InputError(
            f"nothing is known of track {like!r}: it has no plays, and none of what this model "
            f"reads ({', '.join(model.encoders)})"
        )
    raise InputError(f"{data.shards.folder}: there is no track {like!r}")


def _taste(user: str, factors: Factors | None) -> tuple[Tensor, set[str]]:
    """A listener's vector, and what they have played."""
    if factors is None or user not in factors.user_ids:
        raise InputError(f"there is no user {user!r} in the factors")
    row = factors.user_ids.index(user)
    heard = factors.listens[row]
    played = {factors.track_ids[i] for i in heard.indices if not factors.folded[i]}
    if not played:
        raise InputError(
            f"user {user!r} has no training listens, so nothing is known of their taste"
        )
    return torch.from_numpy(factors.users[row]), played


def _direction(vector: Vector | None, width: int) -> Tensor:
    made = torch.as_tensor(vector, dtype=torch.float32).detach().cpu()
    if made.shape != (width,) or not made.isfinite().all() or not made.any():
        raise InputError(
            f"vector: shape {tuple(made.shape)}; needed are {width} finite numbers, not all zero, "
            "such as a row of what `embed` gives"
        )
    return made
