"""Which tracks may be recommended, and their places ready for scoring."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coldstart.errors import InputError, one_of
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.columns import conditions
from coldstart.retrieval.picks import Mix

Candidates = Literal["cold", "warm", "all"]
"""Tracks that may be recommended, by whether they were factorised."""

CANDIDATES = ("cold", "warm", "all")
"""The values of `Candidates`."""


class Selection:
    """The candidates of a query: some rows of a catalogue, warm ones first.

    Attributes:
        rows: [M] rows of the catalogue, ascending.
        warm: how many of them, the first ones, are warm.
    """

    def __init__(self, catalogue: Catalogue, rows: NDArray[np.int64]) -> None:
        """Select these rows."""
        self._catalogue, self.rows = catalogue, rows
        self.warm = int(np.searchsorted(rows, catalogue.warm))

    def __len__(self) -> int:
        """M, the number of candidates."""
        return len(self.rows)

    @cached_property
    def directions(self) -> Tensor:
        """[M, K] their places, of length 1."""
        return self._of(self._catalogue.directions)

    @cached_property
    def scoring(self) -> Tensor:
        """[M, K] their places, whose dot product with a listener's vector is the score."""
        return self._of(self._catalogue.scoring)

    @cached_property
    def artists(self) -> NDArray[np.int64]:
        """[M] a number for each artist."""
        return self._catalogue.artist_codes[self.rows]

    def _of(self, values: Tensor) -> Tensor:
        """Rows without a gap are a view: nothing is copied."""
        if len(self.rows) and self.rows[-1] - self.rows[0] + 1 == len(self.rows):
            return values[int(self.rows[0]) : int(self.rows[-1]) + 1]
        return values[torch.from_numpy(self.rows)]

    @cached_property
    def groups(self) -> tuple[Selection, Selection]:
        """The warm ones, and the cold ones."""
        warm, cold = self.rows[: self.warm], self.rows[self.warm :]
        return Selection(self._catalogue, warm), Selection(self._catalogue, cold)

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of rows of the catalogue; -1 for those that are no candidates."""
        if not len(self):
            return np.full(len(rows), -1, np.int64)
        positions = np.minimum(np.searchsorted(self.rows, rows), len(self) - 1)
        return np.where(self.rows[positions] == rows, positions, -1)


class ListPlan(NamedTuple):
    """What lists are made of.

    Attributes:
        selection: the candidates.
        k: length of a list.
        mix: what a list keeps to beside the scores.
    """

    selection: Selection
    k: int
    mix: Mix


def select(
    catalogue: Catalogue,
    candidates: Candidates | Collection[str] = "cold",
    exclude: Collection[str] = (),
    where: str | None = None,
) -> Selection:
    """Choose the candidates.

    Args:
        catalogue: all tracks that have a place.
        candidates: `cold`: tracks that were not factorised; `warm`: those that were; `all`; or ids
            of tracks.
        exclude: ids of tracks that may not be recommended; unknown ones do no harm.
        where: an SQL condition over the columns of the tracks' table.

    Raises:
        InputError: nothing is left (names what left nothing), an unknown id among the candidates,
            or a condition that can't be used.
    """
    steps: list[tuple[str, NDArray[np.bool_]]] = []
    if isinstance(candidates, str):
        one_of("candidates", candidates, CANDIDATES)
        warm = np.arange(len(catalogue)) < catalogue.warm
        masks = {"cold": ~warm, "warm": warm, "all": np.ones_like(warm)}
        kind = "" if candidates == "all" else f"{candidates} "
        steps.append((f"{kind}tracks", masks[candidates]))
    else:
        steps.append(("tracks of those named", _named(catalogue, candidates)))
    if where is not None:
        steps += [
            (f"where {part.text}", part.tracks) for part in conditions(where, catalogue.table)
        ]
    if exclude:
        rows = [catalogue.row[track] for track in exclude if track in catalogue.row]
        mask = np.ones(len(catalogue), bool)
        mask[rows] = False
        steps.append(("without those to exclude", mask))
    left = np.logical_and.reduce([mask for _, mask in steps])
    if not left.any():
        raise InputError(_nothing_left(catalogue, steps))
    return Selection(catalogue, np.flatnonzero(left))


def _named(catalogue: Catalogue, candidates: Collection[str]) -> NDArray[np.bool_]:
    """[N] which tracks are named; those that the dataset has, but without a place, don't count."""
    mask = np.zeros(len(catalogue), bool)
    unknown = []
    for track in candidates:
        row = catalogue.row.get(track)
        if row is None:
            unknown.append(track)
        else:
            mask[row] = True
    if unknown:
        unknown = sorted(set(unknown) - set(catalogue.in_use["track_id"]))
    if unknown:
        raise InputError(
            f"{catalogue.name}: there is no track {unknown[0]!r} among the candidates' "
            f"{len(candidates):,}"
            + (f", nor {len(unknown) - 1:,} others of them" if len(unknown) > 1 else "")
        )
    return mask


def _nothing_left(catalogue: Catalogue, steps: list[tuple[str, NDArray[np.bool_]]]) -> str:
    """A message that says after which condition no track was left."""
    left = np.ones(len(catalogue), bool)
    counts = []
    for text, mask in steps:
        left = left & mask
        counts.append(f"{text}: {int(left.sum()):,}")
        if not left.any():
            break
    place = catalogue.name
    if len(counts) == 1:
        kind = steps[0][0].replace("tracks", "track", 1)
        return (
            f"there is no {kind} to recommend in {place}; candidates `all` takes warm and cold ones"
        )
    return (
        f"there is no track to recommend in {place}: of {len(catalogue):,} tracks, "
        + ", then ".join(counts)
    )
