"""Vectors that were made elsewhere, such as by somebody's Spark: Parquet of ids and vectors."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from coldstart.errors import Broken, InputError
from coldstart.factors.als import Array
from coldstart.factors.factorization import (
    FactorizationSettings,
    FactorPair,
    Listens,
    Solver,
    penalty_of,
    strength_of,
    understood,
)
from coldstart.files import StrPath
from coldstart.tables.formats import read_part
from coldstart.tables.parts import ending_of, parts_of
from coldstart.tables.table import Checker, listed
from coldstart.tables.vectors import checked_vectors

log = logging.getLogger(__name__)

PROTOCOL = "vectors made elsewhere: whether held-out tracks' listens shaped them isn't known"
FOLDED = ", held-out tracks folded in afterwards"

IDS = ("id", "track_id", "user_id")

REMEDY = "Mend it where the vectors were made, and write the table anew."


class VectorTable(NamedTuple):
    """Vectors by their ids.

    Attributes:
        path: of the file or the folder.
        ids: N texts, all different.
        vectors: [N, K] float32.
    """

    path: StrPath
    ids: pl.Series
    vectors: Array

    def rows(self, ids: list[str]) -> NDArray[np.int64]:
        """Row of each of these ids, -1 where there is none."""
        known = pl.DataFrame({"id": self.ids}).with_row_index("row")
        joined = pl.DataFrame({"id": ids}, {"id": pl.String}).join(
            known, on="id", how="left", maintain_order="left"
        )
        return joined["row"].cast(pl.Int64).fill_null(-1).to_numpy()


def with_vectors(
    places: Mapping[str, str], settings: FactorizationSettings, solver: Solver
) -> tuple[FactorizationSettings, Solver]:
    """A solver that takes the vectors from tables, and solves with another one what they lack.

    Args:
        places: `tracks`, and `users` if they are to be used, → a table as in `read_vector_table`.
        settings: the number of factors is that of the vectors instead.
        solver: what solves the others.

    Raises:
        InputError: a table is broken, both aren't of one width, or `settings` keep listens back
            that these vectors may have seen.
    """
    if strange := places.keys() - {"tracks", "users"}:
        raise InputError(f"vectors: {min(strange)!r} is neither `tracks` nor `users`")
    if "tracks" not in places:
        raise InputError("vectors: --vectors.tracks is missing; users are solved, if need be")
    if settings.hold_out or settings.until:
        raise InputError(
            "hold_out and until keep listens from the factorisation, and vectors that were made "
            "elsewhere may have seen them"
        )
    tables = {side: read_vector_table(place) for side, place in places.items()}
    widths = {side: table.vectors.shape[1] for side, table in tables.items()}
    if len(set(widths.values())) > 1:
        raise InputError(
            f"{places['tracks']}: vectors of {widths['tracks']} numbers, but {places['users']}: of "
            f"{widths['users']}; both must be of one factorisation"
        )
    known = functools.partial(_given, tables["tracks"], tables.get("users"), solver)
    protocol = PROTOCOL + (FOLDED if settings.strict else "")
    about = {**solver.about, "protocol": protocol}
    return settings._replace(factors=widths["tracks"]), Solver(known, solver.fold_in, about)


def read_vector_table(path: StrPath) -> VectorTable:
    """Read ids and vectors, as Spark's `itemFactors` and `userFactors` have them, without Spark.

    Args:
        path: a Parquet file, or a folder or a pattern of such: ids, text or whole numbers, in a
            column `id`, `track_id` or `user_id`, or in the only one beside the vectors; and one
            column of lists or arrays of numbers.

    Raises:
        InputError: other columns; an id that is empty or there twice; a vector that is empty, of
            another width than most, or has what is no finite number: with its file and row.
    """
    parts = [part.path for part in parts_of(path)]
    if ending_of(parts[0]) != ".parquet":
        raise InputError(f"{parts[0]}: vectors are read from Parquet: an id and a list of numbers")
    read: list[tuple[Path, pl.Series, Array]] = []
    for part in parts:
        table = read_part(part, [])
        if table.is_empty():  # Spark writes such parts
            continue
        ids, vectors = _read_part(part, table)
        if read and vectors.shape[1] != read[0][2].shape[1]:
            raise InputError(
                f"{part}: vectors of {vectors.shape[1]} numbers, but {read[0][0]}: of "
                f"{read[0][2].shape[1]}"
            )
        read.append((part, ids, vectors))
    if not read:
        raise InputError(f"{path}: there is no vector: all files are empty")
    ids = pl.concat([ids for _, ids, _ in read])
    if ids.n_unique() < len(ids):
        (twice,) = ids.filter(ids.is_duplicated()).head(1)
        files = [part.name for part, own, _ in read if (own == twice).any()]
        raise InputError(f"{path}: id {twice!r} is there twice: in {listed(files)}. {REMEDY}")
    return VectorTable(path, ids, np.concatenate([vectors for _, _, vectors in read]))


def _read_part(path: Path, table: pl.DataFrame) -> tuple[pl.Series, Array]:
    """Ids and vectors of a file."""
    schema = table.schema
    lists = [name for name in schema if isinstance(schema[name], pl.List | pl.Array)]
    others = [name for name in schema if name not in lists]
    items = [name for name in others if name in IDS] or others
    if len(lists) != 1 or len(items) != 1:
        raise InputError(
            f"{path}: needed are a column of ids ({', '.join(IDS)}) and one of lists of numbers; "
            f"the table has: {listed(table.columns)}"
        )
    (column,), (item,) = lists, items
    check = Checker(path, table.select(item, column), Broken(remedy=REMEDY), item)
    dtype = schema[column]
    assert isinstance(dtype, pl.List | pl.Array)
    inner = dtype.inner
    assert isinstance(inner, pl.DataType)
    check.kind(column, inner.is_numeric(), "not lists of numbers")
    check.ids(item)
    check.rule(item, ~pl.col(item).is_first_distinct(), "is there twice")
    cells = pl.col(column).cast(pl.List(inner))
    check.table = check.table.with_columns(cells)
    return checked_vectors(check, column)


def _given(
    tracks: VectorTable,
    users: VectorTable | None,
    solver: Solver,
    listens: Listens,
    settings: FactorizationSettings,
) -> FactorPair:
    """Vectors from the tables; those that they lack, solved from plays and the other side's."""
    active = listens.active
    strength = strength_of(listens.matrix[active, : listens.warm], settings)
    regularization = penalty_of(strength, settings)
    track_ids = listens.track_ids[: listens.warm]
    user_ids = [user for user, known in zip(listens.user_ids, active, strict=True) if known]
    found, missing = _aligned(tracks, track_ids, "track")
    if users is None:
        given, unknown = np.zeros((len(user_ids), found.shape[1]), np.float32), None
    else:
        given, unknown = _aligned(users, user_ids, "listener")
    unsolved = np.ones(len(user_ids), bool) if unknown is None else unknown
    with understood(regularization, settings.factors):
        rows = strength[unsolved][:, ~missing].tocsr()
        given[unsolved] = solver.fold_in(rows, found[~missing], regularization, settings.algorithm)
        rows = strength[:, missing].T.tocsr()
        found[missing] = solver.fold_in(rows, given, regularization, settings.algorithm)
    return FactorPair(found, given, regularization)


def _aligned(table: VectorTable, ids: list[str], what: str) -> tuple[Array, NDArray[np.bool_]]:
    """[N, K] in the order of these ids, zeros for those that the table lacks, and which they are.

    Raises:
        InputError: it has none of them.
    """
    rows = table.rows(ids)
    missing = rows < 0
    if missing.all():
        raise InputError(
            f"{table.path}: has a vector of no {what} that is factorised; ids are such as "
            f"{table.ids[0]!r} there, {ids[0]!r} in the listens. If Spark's StringIndexer made "
            "numbers of ids, turn them back first (IndexToString)"
        )
    vectors = table.vectors[rows]
    vectors[missing] = 0
    if count := int(missing.sum()):
        log.warning(
            f"{table.path}: lacks {count:,} of {len(ids):,} {what}s that are factorised: they are "
            "solved from their plays"
        )
    if unused := len(table.ids) - int((~missing).sum()):
        log.info(f"{table.path}: {unused:,} vectors aren't used: of no {what} that is factorised")
    return vectors, missing
