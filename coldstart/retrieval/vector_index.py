"""Approximate search among vectors, by FAISS: a graph, or lists of compressed vectors.

An index is kept as plain arrays, and never in FAISS's own format: its reader trusts what it reads,
so that a damaged or a hostile file could end the process, or worse.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from coldstart.errors import InputError
from coldstart.forms.arrays import ArrayForm

VectorArray = NDArray[np.float32]
Bitmap = NDArray[np.uint8]
"""A bit for each entry, the first in the lowest bit."""

LINKS = 16
"""Neighbours of an entry in each layer of the graph; twice as many in the lowest."""

BUILD_WIDTH = 100
"""Candidates for the neighbours of a new entry: 40, FAISS's own, lost a tenth of the recall."""

BLOCK = 100_000
"""Entries that are checked or taken at once."""

LEAST_FOR_LISTS = 10_000
"""With fewer entries the lists' 256 codes a part can't be trained: 39 entries each."""

Forms = Mapping[str, ArrayForm]


def faiss() -> Any:
    """The library.

    Raises:
        InputError: it isn't installed.
    """
    try:
        import faiss as library
    except ModuleNotFoundError as error:
        raise InputError(
            "FAISS is missing, which an index needs; install it: pip install 'coldstart[index]'"
        ) from error
    return library


class VectorIndex(ABC):
    """Finds the entries with the largest dot products with a query, most of them.

    Attributes:
        kind: its name.
        efforts: what `effort` may be, from quick to thorough.
        depth: so many times as many entries are asked for as are needed, since the exact order of
            what is found is settled afterwards.
        width: K, of the vectors.
        effort: how much is looked at for a query.
    """

    kind: ClassVar[str]
    efforts: ClassVar[tuple[int, ...]]
    depth: ClassVar[int]
    forms: ClassVar[Forms]

    def __init__(self, width: int) -> None:
        """Empty."""
        self.width, self.effort = width, self.efforts[0]
        self._index: Any = None

    def __len__(self) -> int:
        """N, the number of entries."""
        return 0 if self._index is None else int(self._index.ntotal)

    @abstractmethod
    def train(self, vectors: VectorArray) -> None:
        """Learn what is needed before the first entry, from the entries to come, [N, K]."""

    def add(self, vectors: VectorArray) -> None:
        """Append entries, [n, K]."""
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def search(
        self, query: VectorArray, size: int, allowed: Bitmap, share: float = 1.0
    ) -> NDArray[np.int64]:
        """About the best entries for a query, at least `size` if as many are found.

        Args:
            query: [K].
            size: how many are wanted.
            allowed: which entries may be found.
            share: how large a share of all they are; among fewer, more has to be looked at.
        """
        selector, depth = faiss().IDSelectorBitmap(allowed), size * self.depth
        parameters = self._parameters(depth, math.ceil(self.effort / share), selector)
        vector = np.ascontiguousarray(query[None], np.float32)
        found = self._index.search(vector, depth, params=parameters)[1][0]
        return np.asarray(found[found >= 0], np.int64)

    @abstractmethod
    def _parameters(self, depth: int, effort: int, selector: Any) -> Any:
        """FAISS's parameters of a search."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `restore` needs, as `forms` says."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Fill an empty index.

        Raises:
            InputError: the arrays contradict each other.
        """

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Size of what is kept in memory."""


class Hnsw(VectorIndex):
    """Layers of a graph of neighbours, over vectors of 16-bit numbers.

    Source: Malkov and Yashunin, 2018, "Efficient and robust approximate nearest neighbor search
    using Hierarchical Navigable Small World graphs".
    """

    kind = "hnsw"
    efforts = (16, 32, 64, 128, 256, 512, 1024)
    depth = 2
    forms: ClassVar[Forms] = {
        "vectors": ArrayForm("F16", ("entries", "width")),
        "levels": ArrayForm("U8", ("entries",)),
        "links": ArrayForm("I32", ("links",)),
        "entry": ArrayForm("I64", (1,)),
    }

    def __init__(self, width: int) -> None:
        """Empty."""
        super().__init__(width)
        library = faiss()
        self._index = library.IndexHNSWSQ(
            width, library.ScalarQuantizer.QT_fp16, LINKS, library.METRIC_INNER_PRODUCT
        )
        self._index.train(np.zeros((1, width), np.float32))
        self._index.hnsw.efConstruction = BUILD_WIDTH

    def train(self, vectors: VectorArray) -> None:
        """Nothing is learnt."""

    def _parameters(self, depth: int, effort: int, selector: Any) -> Any:
        return faiss().SearchParametersHNSW(efSearch=max(effort, depth), sel=selector)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """VectorArray, layers of each entry, and its neighbours in each."""
        graph, storage = self._index.hnsw, faiss().downcast_index(self._index.storage)
        codes = faiss().vector_to_array(storage.codes)
        return {
            "vectors": codes.view(np.float16).reshape(len(self), self.width),
            "levels": faiss().vector_to_array(graph.levels).astype(np.uint8),
            "links": faiss().vector_to_array(graph.neighbors).astype(np.int32),
            "entry": np.array([graph.entry_point], np.int64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Check that no link leads out of the graph, nor out of its layer, and take it."""
        library, graph = faiss(), self._index.hnsw
        levels, links, entry = arrays["levels"], arrays["links"], int(arrays["entry"][0])
        until = library.vector_to_array(graph.cum_nneighbor_per_level).astype(np.int64)
        if fault := _fault_of_graph(levels, links, entry, until):
            raise InputError(fault)
        offsets = np.concatenate([[0], np.cumsum(until[levels])]).astype(np.uint64)
        storage = library.downcast_index(self._index.storage)
        for start in range(0, len(levels), BLOCK):
            storage.add(arrays["vectors"][start : start + BLOCK].astype(np.float32))
        library.copy_array_to_vector(levels.astype(np.int32), graph.levels)
        library.copy_array_to_vector(offsets, graph.offsets)
        library.copy_array_to_vector(np.ascontiguousarray(links), graph.neighbors)
        graph.entry_point, graph.max_level = entry, int(levels.max()) - 1
        self._index.ntotal = len(levels)

    @property
    def bytes(self) -> int:
        """VectorArray, links, and where each entry's links begin."""
        links = int(self._index.hnsw.neighbors.size())
        return len(self) * (2 * self.width + 12) + 4 * links


