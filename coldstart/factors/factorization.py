"""Matrices of listens → vectors: the settings of a factorisation, and solving."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import (
    Axes,
    explicit_als,
    fold_in,
    implicit_als,
    noise_level,
    score_axes,
    turned,
)
from coldstart.factors.sparsity import warn_of_sparsity


class FactorizationSettings(NamedTuple):
    """How a log is factorised; the verb `factorize` explains each of them."""

    strict: bool
    algorithm: Literal["implicit", "explicit"]
    factors: int
    regularization: float
    shrinkage: float
    iterations: int
    weighting: Literal["log", "linear"]
    alpha: float
    axes: Literal["als", "scores"]
    seed: int
    hold_out: float
    until: str | None

    @property
    def value(self) -> str:
        """The log's column of numbers."""
        return "rating" if self.algorithm == "explicit" else "plays"


class Listens(NamedTuple):
    """A log as matrices of U users and N tracks, those to be factorised before the folded-in ones.

    Attributes:
        matrix: [U, N] what may be seen.
        withheld: [U, N] what may not.
        user_ids: U ids.
        track_ids: N ids.
        split: [N] sides, or "".
        folded: [N] bool: whether the track is folded in.
    """

    matrix: csr_matrix
    withheld: csr_matrix
    user_ids: list[str]
    track_ids: list[str]
    split: NDArray[np.str_]
    folded: NDArray[np.bool_]

    @property
    def warm(self) -> int:
        """Number of tracks to be factorised."""
        return int((~self.folded).sum())


class Solution(NamedTuple):
    """Vectors, and what they depend on beside the settings.

    Attributes:
        tracks: [N, K] float32.
        users: [U, K] float32; zeros for users without training listens.
        active: [U] bool: whether the user has training listens.
        regularization: λ as it was used.
        axes: from the factorisation's axes to those of the vectors; None if they are the same.
    """

    tracks: NDArray[np.float32]
    users: NDArray[np.float32]
    active: NDArray[np.bool_]
    regularization: float
    axes: Axes | None


class FactorPair(NamedTuple):
    """What a factorisation gives.

    Attributes:
        tracks: [N, K] float32.
        users: [U, K] float32.
        regularization: λ as it was used.
    """

    tracks: NDArray[np.float32]
    users: NDArray[np.float32]
    regularization: float


def solve(listens: Listens, settings: FactorizationSettings) -> Solution:
    """Factorise the warm tracks, then fold in the others."""
    matrix, warm = listens.matrix, listens.warm
    warn_of_sparsity(matrix, warm)
    # A listener of held-out tracks alone must not reach the factorisation either: one user more
    # is another random start. There is nothing to know them by, so their vector is zero.
    active = np.diff(matrix[:, :warm].indptr) > 0
    users = np.zeros((len(active), settings.factors), dtype=np.float32)
    known = factorize_matrix(matrix[active, :warm], settings, shown=True)
    users[active] = known.users
    held_out = matrix[:, warm:]
    strength = confidence_of(held_out, settings) if settings.algorithm == "implicit" else held_out
    with _understood(known.regularization, settings.factors):
        folded = fold_in(strength.T.tocsr(), users, known.regularization, settings.algorithm)
    tracks = np.concatenate([known.tracks, folded])
    axes = score_axes(users[active]) if settings.axes == "scores" else None
    if axes:
        tracks, users = turned(tracks, axes.tracks), turned(users, axes.users)
    return Solution(tracks, users, active, known.regularization, axes)


def factorize_matrix(
    matrix: csr_matrix, settings: FactorizationSettings, shown: bool = False
) -> FactorPair:
    """Factorise plays or ratings, in the axes of the factorisation.

    Args:
        matrix: [U, N], no empty row.
        settings: `axes` doesn't count here.
        shown: whether to show progress.
    """
    strength, regularization = matrix, settings.regularization
    if settings.algorithm == "implicit":
        strength = confidence_of(matrix, settings)
        if settings.shrinkage:
            regularization = settings.shrinkage * noise_level(strength)
    als = implicit_als if settings.algorithm == "implicit" else explicit_als
    with _understood(regularization, settings.factors):
        tracks, users = als(
            strength,
            factors=settings.factors,
            regularization=regularization,
            iterations=settings.iterations,
            seed=settings.seed,
            shown=shown,
        )
    return FactorPair(tracks, users, regularization)


@contextmanager
def _understood(regularization: float, factors: int) -> Iterator[None]:
    """What the library says of plays that don't determine the vectors is an InputError."""
    try:
        yield
    except ValueError as error:  # of LAPACK, through the library
        if "posv" not in str(error):
            raise
        raise InputError(
            f"with regularization {regularization:g} the listens don't determine "
            f"{factors} factors; raise --regularization, or take fewer --factors"
        ) from error


def confidence_of(plays: csr_matrix, settings: FactorizationSettings) -> csr_matrix:
    """Confidence from plays, [U, N]."""
    confidence = plays.astype(np.float32)
    alpha = np.float32(settings.alpha)
    if settings.weighting == "log":
        confidence.data = alpha * (1 + np.log1p(confidence.data))
    else:
        confidence.data = 1 + alpha * confidence.data
    return confidence
