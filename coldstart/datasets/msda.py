"""MSD-A, the data of Oramas et al. (DLRS 2017) → tables: the authors' split and their vectors.

Zenodo publishes an md5 of each file, which is asked for. The names of the files in the folder
`dlrs-data` are those in the authors' code (github.com/sergiooramas/tartarus). The name of its
archive is unknown to us: fetch that one by hand.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from tokenize import TokenError

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.datasets.fetching import Zenodo
from coldstart.datasets.originals import READ_ERRORS, About, Original, OriginalPaths, Originals
from coldstart.datasets.reading import Tables, pieces, plays_of
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, InputError, one_line
from coldstart.files import StrPath

RECORD = "https://zenodo.org/record/831348/files"
TRIPLETS = "triplets_msd-a.tar.gz"
SETS = ("train", "val", "test")
TRAIN = 0.8
"""Share of the authors' training list that their nets see; the rest is for early stopping."""
DAMAGED = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    SyntaxError,
    TokenError,
    MemoryError,
)
"""What numpy and scipy raise of a damaged matrix."""
ABOUT = About(
    name="msd-a",
    title="MSD-A (Oramas et al., DLRS 2017)",
    page="https://doi.org/10.5281/zenodo.831348",
    terms="see the record; its plays come from the Taste Profile: research only, non-commercial",
    citation=(
        "Oramas, Nieto, Sordo, Serra: A Deep Multimodal Approach for Cold-start Music "
        "Recommendation, DLRS 2017, arXiv:1706.09739"
    ),
    remotes=(Zenodo(TRIPLETS, f"{RECORD}/{TRIPLETS}?download=1"),),
)


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    items: str,
    triplets: str,
    embeddings: list[str] | None,
    skip_broken: bool,
) -> Summary:
    """See `msd_a` in `loaders.py`."""
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    lists = _lists(files, items)
    ids = [item for members in lists.values() for item in members]
    tracks = pl.DataFrame({"track_id": ids}).unique(maintain_order=True)
    tables.stream("listens", plays_of(_triplets(files, items, triplets), tracks, broken))
    tables.write("tracks", _with_names(files, tracks, broken))
    tables.write("splits", _splits(lists))
    for name in embeddings or []:
        tables.stream(
            name.replace("-", "_"), _vectors(files, items, name, lists), kind="embeddings"
        )
    return tables.summary()


def _lists(files: Originals, items: str) -> dict[str, list[str]]:
    """The authors' lists of ids, one for each of train, val (if there is one) and test."""
    lists = {}
    for side in SETS:
        name = f"items_index_{side}_{items}.tsv"
        original = files.find(name) if side == "val" else files.need(name, "dlrs-data")
        if original:
            lists[side] = original.bytes().decode("utf-8", "replace").split()
    return lists


def _splits(lists: dict[str, list[str]]) -> pl.DataFrame:
    """The authors' split. Without a validation list, the end of the training list is it."""
    sides = dict(lists)
    if "val" not in sides:
        cut = int(TRAIN * len(sides["train"]))
        sides = {"train": sides["train"][:cut], "val": sides["train"][cut:], "test": sides["test"]}
    table = pl.concat(
        pl.DataFrame({"track_id": ids}, schema={"track_id": pl.String}).with_columns(
            split=pl.lit(side)
        )
        for side, ids in sides.items()
    )
    repeated = table.filter(~pl.col("track_id").is_first_distinct())
    if len(repeated):
        raise InputError(f"items_index_*.tsv: {repeated['track_id'][0]!r} is there twice")
    return table


def _triplets(files: Originals, items: str, part: str) -> Original:
    """The one file of triplets for these items."""
    word = re.escape(part) or ("artist" if "artist" in items else "(song|track)")
    candidates = files.matching("triplets")
    if not candidates:
        files.need(TRIPLETS)
        candidates = files.matching("triplets")
    matches = [file for file in candidates if re.search(word, file.name)] or candidates
    if len(matches) != 1:
        names = ", ".join(file.name for file in candidates) or "none"
        raise InputError(
            f"{TRIPLETS}: can't tell which file holds the plays of {items}; there are: {names}. "
            "Name it with --triplets"
        )
    return matches[0]


def _with_names(files: Originals, tracks: pl.DataFrame, broken: Broken) -> pl.DataFrame:
    """The tracks with title and artist; the id stands for a name that nobody knows."""
    track = pl.col("track_id")
    names = files.find("unique_tracks.txt")
    if not names:
        return tracks.with_columns(title=track, artist=track)
    columns = ["track_id", "song_id", "artist", "title"]
    frames = pieces(names, columns, broken, separator="<SEP>", header=False)
    table = pl.concat(frame.select("track_id", "title", "artist") for frame in frames)
    joined = tracks.join(
        table.unique("track_id", keep="first"), on="track_id", how="left", maintain_order="left"
    )
    return joined.select(
        track, pl.coalesce("title", track).alias("title"), pl.coalesce("artist", track)
    )


def _vectors(
    files: Originals, items: str, name: str, lists: dict[str, list[str]]
) -> Iterator[pl.DataFrame]:
    """The authors' matrices, whose rows are their lists'."""
    for side, ids in lists.items():
        stem = f"X_{side}_{name}_{items}"
        original = files.find(f"{stem}.npy") or files.find(f"{stem}.npz")
        if original is None:
            raise InputError(f"there is no file {stem}.npy or .npz for the embedding {name!r}")
        matrix = _matrix(original)
        if matrix.ndim != 2 or len(matrix) != len(ids) or matrix.dtype.kind not in "fiu":
            raise InputError(
                f"{original}: holds {matrix.dtype} {matrix.shape}; needed are numbers "
                f"[{len(ids)}, width], a row for each item in the list of {side}"
            )
        yield pl.DataFrame(
            {"track_id": ids, "vector": matrix.astype(np.float32)},
            schema={"track_id": pl.String, "vector": pl.Array(pl.Float32, matrix.shape[1])},
        ).with_columns(pl.col("vector").arr.to_list())


def _matrix(original: Original) -> NDArray[np.generic]:
    """Dense rows of an .npy, or of the sparse matrix that an .npz holds; never a pickle."""
    try:
        content = np.load(io.BytesIO(original.bytes()), allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        from scipy.sparse import csr_matrix

        parts = (content["data"], content["indices"], content["indptr"])
        matrix = csr_matrix(parts, shape=tuple(content["shape"]))
        matrix.check_format(full_check=True)  # scipy would write wherever an index points to
        return np.asarray(matrix.toarray())
    except (*READ_ERRORS, *DAMAGED) as error:
        reason = one_line(error)
        raise InputError(f"{original}: not a readable matrix ({reason}); fetch it again") from error
