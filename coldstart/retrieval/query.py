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
from coldstart.model.explain import BY_PLAYS, Explain, Similarity, Why
from coldstart.model.net import Net
from coldstart.model.predictions import Predictions
from coldstart.model.space import TrackPlaces, track_places
from coldstart.ranking import top_k
from coldstart.targets.track_factors import TrackFactors

Candidates = Literal["cold", "warm", "all"]
"""Tracks that may be recommended, by whether they were factorised."""

Vector = Tensor | NDArray[np.floating] | Sequence[float]
"""A query: a vector [K] of the space."""


class Recommendation(NamedTuple):
    """One recommended track.

    Attributes:
        rank: 1 is best.
        track_id: its id.
        title: its title.
        artist: its artist.
        plays: in the listening log; a held-out track's plays were hidden from the factorisation.
        similarity: cosine between the query's vector and the track's, -1..1; for a user of a model
            in which lengths count, the dot product: how much they are predicted to like it, about
            0..1 with implicit factors.
        why: what the track's content added to the similarity, if that was asked for.
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
        data: the shards with the tracks' titles and artists, and the factors, if any.
        predict: returns the predicted vectors; called after the arguments have been checked.
        like: id of a track.
        user: id of a listener; tracks that they have played are left out.
        vector: [K].
        k: how many.
        candidates: `cold`, `warm` or `all`, or ids of tracks.
        explain: explains the scores of the cold ones among the best; warm ones have only plays.

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
    places = track_places(predict(), data.factors)
    excluded: set[str] = set()
    if like is not None:
        query, excluded = _place_of(places, like, model, data), {like}
    elif user is not None:
        query, excluded = _taste(user, data.factors)
    else:
        query = _direction(vector, places.vectors.shape[1])
    rows = _candidate_rows(places, candidates, data)
    rows = np.array([row for row in rows if places.track_ids[row] not in excluded], dtype=np.int64)
    if len(rows) == 0:
        kind = f"{candidates} track" if isinstance(candidates, str) else "track of those named"
        raise InputError(
            f"there is no {kind} to recommend in {data.shards.folder}; candidates `all` takes warm "
            "and cold ones"
        )
    similarity = _dot_with(query) if user is not None and model.target.length else _cosine_to(query)
    scores = similarity(places.vectors[rows])
    best = _best(scores, k)
    cold = [places.track_ids[row] for row in rows[best] if not places.warm[row]]
    reasons = explain(similarity, cold) if explain and cold else {}
    tracks = {track["track_id"]: track for track in data.shards.all_tracks()}
    recommendations = []
    for rank, i in enumerate(best, start=1):
        track_id = places.track_ids[rows[i]]
        track = tracks.get(track_id, {"title": "", "artist": ""})
        recommendations.append(
            Recommendation(
                rank,
                track_id,
                track["title"] or "",
                track["artist"] or "",
                _plays(track_id, data.factors),
                round(float(scores[i]), 4),
                reasons.get(track_id, BY_PLAYS) if explain else None,
            )
        )
    return recommendations


def _cosine_to(query: Tensor) -> Similarity:
    direction = F.normalize(query, dim=0)
    return lambda vectors: F.normalize(vectors, dim=1) @ direction.to(vectors)


def _dot_with(query: Tensor) -> Similarity:
    return lambda vectors: vectors @ query.to(vectors)


def _best(scores: Tensor, k: int) -> list[int]:
    """Positions of the k highest of these scores [N], best first."""
    _, best = next(top_k(lambda _: scores[None], 1, len(scores), k))
    positions: list[int] = best[0].tolist()
    return positions


def _plays(track: str, factors: Factors | None) -> int:
    """Of a track in the listening log; 0 without factors."""
    if factors is None or track not in factors.row:
        return 0
    return int(factors.plays[factors.row[track]])


def _candidate_rows(
    places: TrackPlaces, candidates: Candidates | Collection[str], data: ColdStartData
) -> NDArray[np.int64]:
    """Rows of the candidates among all places."""
    if isinstance(candidates, str):
        masks = {"cold": ~places.warm, "warm": places.warm, "all": np.ones_like(places.warm)}
        return np.flatnonzero(masks[candidates])
    named = set(candidates)
    with_place = named.intersection(places.track_ids)
    if with_place != named:
        unknown = named - with_place - {track["track_id"] for track in data.shards.all_tracks()}
        if unknown:
            raise InputError(
                f"{data.shards.folder}: there is no track {sorted(unknown)[0]!r} among the "
                f"candidates' {len(named):,}"
            )
    rows = [row for row, track in enumerate(places.track_ids) if track in with_place]
    return np.array(rows, np.int64)


def _place_of(places: TrackPlaces, like: str, model: Net, data: ColdStartData) -> Tensor:
    """The vector of a track."""
    if like in places.track_ids:
        return places.vectors[places.track_ids.index(like)]
    if any(track["track_id"] == like for track in data.shards.all_tracks()):
        raise InputError(
            f"nothing is known of track {like!r}: it has no plays, and none of what this model "
            f"reads ({', '.join(model.encoders)})"
        )
    raise InputError(f"{data.shards.folder}: there is no track {like!r}")


def _taste(user: str, factors: Factors | None) -> tuple[Tensor, set[str]]:
    """A listener's vector, and all that they have played: held-out and withheld tracks, too."""
    if factors is None or user not in factors.user_ids:
        raise InputError(f"there is no user {user!r} in the factors")
    row = factors.user_ids.index(user)
    listens = factors.listens[row].indices
    if not len(listens) or factors.folded[listens].all():
        raise InputError(
            f"user {user!r} has no training listens, so nothing is known of their taste"
        )
    played = {factors.track_ids[i] for i in listens}
    if factors.withheld is not None:
        played |= {factors.track_ids[i] for i in factors.withheld[row].indices}
    return torch.from_numpy(factors.users[row]), played


def _direction(vector: Vector | None, width: int) -> Tensor:
    """A vector that was passed, [width] on the CPU."""
    query = torch.as_tensor(vector, dtype=torch.float32).detach().cpu()
    if query.shape != (width,) or not query.isfinite().all() or not query.any():
        raise InputError(
            f"vector: shape {tuple(query.shape)}; needed are {width} finite numbers, not all zero, "
            "such as a row of what `embed` gives"
        )
    return query
