"""Tracks' content as a kernel sees it: centred, scaled and weighted; sparse content stays sparse.

A kernel needs products and distances alone. Those of sparse rows x and c that are centred at μ are
(x − μ)·(c − μ) = x·c − x·μ − c·μ + μ·μ, so no row is ever centred, which would fill its zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from coldstart.encoders.sparse_rows import AnyRows, SparseRows, as_dense, at
from coldstart.fusion.kernels import KERNELS, PAIRED, Pairs

_NOISE = 1e-13
"""A squared distance is 0 if it is below this share of the lengths that it is a difference of."""

_ENTRIES = 1 << 23
"""Numbers of sparse rows that are made dense at a time, in float64: 64 MB."""


class SparsePart(NamedTuple):
    """One modality of N tracks, F wide.

    Attributes:
        rows: [N, F] as they were read.
        present: [N] bool; a track that lacks it is at the mean.
        mean: [F], to take away.
        factor: to multiply by then.
    """

    rows: AnyRows
    present: Tensor
    mean: Tensor
    factor: float


@dataclass(frozen=True, eq=False)
class KernelFeatures:
    """N tracks.

    Attributes:
        plain: [N, D] of the dense modalities, centred, scaled and weighted; 0 where a track lacks
            one. A kernel has its precision.
        sparse: the other modalities; those of equal tracks to compare stand in one order.
    """

    plain: Tensor
    sparse: tuple[SparsePart, ...] = ()

    def __len__(self) -> int:
        """N."""
        return len(self.plain)

    def at(self, rows: slice) -> KernelFeatures:
        """The tracks of these rows."""
        if rows == slice(None):
            return self
        numbers = torch.arange(len(self), device=self.plain.device)[rows]
        parts = [
            part._replace(rows=at(part.rows, numbers), present=part.present[rows])
            for part in self.sparse
        ]
        return KernelFeatures(self.plain[rows], tuple(parts))

    def double(self) -> KernelFeatures:
        """In float64."""
        return KernelFeatures(self.plain.double(), self.sparse)

    def float(self) -> KernelFeatures:
        """In float32."""
        return KernelFeatures(self.plain.float(), self.sparse)

    def squares(self) -> Tensor:
        """[N] float64 squared lengths."""
        squares = self.plain.double().square().sum(1)
        for part in self.sparse:
            squares = squares + _alone(part).squares
        return squares

    def distances(self) -> Tensor:
        """Of each pair of the first `PAIRED` tracks, one-dimensional, float64."""
        first = self.at(slice(PAIRED)) if len(self) > PAIRED else self
        if not self.sparse:
            return torch.pdist(first.plain.double())
        return upper(products_of(first, first).distances())


class Plain(NamedTuple):
    """Pairs of dense content: [B, D] and [N, D]."""

    left: Tensor
    right: Tensor

    def products(self) -> Tensor:
        """[B, N]."""
        return self.left @ self.right.T

    def distances(self) -> Tensor:
        """[B, N]."""
        return torch.cdist(self.left, self.right)


class Products(NamedTuple):
    """Pairs by the products of their content, in float64.

    Attributes:
        product: [B, N].
        left: [B] squared lengths.
        right: [N].
        left_size: [B] squared lengths before centring: what rounding errors grow with.
        right_size: [N].
    """

    product: Tensor
    left: Tensor
    right: Tensor
    left_size: Tensor
    right_size: Tensor

    def products(self) -> Tensor:
        """[B, N]."""
        return self.product

    def distances(self) -> Tensor:
        """[B, N]; 0, and without a gradient, where the content is the same."""
        squared = self.left[:, None] + self.right - 2 * self.product
        same = squared <= _NOISE * (self.left_size[:, None] + self.right_size)
        return torch.where(same, 0.0, torch.where(same, 1.0, squared).sqrt())


def weighted(parts: Sequence[Products], weights: Sequence[float]) -> Products:
    """Of several modalities, each with its weight."""
    squares = [weight**2 for weight in weights]

    def total(values: Sequence[Tensor]) -> Tensor:
        sums = torch.zeros_like(values[0])
        for value, square in zip(values, squares, strict=True):
            if square:
                sums.add_(value, alpha=square)
        return sums

    return Products(*(total(values) for values in zip(*parts, strict=True)))


def kernel_between(
    name: str, left: KernelFeatures, right: KernelFeatures, scale: Tensor | float
) -> Tensor:
    """[B, N] in the precision of `left.plain`.

    Args:
        name: of the kernel, a key of `KERNELS`.
        left: B tracks, of which the sparse modalities may be dense.
        right: N tracks, of which they are sparse.
        scale: of the kernel.
    """
    if not right.sparse:
        return KERNELS[name](Plain(left.plain, right.plain), scale)
    kernel = left.plain.new_empty(len(left), len(right))
    for rows in _blocks(left, right):
        block: Pairs = _products(left.at(rows), right)
        kernel[rows] = KERNELS[name](block, scale).to(kernel)
    return kernel


def products_of(left: KernelFeatures, right: KernelFeatures) -> Products:
    """Of all pairs, [B, N]; as for `kernel_between`."""
    blocks = [_products(left.at(rows), right) for rows in _blocks(left, right)]
    first = blocks[0]
    return Products(
        torch.cat([block.product for block in blocks]),
        torch.cat([block.left for block in blocks]),
        first.right,
        torch.cat([block.left_size for block in blocks]),
        first.right_size,
    )


def upper(matrix: Tensor) -> Tensor:
    """Of the first `PAIRED` tracks, each pair's number once: [n, n] → one-dimensional."""
    count = min(len(matrix), PAIRED)
    row, column = torch.triu_indices(count, count, 1, device=matrix.device)
    return matrix[row, column]


