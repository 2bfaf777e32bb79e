"""Approximate search among a catalogue's tracks: it shortens the candidates, and the exact answer
is found among those that are left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.errors import one_of
from coldstart.model.predictions import as_array
from coldstart.reporting.progress import Progress
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.query import Query, scores_of
from coldstart.retrieval.selection import ListPlan, Selection
from coldstart.retrieval.vector_index import KINDS, Bitmap, VectorArray, VectorIndex

IndexKind = Literal["hnsw", "ivfpq"]
"""See `vector_index`."""

BLOCK = 10_000
"""Tracks that are added or compared at once."""

SMALL_SHARE = 0.1
"""A selection of a smaller share of the tracks is searched exactly: that takes less time than to
pass over all the others."""

TRACES = 8
"""Numbers by which it is noticed that a place has moved: its products with random vectors."""

MOVED = 1e-3
"""Traces that differ by more are of another place; most places have a length near 1."""


class PlaceIndex:
    """An index of one matrix of places, whose dot products with a query are scores.

    Attributes:
        index: of the places.
        scale: they are multiplied by it, so that most have a length near 1.
        traces: [E, T] of each entry.
    """

    def __init__(self, index: VectorIndex, scale: float, traces: VectorArray) -> None:
        """Put together."""
        self.index, self.scale, self.traces = index, scale, traces

    def traces_of(self, places: VectorArray) -> VectorArray:
        """[n, T] of places [n, K], which are scaled already."""
        return places @ _trace_vectors(places.shape[1])

    def add(self, places: VectorArray) -> None:
        """Append entries for places [n, K]."""
        scaled = places * np.float32(self.scale)
        self.index.add(scaled)
        self.traces = np.concatenate([self.traces, self.traces_of(scaled)])


def _trace_vectors(width: int) -> VectorArray:
    return np.random.default_rng(0).normal(size=(width, TRACES)).astype(np.float32)


class TrackIndex:
    """Indexes of a catalogue's tracks.

    Attributes:
        catalogue: whose tracks they are.
        ids: of the tracks of E entries; "" where an entry's track has gone or has moved.
        places: `directions`, by which tracks are compared; and, where a listener's score is a dot
            product, `scoring`.
        rows: [E] the catalogue's row of each entry; -1 for none.
    """

    def __init__(
        self, catalogue: Catalogue, ids: Sequence[str], places: dict[str, PlaceIndex]
    ) -> None:
        """Match entries and tracks; those without a track, or of other places, become `gone`."""
        self.catalogue, self.places = catalogue, places
        self.rows = np.array([catalogue.row.get(track, -1) for track in ids], np.int64)
        for name, place in places.items():
            for part in _blocks(len(self.rows)):
                rows = self.rows[part]
                vectors = _matrix(catalogue, name)[torch.from_numpy(np.maximum(rows, 0))]
                traces = place.traces_of(as_array(vectors) * np.float32(place.scale))
                same = np.isclose(traces, place.traces[part], rtol=MOVED, atol=MOVED).all(1)
                self.rows[part] = np.where(same, rows, -1)
        self._begin()

    def _begin(self) -> None:
        """What follows from `rows`."""
        self.entries = np.full(len(self.catalogue), -1, np.int64)
        here = self.rows >= 0
        self.entries[self.rows[here]] = np.flatnonzero(here)
        self._bitmaps: WeakKeyDictionary[Selection, Bitmap] = WeakKeyDictionary()

    @property
    def ids(self) -> list[str]:
        """Of the track of each entry; "" for none."""
        names = [*self.catalogue.track_ids, ""]
        return [names[row] for row in self.rows.tolist()]

    @property
    def kind(self) -> str:
        """Name of the kind."""
        return self.places["directions"].index.kind

    @property
    def gone(self) -> int:
        """How many entries are no track's any more."""
        return int((self.rows < 0).sum())

    @property
    def lacking(self) -> NDArray[np.int64]:
        """Rows of tracks that have no entry."""
        return np.flatnonzero(self.entries < 0)

    @property
    def bytes(self) -> int:
        """Size of what is kept in memory for it."""
        indexes = sum(place.index.bytes + place.traces.nbytes for place in self.places.values())
        return indexes + self.rows.nbytes + self.entries.nbytes

    def add(self, rows: NDArray[np.int64]) -> None:
        """Make entries for tracks that have none."""
        parts = list(_blocks(len(rows)))
        with Progress("indexing", len(rows) * len(self.places), "tracks") as display:
            for name, place in self.places.items():
                for part in parts:
                    place.add(as_array(_matrix(self.catalogue, name)[torch.from_numpy(rows[part])]))
                    display.add(part.stop - part.start)
        self.rows = np.concatenate([self.rows, rows])
        self._begin()

    def shortlist(self, query: Query, plan: ListPlan) -> Selection:
        """Of the candidates, those among which the answer is; all, where there are few.

        The best of them are found exactly afterwards, so an approximate search can miss a track,
        but never gives one a wrong score, nor one that may not be recommended.
        """
        selection, k, mix = plan
        if k < 1 or len(selection) < SMALL_SHARE * len(self.catalogue):
            return selection
        if "scoring" not in self.places and query.by_length:
            return selection
        groups = [selection] if mix.new_share is None else selection.groups
        rows = [self._best(query, plan._replace(selection=group)) for group in groups]
        return Selection(self.catalogue, np.unique(np.concatenate(rows)))

    def _best(self, query: Query, plan: ListPlan) -> NDArray[np.int64]:
        """Rows of candidates that are enough for a list of the best."""
        group, size = plan.selection, plan.k
        few = len(group) < SMALL_SHARE * len(self.catalogue)
        scores = scores_of(query, group) if few else None
        while size < SMALL_SHARE * len(group):
            rows = self._search(query, group, size) if scores is None else _top(scores, group, size)
            if self._are_enough(rows, plan):
                return rows
            size *= 4
        return group.rows

    def _are_enough(self, rows: NDArray[np.int64], plan: ListPlan) -> bool:
        if plan.mix.per_artist is None:
            return len(rows) >= plan.k
        _, counts = np.unique(self.catalogue.artist_codes[rows], return_counts=True)
        return int(np.minimum(counts, plan.mix.per_artist).sum()) >= plan.k

    def _search(self, query: Query, group: Selection, size: int) -> NDArray[np.int64]:
        """About the best rows of a group."""
        allowed = self._bitmaps.get(group)
        if allowed is None:
            mask = (self.rows >= 0) & (group.positions(self.rows) >= 0)
            allowed = self._bitmaps[group] = np.packbits(mask, bitorder="little")
        excluded = self.entries[query.excluded]
        excluded = excluded[excluded >= 0]
        if len(excluded):
            allowed = allowed.copy()
            bits = np.left_shift(1, excluded & 7).astype(np.uint8)
            np.bitwise_and.at(allowed, excluded >> 3, ~bits)
        index = self.places["scoring" if query.by_length else "directions"].index
        share = len(group) / len(self.catalogue)
        return self.rows[index.search(as_array(query.vector), size, allowed, share)]


