"""All that is the same for every query: places of tracks, their table, and the listeners."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional as F

from coldstart.data.track_data import TrackData
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.model.ensemble import Ensemble
from coldstart.model.net import Net
from coldstart.model.predictions import Predictions
from coldstart.model.space import TrackPlaces, track_places
from coldstart.retrieval.columns import with_types
from coldstart.shards.track_rows import artists_of
from coldstart.targets.track_factors import TrackFactors

SOURCES = ("plays", "content", "both")
"""What a track's place is known by."""


class Catalogue:
    """The tracks that can be recommended, and the listeners that they can be recommended to.

    Made once for a model and its data. Rows of everything below are those of `track_ids`: first the
    warm tracks, whose places their plays give, then the cold ones, whose places their content
    gives.

    Attributes:
        track_ids: N ids.
        vectors: [N, K] places of the tracks.
        warm: how many of the tracks, the first ones, were factorised.
        joined: how content and plays of the cold ones were joined; None: content alone.
        tracks: what the dataset says of each track that may be recommended.
        removed: ids of those that may not any more.
        factors: those of the model's training, with all listens since; None without.
        by_length: whether a listener's score is a dot product, and no cosine.
        name: of the dataset, for messages.
        inputs: names of what the model reads, for messages.
    """

    def __init__(
        self,
        places: TrackPlaces,
        tracks: Sequence[Mapping[str, Any]],
        factors: Factors | None = None,
        *,
        removed: Collection[str] = (),
        by_length: bool = False,
        name: str = "",
        inputs: Sequence[str] = (),
    ) -> None:
        """Join places and tables."""
        self.places = places.without(frozenset(removed))
        self.track_ids, self.vectors = self.places.track_ids, self.places.vectors
        self.warm, self.joined = self.places.warm, self.places.joined
        self.tracks, self.removed, self.factors = tracks, frozenset(removed), factors
        self.by_length, self.name, self.inputs = by_length, name, tuple(inputs)

    def __len__(self) -> int:
        """How many tracks have a place."""
        return len(self.track_ids)

    @property
    def width(self) -> int:
        """K."""
        return int(self.vectors.shape[1])

    @cached_property
    def row(self) -> dict[str, int]:
        """Track id → row."""
        return {track: row for row, track in enumerate(self.track_ids)}

    @cached_property
    def directions(self) -> Tensor:
        """[N, K] places of length 1, or 0."""
        return F.normalize(self.vectors, dim=1)

    @cached_property
    def scoring(self) -> Tensor:
        """[N, K] places whose dot product with a listener's vector is the score."""
        return self.places.scoring

    @cached_property
    def sources(self) -> NDArray[np.int8]:
        """[N] what each place is known by: an index of `SOURCES`."""
        sources = np.zeros(len(self), np.int8)
        sources[self.warm :] = SOURCES.index("content")
        if self.joined is not None:
            moved = self.joined.listeners > 0
            sources[self.warm :][moved] = SOURCES.index("both")
        return sources

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """[K, K] of the warm tracks' places: qᵀq summed over them."""
        places = self.vectors[: self.warm].double().numpy()
        return np.asarray(places.T @ places)

    @cached_property
    def typical_length(self) -> float:
        """The median length of a warm track's place."""
        return float(self.vectors[: self.warm].norm(dim=1).median())

    @cached_property
    def in_use(self) -> pl.DataFrame:
        """The dataset's tracks that aren't withdrawn, with whatever their table said of them."""
        return with_types(pl.DataFrame(list(self.tracks), infer_schema_length=None))

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row for each track: track_id, title, artist, plays, warm, and the dataset's columns."""
        places = pl.DataFrame(
            {
                "track_id": self.track_ids,
                "plays": self._plays(),
                "warm": np.arange(len(self)) < self.warm,
            }
        )
        others = self.in_use.drop("plays", "warm", strict=False)
        table = places.join(others, on="track_id", how="left", maintain_order="left")
        return table.with_columns(pl.col("title", "artist").fill_null(""))

    @cached_property
    def labels(self) -> pl.DataFrame:
        """Of `table`, what a list of recommendations shows: id, title, artist, plays."""
        return self.table.select("track_id", "title", "artist", "plays")

    @cached_property
    def artist_codes(self) -> NDArray[np.int64]:
        """[N] a number for each artist; tracks whose artist isn't known have one each."""
        columns = [name for name in ("artist_id", "artist") if name in self.table.columns]
        names = self.table.select(pl.coalesce(pl.col(columns).replace("", None)))
        artists = names.to_series().to_list()
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(name, len(numbers)) if name else -1 for name in artists]
        array = np.array(codes, np.int64)
        unknown = np.flatnonzero(array < 0)
        array[unknown] = len(numbers) + np.arange(len(unknown))
        return array

    def _plays(self) -> NDArray[np.int64]:
        """[N] plays in the log; 0 without factors."""
        if self.factors is None:
            return np.zeros(len(self), np.int64)
        rows = self.factors.rows(self.track_ids)
        return np.where(rows >= 0, self.factors.plays[rows], 0).astype(np.int64)

    def known_factors(self) -> Factors:
        """The factors.

        Raises:
            InputError: there are none.
        """
        if self.factors is None:
            raise InputError("there are no factors here, so there are no users; name --factors")
        return self.factors

    @cached_property
    def user_row(self) -> dict[str, int]:
        """User id → row of the factors' users."""
        return {user: row for row, user in enumerate(self.known_factors().user_ids)}

    @cached_property
    def users(self) -> Tensor:
        """[U, K] listeners' vectors: directions where scores are cosines; zeros for no taste."""
        users = torch.from_numpy(self.known_factors().users)
        return users if self.by_length else F.normalize(users, dim=1)

    @cached_property
    def has_taste(self) -> NDArray[np.bool_]:
        """[U] whether anything is known of a listener's taste."""
        return np.asarray(self.users.any(dim=1).numpy())

    @cached_property
    def average_user(self) -> Tensor:
        """[K] the mean of the listeners' vectors: what people like on the whole."""
        return self.users[torch.from_numpy(self.has_taste)].mean(0)

    @cached_property
    def played(self) -> csr_matrix:
        """[U, N] what each listener has played, held-out and withheld listens included."""
        factors = self.known_factors()
        listens = factors.listens
        if factors.withheld is not None:
            listens = listens + factors.withheld
        # A column for each place; tracks without one are left out.
        columns = np.array([self.row.get(track, -1) for track in factors.track_ids], np.int64)
        table: Any = listens.tocoo()
        places = columns[table.col]
        present = places >= 0
        pairs = (table.row[present], places[present])
        shape = (len(factors.user_ids), len(self))
        return csr_matrix((np.ones(int(present.sum()), np.float32), pairs), shape=shape)

    def played_by(self, row: int) -> NDArray[np.int64]:
        """Rows of the tracks that a listener has played."""
        start, end = self.played.indptr[row : row + 2]
        return self.played.indices[start:end].astype(np.int64)


def catalogue_of(
    model: Net,
    data: TrackData,
    predictions: Predictions,
    factors: Factors | None,
    ensemble: Ensemble | None = None,
) -> Catalogue:
    """The catalogue of a model and its data.

    Args:
        model: it must predict factors.
        data: the dataset.
        predictions: of its tracks.
        factors: those of the model's training, with all listens since.
        ensemble: how content and plays are joined; None: cold tracks have their content alone.

    Raises:
        InputError: the model predicts something else, or the factors lack what an ensemble needs.
    """
    target = must_predict_factors(model)
    shards = data.shards
    tracks = shards.tracks_in_use()
    return Catalogue(
        track_places(predictions, factors, ensemble, artists_of(tracks)),
        tracks,
        factors,
        removed=shards.removed,
        by_length=target.length or ensemble is not None,
        name=shards.shown,
        inputs=list(model.encoders),
    )


def must_predict_factors(model: Net) -> TrackFactors:
    """The model's target, if it predicts places in the space; else InputError."""
    if isinstance(model.target, TrackFactors):
        return model.target
    raise InputError(
        f"this model predicts {type(model.target).__name__}; it doesn't predict factors, so it "
        "can't recommend"
    )
