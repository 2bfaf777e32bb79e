"""What passes between this process and executors: files in a folder on storage that all share."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from coldstart.files import StrPath, local, made_folder
from coldstart.sigterm import UNFINISHED


@contextmanager
def exchange_folder(beside: StrPath) -> Iterator[Path]:
    """A new folder for the length of the block.

    Args:
        beside: what the result is to be: its folder lies on storage that all machines share.

    Raises:
        InputError: it is an address, or no folder can be made there.
    """
    out = local(beside)
    folder = out.parent.resolve() / f".{out.name}.spark-{uuid4().hex[:12]}"
    made_folder(folder)
    UNFINISHED.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        UNFINISHED.discard(folder)


class _StoredArray(NamedTuple):
    """An array that lies in a file; `tensor`: it is torch's."""

    path: str
    tensor: bool


class _StoredMatrix(NamedTuple):
    """A sparse matrix whose arrays lie in files."""

    data: _StoredArray
    indices: _StoredArray
    indptr: _StoredArray
    shape: tuple[int, int]


class ArrayFiles:
    """Files of arrays, which all processes of a machine map; each is written once, and removed when
    nobody here has the array any more.
    """

    def __init__(self, folder: Path) -> None:
        """In this folder."""
        self.folder, self.count = folder, 0
        self.known: dict[int, _StoredArray] = {}

    def stored(self, value: Any) -> Any:
        """The same with its arrays in files: `mapped` makes it whole again.

        Args:
            value: arrays, tensors and sparse matrices, also in named tuples and lists; all else is
                left as it is.
        """
        if isinstance(value, (Tensor, np.ndarray)):
            return self._file_of(value)
        if isinstance(value, csr_matrix):
            data, indices, indptr = map(self._file_of, (value.data, value.indices, value.indptr))
            return _StoredMatrix(data, indices, indptr, value.shape)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self.stored, value))
        return [self.stored(each) for each in value] if isinstance(value, list) else value

    def _file_of(self, array: Tensor | NDArray[Any]) -> _StoredArray:
        if id(array) in self.known:
            return self.known[id(array)]
        path = self.folder / f"array-{self.count}.npy"
        self.count += 1
        tensor = isinstance(array, Tensor)
        np.save(path, array.numpy() if isinstance(array, Tensor) else array, allow_pickle=False)
        self.known[id(array)] = _StoredArray(str(path), tensor)
        weakref.finalize(array, self._forget, id(array), path).atexit = False
        return self.known[id(array)]

    def _forget(self, number: int, path: Path) -> None:
        del self.known[number]
        path.unlink(missing_ok=True)


def mapped(value: Any) -> Any:
    """What `ArrayFiles.stored` was given; no more of a file is read than is looked at."""
    if isinstance(value, _StoredArray):
        # What is written there stays with this process; torch warns of memory that is read-only.
        array = np.load(value.path, mmap_mode="c", allow_pickle=False)
        return torch.from_numpy(array) if value.tensor else array
    if isinstance(value, _StoredMatrix):
        return csr_matrix(tuple(map(mapped, value[:3])), shape=value.shape)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(mapped, value))
    return [mapped(each) for each in value] if isinstance(value, list) else value