def _top(scores: Tensor, group: Selection, size: int) -> NDArray[np.int64]:
    """Rows of the best of a group, exactly."""
    values, positions = scores.topk(min(size, len(scores)))
    rows: NDArray[np.int64] = group.rows[positions[values > -float("inf")].numpy()]
    return rows


def _matrix(catalogue: Catalogue, name: str) -> Tensor:
    """[N, K] the places that an index is of."""
    return catalogue.scoring if name == "scoring" else catalogue.directions


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))


def place_names(catalogue: Catalogue) -> list[str]:
    """Names of the matrices that a catalogue's index is of."""
    return ["directions", "scoring"] if catalogue.by_length else ["directions"]


def build_index(catalogue: Catalogue, kind: IndexKind = "hnsw") -> TrackIndex:
    """Index all tracks of a catalogue.

    Entries are added by all cores, whose turns nobody decides: two indexes of the same catalogue
    find almost, but not exactly, the same.

    Args:
        catalogue: the tracks.
        kind: `hnsw`: a graph, quick and thorough, with about 400 bytes a track at 128 factors;
            `ivfpq`: compressed, about a tenth of that, and less thorough.

    Raises:
        InputError: FAISS isn't installed, or there are too few tracks for the kind.
    """
    one_of("kind", kind, tuple(KINDS))
    places: dict[str, PlaceIndex] = {}
    for name in place_names(catalogue):
        matrix = as_array(_matrix(catalogue, name))
        lengths = np.linalg.norm(matrix, axis=1)
        typical = float(np.median(lengths[lengths > 0])) if lengths.any() else 1.0
        index = KINDS[kind](matrix.shape[1])
        index.train(matrix * np.float32(1 / typical))
        places[name] = PlaceIndex(index, 1 / typical, np.zeros((0, TRACES), np.float32))
    built = TrackIndex(catalogue, [], places)
    built.add(np.arange(len(catalogue)))
    return built
