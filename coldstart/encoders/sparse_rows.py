"""Rows of which few numbers aren't zero, as only these: words of texts, tags, genres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

WIDE, FEW = 1000, 0.05
"""Rows of at least so many columns are kept sparse where at most this share of them isn't zero."""


@dataclass(frozen=True, eq=False)
class SparseRows:
    """N rows, row after row (CSR): 8 bytes a number that isn't zero.

    Attributes:
        starts: [N + 1] int64: the numbers of row i are those from starts[i] to starts[i + 1].
        columns: [S] int32, of each number.
        values: [S].
        width: F.
    """

    starts: Tensor
    columns: Tensor
    values: Tensor
    width: int

    @classmethod
    def of(cls, rows: Tensor) -> SparseRows:
        """Of dense rows [N, F].

        >>> rows = SparseRows.of(torch.tensor([[0.0, 2.0], [0.0, 0.0], [3.0, 4.0]]))
        >>> rows.starts.tolist(), rows.columns.tolist(), rows.values.tolist()
        ([0, 1, 1, 3], [1, 0, 1], [2.0, 3.0, 4.0])
        """
        row, column = rows.nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=len(rows))
        return cls(_starts(counts), column.int(), rows[row, column], rows.shape[1])

    def __len__(self) -> int:
        """N."""
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return self.starts.nbytes + self.columns.nbytes + self.values.nbytes

    def at(self, rows: Tensor) -> SparseRows:
        """These rows [n] int64, in this order."""
        counts = self.starts.diff()[rows]
        starts = _starts(counts)
        shift = (self.starts[rows] - starts[:-1]).repeat_interleave(counts)
        places = torch.arange(len(shift), device=shift.device) + shift
        return SparseRows(starts, self.columns[places], self.values[places], self.width)

    def is_whole(self) -> bool:
        """Whether each number is in a row, and in a column after the one before."""
        starts, columns = self.starts, self.columns
        if not len(starts) or int(starts[0]) != 0 or int(starts[-1]) != len(columns):
            return False
        if len(columns) != len(self.values) or bool((starts.diff() < 0).any()):
            return False
        if bool(((columns < 0) | (columns >= self.width)).any()):
            return False
        return bool(((columns.diff() > 0) | (self._row.diff() > 0)).all())

    def emptied(self) -> SparseRows:
        """As many rows, of zeros."""
        none = torch.zeros_like(self.starts)
        return SparseRows(none, self.columns[:0], self.values[:0], self.width)

    def dense(self) -> Tensor:
        """[N, F]."""
        rows = self.values.new_zeros(len(self), self.width)
        rows[self._row, self.columns.long()] = self.values
        return rows

    def times(self, columns: Tensor) -> Tensor:
        """The matrix product with dense columns [F, B] float64 → [N, B]; gradients reach these."""
        product: Tensor = torch.sparse.mm(self._matrix, columns.contiguous())  # 5 times as fast
        return product

    def squared_lengths(self) -> Tensor:
        """[N] float64."""
        lengths = torch.zeros(len(self), dtype=torch.float64, device=self.values.device)
        return lengths.index_add(0, self._row, self.values.double().square())

    def column_sums(self) -> Tensor:
        """[F] float64."""
        sums = torch.zeros(self.width, dtype=torch.float64, device=self.values.device)
        return sums.index_add(0, self.columns.long(), self.values.double())

    @cached_property
    def _row(self) -> Tensor:
        """[S] int64, of each number."""
        numbers = torch.arange(len(self), device=self.starts.device)
        return numbers.repeat_interleave(self.starts.diff())

    @cached_property
    def _matrix(self) -> Tensor:
        """[N, F] float64, as PyTorch's COO: its CSR needs Intel's library on a processor."""
        # Where its argument for this isn't given so, PyTorch warns that nothing is checked.
        with torch.sparse.check_sparse_tensor_invariants(enable=False):
            return torch.sparse_coo_tensor(
                torch.stack([self._row, self.columns.long()]),
                self.values.double(),
                (len(self), self.width),
                is_coalesced=True,
            )


AnyRows = Tensor | SparseRows
"""N rows: dense [N, F], or sparse."""


def compressed(rows: Tensor) -> AnyRows:
    """Dense rows [N, F] as sparse ones if they are wide, and few of their numbers aren't zero."""
    if rows.ndim != 2 or rows.shape[1] < WIDE or not rows.is_floating_point():
        return rows
    return SparseRows.of(rows) if int(rows.count_nonzero()) <= FEW * rows.numel() else rows


def joined(parts: Sequence[AnyRows]) -> AnyRows:
    """Rows after rows, at least one part: sparse if few numbers of all of them aren't zero."""
    if not any(isinstance(part, SparseRows) for part in parts):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    width = next(part.width for part in parts if isinstance(part, SparseRows))
    stored = sum(_stored(part) for part in parts)
    if stored > FEW * width * sum(len(part) for part in parts):
        return torch.cat([part if isinstance(part, Tensor) else part.dense() for part in parts])
    sparse = [SparseRows.of(part) if isinstance(part, Tensor) else part for part in parts]
    return SparseRows(
        _starts(torch.cat([part.starts.diff() for part in sparse])),
        torch.cat([part.columns for part in sparse]),
        torch.cat([part.values for part in sparse]),
        width,
    )


def at(rows: AnyRows, numbers: Tensor) -> AnyRows:
    """These of the rows, [n] int64, in this order."""
    return rows[numbers] if isinstance(rows, Tensor) else rows.at(numbers)


def as_dense(rows: AnyRows) -> Tensor:
    """[N, F]."""
    return rows if isinstance(rows, Tensor) else rows.dense()


def _stored(rows: AnyRows) -> int:
    """How many numbers aren't zero."""
    return int(rows.count_nonzero()) if isinstance(rows, Tensor) else len(rows.values)


def _starts(counts: Tensor) -> Tensor:
    """Of each row, from their lengths [N] → [N + 1] int64."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