def _blocks(left: KernelFeatures, right: KernelFeatures) -> list[slice]:
    """Rows of the left tracks, as many at a time as memory has room for."""
    widest = max([len(right), *(len(part.mean) for part in right.sparse)])
    size = max(1, _ENTRIES // max(1, widest))
    return [slice(start, start + size) for start in range(0, len(left), size)]


def _products(left: KernelFeatures, right: KernelFeatures) -> Products:
    """Of all pairs at once."""
    one, other = left.plain.double(), right.plain.double()
    product, squares = one @ other.T, [one.square().sum(1), other.square().sum(1)]
    sizes = list(squares)
    for part, centres in zip(left.sparse, right.sparse, strict=True):
        if not centres.factor:
            if isinstance(part.rows, Tensor):  # its gradient is 0, not none
                product = product + 0.0 * part.rows.sum()
            continue
        assert isinstance(centres.rows, SparseRows)
        rows, mean = as_dense(part.rows).double(), centres.mean.double()
        beside = _alone(centres)
        ours = _alone(part._replace(rows=rows))
        inner = centres.rows.times(rows.T).T
        inner = inner - ours.along[:, None] - beside.along + mean.square().sum()
        there = part.present[:, None] & centres.present
        product = product + torch.where(there, centres.factor**2 * inner, 0.0)
        squares = [squares[0] + ours.squares, squares[1] + beside.squares]
        sizes = [sizes[0] + ours.size, sizes[1] + beside.size]
    return Products(product, *squares, *sizes)


class _Alone(NamedTuple):
    """What a modality's products need of each track alone, [N] float64.

    Attributes:
        along: the product with the mean.
        squares: squared lengths of what is centred and multiplied by the factor.
        size: the same without centring.
    """

    along: Tensor
    squares: Tensor
    size: Tensor


def _alone(part: SparsePart) -> _Alone:
    rows, mean, there, factor = part.rows, part.mean.double(), part.present, part.factor
    if isinstance(rows, SparseRows):
        along, lengths = rows.times(mean[:, None])[:, 0], rows.squared_lengths()
    else:
        along, lengths = rows.double() @ mean, rows.double().square().sum(1)
    squares = torch.where(there, factor**2 * (lengths - 2 * along + mean.square().sum()), 0.0)
    size = torch.where(there, factor**2 * (lengths + mean.square().sum()), 0.0)
    return _Alone(along, squares, size)