def _fault_of_graph(
    levels: NDArray[np.uint8], links: NDArray[np.int32], entry: int, until: NDArray[np.int64]
) -> str:
    """What is wrong with a graph, or ""; `until`: links of an entry up to each level."""
    count = len(levels)
    if not count or not 0 <= entry < count:
        return f"entry {entry} is none of the graph's {count:,}"
    if levels.min() < 1 or levels.max() >= len(until):
        return "an entry's number of layers is out of range"
    if levels[entry] != levels.max():
        return "the entry isn't in the highest layer"
    if len(links) != int(until[levels].sum()):
        return f"{len(links):,} links, not {int(until[levels].sum()):,}"
    # A link's layer: links of an entry are those of layer 0, then of layer 1, and so on.
    patterns = [
        np.concatenate([np.full(until[i + 1] - until[i], i, np.uint8) for i in range(level)])
        for level in range(1, int(levels.max()) + 1)
    ]
    starts = np.concatenate([[0], np.cumsum(until[levels])])
    for begin in range(0, count, BLOCK):
        part = levels[begin : begin + BLOCK]
        layers = np.concatenate([patterns[level - 1] for level in part.tolist()])
        to = links[starts[begin] : starts[begin + len(part)]]
        if to.min() < -1 or to.max() >= count:
            return "a link leads out of the graph"
        there = to >= 0
        if (levels[to[there]] <= layers[there]).any():
            return "a link leads out of its layer"
    return ""


