"""Matrices of listens → vectors: the settings of a factorisation, and solving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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

Algorithm = Literal["implicit", "explicit"]
"""Of weighed plays, or of ratings."""


class FactorizationSettings(NamedTuple):
    """How a log is factorised; the verb `factorize` explains each of them."""

    strict: bool
    algorithm: Algorithm
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

    @property
    def active(self) -> NDArray[np.bool_]:
        """[U] whether the user has listens of tracks to be factorised."""
        return np.diff(self.matrix[:, : self.warm].indptr) > 0


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


Als = Callable[..., tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Of confidences or ratings [U, N], and the keyword arguments of `als.implicit_als`: vectors of
tracks and users."""

FoldIn = Callable[[csr_matrix, NDArray[np.float32], float, Algorithm], NDArray[np.float32]]
"""As `als.fold_in`."""


class Solver(NamedTuple):
    """What solves a factorisation; what it may see, and what is folded in, doesn't depend on it.

    Attributes:
        factorize: listens → vectors of the tracks to be factorised, and of the active users.
        fold_in: solves vectors from their own plays, the other side's fixed.
        about: what factors.json says of it, before or instead of what it says of our own.
    """

    factorize: Callable[[Listens, FactorizationSettings], FactorPair]
    fold_in: FoldIn
    about: Mapping[str, str | int]


def factorize_here(listens: Listens, settings: FactorizationSettings) -> FactorPair:
    """Factorise what may be seen, in this process."""
    return factorize_matrix(listens.matrix[listens.active, : listens.warm], settings, shown=True)


HERE = Solver(factorize_here, fold_in, {})
"""This process, and all its cores."""


def solve(listens: Listens, settings: FactorizationSettings, solver: Solver = HERE) -> Solution:
    """Factorise the warm tracks, then fold in the others."""
    matrix, warm = listens.matrix, listens.warm
    warn_of_sparsity(matrix, warm)
    # A listener of held-out tracks alone must not reach the factorisation either: one user more
    # is another random start. There is nothing to know them by, so their vector is zero.
    active = listens.active
    users = np.zeros((len(active), settings.factors), dtype=np.float32)
    known = solver.factorize(listens, settings)
    users[active] = known.users
    held_out = strength_of(matrix[:, warm:], settings)
    with understood(known.regularization, settings.factors):
        folded = solver.fold_in(held_out.T.tocsr(), users, known.regularization, settings.algorithm)
    tracks = np.concatenate([known.tracks, folded])
    axes = score_axes(users[active]) if settings.axes == "scores" else None
    if axes:
        tracks, users = turned(tracks, axes.tracks), turned(users, axes.users)
    return Solution(tracks, users, active, known.regularization, axes)


def factorize_matrix(
    matrix: csr_matrix,
    settings: FactorizationSettings,
    shown: bool = False,
    als: Als | None = None,
) -> FactorPair:
    """Factorise plays or ratings, in the axes of the factorisation.

    Args:
        matrix: [U, N], no empty row.
        settings: `axes` doesn't count here.
        shown: whether to show progress.
        als: what alternates; by default that of the algorithm, in this process.
    """
    strength = strength_of(matrix, settings)
    regularization = penalty_of(strength, settings)
    if als is None:
        als = implicit_als if settings.algorithm == "implicit" else explicit_als
    with understood(regularization, settings.factors):
        tracks, users = als(
            strength,
            factors=settings.factors,
            regularization=regularization,
            iterations=settings.iterations,
            seed=settings.seed,
            shown=shown,
        )
    return FactorPair(tracks, users, regularization)


def strength_of(matrix: csr_matrix, settings: FactorizationSettings) -> csr_matrix:
    """What is factorised: confidences (`implicit`) or ratings, from plays or ratings."""
    return confidence_of(matrix, settings) if settings.algorithm == "implicit" else matrix


def penalty_of(strength: csr_matrix, settings: FactorizationSettings) -> float:
    """λ; with `shrinkage` it is a share of the noise level of these confidences."""
    if settings.algorithm == "implicit" and settings.shrinkage:
        return settings.shrinkage * noise_level(strength)
    return settings.regularization


@contextmanager
def understood(regularization: float, factors: int) -> Iterator[None]:
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
