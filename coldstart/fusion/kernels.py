"""Kernels: the similarity of two tracks' content, 1 or near it where they are alike."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRED = 1500
"""Tracks whose distances are measured: their number of pairs grows with the square."""


def laplace(features: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """exp(−distance · scale), for nonlinear relations. [B, F], [N, F] → [B, N], 1 if equal."""
    return torch.exp(-torch.cdist(features, centres) * scale)


def quadratic(features: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """(1 + product · scale)² / 4: linear relations, and products of two features. → [B, N]."""
    return (1 + features @ centres.T * scale).square() / 4


def linear(features: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """product · scale: linear relations alone. → [B, N]."""
    return features @ centres.T * scale


KERNELS = {"laplace": laplace, "quadratic": quadratic, "linear": linear}
"""By their names; a checkpoint holds the number of one, so new ones come last."""


def scale_of(kernel: str, features: Tensor, width: float) -> float:
    """The scale that suits tracks of such content, [N, F] float64; 0 if they are all equal.

    Args:
        kernel: a key of `KERNELS`.
        features: [N, F], centred.
        width: of the Laplace kernel, in median distances between two tracks.
    """
    distance = _typical_distance(features)
    typical = width * distance
    if kernel != "laplace":
        typical = float(features.square().sum(1).mean())
    return 1 / typical if distance else 0.0


def _typical_distance(features: Tensor) -> float:
    """The median distance; the mean if the median is 0 because most tracks are equal."""
    distances = torch.pdist(features[:_PAIRED])
    return float(distances.median()) or float(distances.mean())