class IvfPq(VectorIndex):
    """Lists of entries around centres, each entry compressed to a byte for some of its numbers.

    Source: Jégou, Douze and Schmid, 2011, "Product quantization for nearest neighbor search".
    """

    kind = "ivfpq"
    efforts = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    depth = 16
    forms: ClassVar[Forms] = {
        "centres": ArrayForm("F32", ("lists", "width")),
        "codebook": ArrayForm("F32", ("codebook",)),
        "codes": ArrayForm("U8", ("entries", "parts")),
        "list_of": ArrayForm("I32", ("entries",)),
    }

    @property
    def parts(self) -> int:
        """How many bytes a vector becomes: one for every four numbers, or a few more."""
        return max(m for m in range(1, max(2, self.width // 4 + 1)) if self.width % m == 0)

    def train(self, vectors: VectorArray) -> None:
        """Find the centres, and the codes for what differs from them.

        Raises:
            InputError: there are too few entries.
        """
        if len(vectors) < LEAST_FOR_LISTS:
            raise InputError(
                f"kind ivfpq is for at least {LEAST_FOR_LISTS:,} tracks, here are "
                f"{len(vectors):,}; take hnsw, or search exactly"
            )
        lists = min(round(4 * math.sqrt(len(vectors))), len(vectors) // 39)
        self._empty(lists)
        self._index.cp.seed = 0
        rows = np.random.default_rng(0).permutation(len(vectors))[: 64 * lists]
        self._index.train(np.ascontiguousarray(vectors[np.sort(rows)], np.float32))

    def _empty(self, lists: int) -> None:
        library = faiss()
        self._centres = library.IndexFlatIP(self.width)  # FAISS doesn't hold it
        self._index = library.IndexIVFPQ(
            self._centres, self.width, lists, self.parts, 8, library.METRIC_INNER_PRODUCT
        )

    def _parameters(self, depth: int, effort: int, selector: Any) -> Any:
        return faiss().SearchParametersIVF(nprobe=min(effort, self._index.nlist), sel=selector)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Centres, codes, and the list of each entry."""
        library, index, parts = faiss(), self._index, self.parts
        codes = np.zeros((len(self), parts), np.uint8)
        list_of = np.zeros(len(self), np.int32)
        for number in range(index.nlist):
            if size := index.invlists.list_size(number):
                ids = library.rev_swig_ptr(index.invlists.get_ids(number), size)
                raw = library.rev_swig_ptr(index.invlists.get_codes(number), size * parts)
                codes[ids], list_of[ids] = raw.reshape(size, parts), number
        return {
            "centres": self._centres.reconstruct_n(0, index.nlist),
            "codebook": library.vector_to_array(index.pq.centroids),
            "codes": codes,
            "list_of": list_of,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Put the codes into their lists."""
        library = faiss()
        lists = len(arrays["centres"])
        if not lists or arrays["codes"].shape[1] != self.parts:
            raise InputError(f"codes of {arrays['codes'].shape[1]} parts, not {self.parts}")
        if len(arrays["codebook"]) != 256 * self.width:
            raise InputError(f"{len(arrays['codebook'])} numbers of codes, not {256 * self.width}")
        list_of = arrays["list_of"]
        if not len(list_of) or list_of.min() < 0 or list_of.max() >= lists:
            raise InputError(f"an entry is in none of the {lists:,} lists")
        self._empty(lists)
        self._centres.add(np.ascontiguousarray(arrays["centres"]))
        library.copy_array_to_vector(
            np.ascontiguousarray(arrays["codebook"]), self._index.pq.centroids
        )
        order = np.argsort(list_of, kind="stable").astype(np.int64)
        ends = np.searchsorted(list_of[order], np.arange(1, lists + 1))
        for number, ids in enumerate(np.split(order, ends[:-1])):
            if len(ids):
                codes = np.ascontiguousarray(arrays["codes"][ids])
                self._index.invlists.add_entries(
                    number, len(ids), library.swig_ptr(ids), library.swig_ptr(codes)
                )
        self._index.is_trained, self._index.ntotal = True, len(list_of)

    @property
    def bytes(self) -> int:
        """Codes, ids and centres."""
        numbers = (int(self._index.nlist) + 256) * self.width
        return len(self) * (self.parts + 8) + 4 * numbers


KINDS: dict[str, type[VectorIndex]] = {each.kind: each for each in (Hnsw, IvfPq)}
"""Name → kind of index."""
