"""The tracks nearest to one: by plays, by attributes and by a model."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.encoders.attributes import MGP, VectorReader
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.retrieval.popularity import Track, tracks_by_id
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import Run
from coldstart.shards.reading import Shards
from coldstart.targets.track_factors import TrackFactors


class Neighbour(NamedTuple):
    """One of the nearest tracks: its rank (1 = nearest) and cosine to the query, -1..1."""

    rank: int
    similarity: float
    track: Track


class Space(NamedTuple):
    """A query's neighbours in one space.

    Attributes:
        name: `CF`, the attributes' name, or `predicted`.
        why_not: why the query has no neighbours here; empty if it has.
        candidates: how many other tracks have a vector in this space.
        candidates_in_long_tail: how many of those are in the long tail.
        neighbours: those that were asked for, nearest first.
        ranks_left_out: ranks that were asked for and lie beyond the candidates.
    """

    name: str
    why_not: str
    candidates: int = 0
    candidates_in_long_tail: int = 0
    neighbours: Sequence[Neighbour] = ()
    ranks_left_out: Sequence[int] = ()

    @property
    def in_long_tail(self) -> int:
        """How many of the neighbours are in the long tail."""
        return sum(neighbour.track.long_tail for neighbour in self.neighbours)

    @property
    def median_rank(self) -> float | None:
        """Median popularity rank of the neighbours."""
        ranks = [neighbour.track.popularity_rank for neighbour in self.neighbours]
        return float(np.median(ranks)) if ranks else None


class Neighbours(NamedTuple):
    """What `neighbours` found.

    Attributes:
        query: the query itself.
        tracks: how many tracks there are, in the shards and the factors together.
        long_tail: how many of them are in the long tail.
        spaces: CF, attributes, predictions.
    """

    query: Track
    tracks: int
    long_tail: int
    spaces: list[Space]


def neighbours_of(run: Run, like: str, ranks: Sequence[int], attributes: str) -> Neighbours:
    """A track's nearest tracks by plays, by attributes and by a run's model.

    Args:
        run: a fitted run, with factors.
        like: id of a track in the shards or the factors.
        ranks: which neighbours, in ascending order; 1 is the nearest.
        attributes: the attributes' folder in the shards.

    Raises:
        InputError: there are no factors, there is no such track, or no space knows it.
    """
    data = run.data
    if data.factors is None:
        raise InputError(
            f"{run.folder}: this run has no factors, so no plays; name some with --factors"
        )
    tracks = tracks_by_id(data.shards, data.factors)
    if like not in tracks:
        raise InputError(f"{data.shards.shown}: {_no_such_track(like, tracks)}")
    vectors = (
        ("CF", _played(data.factors, like)),
        (attributes, _attributes(data.shards, attributes, like)),
        ("predicted", _predicted(run, like)),
    )
    spaces = [_nearest(name, like, list(ranks), tracks, part) for name, part in vectors]
    if all(space.why_not for space in spaces):
        reasons = "; ".join(f"{space.name}: {space.why_not}" for space in spaces)
        raise InputError(f"track {like!r} has no neighbours. {reasons}")
    tail = sum(track.long_tail for track in tracks.values())
    return Neighbours(tracks[like], len(tracks), tail, spaces)


def _no_such_track(like: str, tracks: dict[str, Track]) -> str:
    """A message with the ids, or else the titles, that come close."""
    ids = difflib.get_close_matches(like, tracks, n=3)
    if not ids:
        titles = {track.title.casefold(): track.track_id for track in tracks.values()}
        ids = [titles[title] for title in difflib.get_close_matches(like.casefold(), titles, n=3)]
    close = ", ".join(f"{tracks[i].track_id} ({tracks[i].title or 'no title'})" for i in ids)
    return f"there is no track {like!r}; " + (f"close: {close}" if close else "none comes close")


class _Vectors(NamedTuple):
    """The tracks that have a vector in a space: N ids, [N, F]."""

    ids: list[str]
    values: NDArray[np.float64]


def _played(factors: Factors, like: str) -> _Vectors | str:
    """What plays say; or why they say nothing of the query, as in the two functions below."""
    if like not in factors.row:
        return "nobody played it, so plays give it no place"
    if not factors.tracks[factors.row[like]].any():
        return "none of those who played it has training listens, so its vector is zero"
    return _Vectors(factors.track_ids, factors.tracks.astype(np.float64))


def _attributes(shards: Shards, name: str, like: str) -> _Vectors | str:
    """The attributes as the encoder MGP describes them: centred, on one common scale, but for
    columns in another unit.
    """
    if name not in shards.modalities:
        return f"the shards have no '{name}'; they have: {', '.join(sorted(shards.modalities))}"
    info, field = shards.info(name), f"{name}.npy"
    if field not in info["fields"] or not {"names", "mean", "std"} <= info.keys():
        return f"'{name}' is no table of attributes"
    have = [
        sample
        for split in shards.split_names
        for shard in range(len(shards.shard_sizes(split)))
        for sample in shards.samples(split, shard, [field])
        if field in sample and shards.is_in_use(sample["track_id"], split, shard)
    ]
    ids = [sample["track_id"] for sample in have]
    if like not in ids:
        return f"it has no '{name}'"
    encoder = MGP(hidden=(1,))
    encoder.build({fact: info[fact] for fact in ("names", "mean", "std", "units") if fact in info})
    values = encoder.describe(VectorReader(field, encoder.width)(have).values)
    if not values[ids.index(like)].any():
        return "it is average in every attribute, so it lies in no direction"
    return _Vectors(ids, values.double().numpy())


def _predicted(run: Run, like: str) -> _Vectors | str:
    if not isinstance(run.model.target, TrackFactors):
        return "this run's model doesn't predict factors"
    predictions = predictions_of(run)
    if like not in predictions.track_ids:
        return f"it has none of what the model reads ({', '.join(run.model.encoders)})"
    return _Vectors(predictions.track_ids, predictions.values.double().numpy())


def _nearest(
    name: str, like: str, ranks: list[int], tracks: dict[str, Track], vectors: _Vectors | str
) -> Space:
    """The query's neighbours at these ranks; of equals, the lower id comes first."""
    if isinstance(vectors, str):
        return Space(name, vectors)
    row, lengths = vectors.ids.index(like), np.linalg.norm(vectors.values, axis=1)
    # A zero vector has no direction; a track that was removed has a vector of its plays.
    others = [i for i in np.flatnonzero(lengths) if i != row and vectors.ids[i] in tracks]
    others.sort(key=lambda i: vectors.ids[i])
    cosine = vectors.values[others] / lengths[others, None] @ (vectors.values[row] / lengths[row])
    # Equal vectors must come out equal, in whatever order their products were added up.
    order = np.argsort(-np.round(cosine, 9), kind="stable")
    neighbours = [tracks[vectors.ids[others[i]]] for i in order]
    return Space(
        name,
        "",
        len(neighbours),
        sum(track.long_tail for track in neighbours),
        [
            Neighbour(rank, round(float(cosine[order[rank - 1]]), 4), neighbours[rank - 1])
            for rank in ranks
            if rank <= len(neighbours)
        ],
        [rank for rank in ranks if rank > len(neighbours)],
    )
