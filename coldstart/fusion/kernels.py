"""Kernels: the similarity of two tracks' content, 1 or near it where they are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

PAIRED = 1500
"""Tracks whose distances are measured: their number of pairs grows with the square."""


class Pairs(Protocol):
    """B tracks beside N: what a kernel asks of them, each of it [B, N]."""

    def products(self) -> Tensor:
        """The scalar product of their content."""
        ...

    def distances(self) -> Tensor:
        """The distance between their content."""
        ...


def laplace(pairs: Pairs, scale: Tensor | float) -> Tensor:
    """exp(−distance · scale), for nonlinear relations. → [B, N], 1 if equal."""
    return torch.exp(-pairs.distances() * scale)


def quadratic(pairs: Pairs, scale: Tensor | float) -> Tensor:
    """(1 + product · scale)² / 4: linear relations, and products of two features. → [B, N]."""
    return (1 + pairs.products() * scale).square() / 4


def linear(pairs: Pairs, scale: Tensor | float) -> Tensor:
    """product · scale: linear relations alone. → [B, N]."""
    return pairs.products() * scale


KERNELS: dict[str, Callable[[Pairs, Tensor | float], Tensor]] = {
    "laplace": laplace,
    "quadratic": quadratic,
    "linear": linear,
}
"""By their names; a checkpoint holds the number of one, so new ones come last."""


def scale_of(kernel: str, distances: Tensor, squares: Tensor, width: float) -> float:
    """The scale that suits tracks of such content; 0 if they are all equal.

    Args:
        kernel: a key of `KERNELS`.
        distances: of pairs of tracks, one-dimensional: of the first `PAIRED` of them, each with
            each other one.
        squares: [N] squared lengths of the tracks' centred content.
        width: of the Laplace kernel, in median distances between two tracks.
    """
    # The mean if the median is 0, because most tracks are equal.
    distance = float(distances.median()) or float(distances.mean())
    typical = width * distance
    if kernel != "laplace":
        typical = float(squares.mean())
    return 1 / typical if distance else 0.0
