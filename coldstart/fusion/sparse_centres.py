"""Sparse content of a kernel's centres, as buffers of a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coldstart.encoders.sparse_rows import SparseRows


class SparseCentres(nn.Module):
    """One modality of N centres, F wide: which of them have it, and the numbers that aren't 0."""

    starts: Tensor
    columns: Tensor
    values: Tensor
    present: Tensor

    def __init__(self, width: int) -> None:
        """No centre yet; `width`: F."""
        super().__init__()
        self.width = width
        none = SparseRows.of(torch.zeros(0, width))
        self.take(none, torch.zeros(0, dtype=torch.bool))

    @property
    def rows(self) -> SparseRows:
        """[N, F]."""
        return SparseRows(self.starts, self.columns, self.values, self.width)

    def take(self, rows: SparseRows, present: Tensor) -> None:
        """Hold these: [N, F], and [N] bool."""
        parts = {"starts": rows.starts, "columns": rows.columns, "values": rows.values}
        for name, value in {**parts, "present": present}.items():
            self.register_buffer(name, value)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the checkpoint's shapes, if they are those of rows: a damaged one must not read
        memory that isn't its own.
        """
        parts = {name: state_dict.get(prefix + name) for name in tuple(self._buffers)}
        for name, value in parts.items():
            buffer = self.get_buffer(name)
            if value is not None and value.ndim == 1:
                self.register_buffer(name, buffer.new_zeros(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        errors: list[str] = args[-1]
        rows = self.rows
        if not errors and not (len(rows) == len(self.present) and rows.is_whole()):
            errors.append(f"{prefix}starts, columns, values and present are no sparse rows")
