"""Arrays in a safetensors file: their names, types, shapes and values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from coldstart.errors import InputError, one_line
from coldstart.files import StrPath, atomic, unusable


class ArrayForm(NamedTuple):
    """What an array must be.

    Attributes:
        dtype: as safetensors names it, such as F32.
        shape: a number, or the name of one, for each axis; equal names, equal numbers.
    """

    dtype: str
    shape: tuple[str | int, ...]


def write_arrays(path: StrPath, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, atomically, one after the other, so that no copy of them all is made.

    Not by the library's `save_file`, which writes beside the file first, under a name that nobody
    can tell as ours, and lets nobody else read it; nor by its `save`, which takes twice the file's
    size of memory. Source: https://huggingface.co/docs/safetensors, "Format".

    Args:
        path: of the file.
        arrays: name → numbers or booleans; equal names and values, equal bytes.
    """
    # Aligned: the wider come first.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header, end = {}, 0
    for name in names:
        array, start = arrays[name], end
        end += array.nbytes
        header[name] = {
            "dtype": _dtype_of(array),
            "shape": array.shape,
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            array = arrays[name]
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)


def _dtype_of(array: NDArray[Any]) -> str:
    """As safetensors names it."""
    kind = array.dtype.kind
    assert kind in "bfiu", f"{array.dtype} is not for a file"
    return "BOOL" if kind == "b" else f"{kind.upper()}{8 * array.itemsize}"


def read_arrays(
    path: StrPath, forms: Mapping[str, ArrayForm], lengths: dict[str, int], remedy: str
) -> dict[str, NDArray[Any]]:
    """Read arrays of these forms, with finite values.

    Args:
        path: of the file.
        forms: name → form; there must be these and no others.
        lengths: name of an axis → its length; those that aren't known yet are added.
        remedy: what to do, for a message.

    Raises:
        InputError: the file is missing or damaged, or an array isn't as it should be.
    """
    if reason := unusable(path):
        reason = reason.partition(";")[0]
        raise InputError(f"{path}: incomplete or damaged ({reason}); {remedy}")
    try:
        with safe_open(Path(path), framework="numpy") as file:
            names = set(file.keys())
            if names != forms.keys():
                wrong = min(names ^ forms.keys())
                what = "is missing" if wrong in forms else "doesn't belong there"
                raise InputError(f"{path}: '{wrong}' {what}; {remedy}")
            for name, form in forms.items():
                part = file.get_slice(name)
                fault = _fault_of(form, part.get_dtype(), part.get_shape(), lengths)
                if fault:
                    raise InputError(f"{path}: '{name}' {fault}; {remedy}")
            arrays = {name: file.get_tensor(name) for name in forms}
    except (SafetensorError, OSError, MemoryError) as error:
        reason = one_line(error)
        raise InputError(f"{path}: incomplete or damaged ({reason}); {remedy}") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{path}: '{name}' holds values that are no finite numbers; {remedy}")
    return arrays


def _fault_of(form: ArrayForm, dtype: str, shape: list[int], lengths: dict[str, int]) -> str:
    if dtype != form.dtype:
        return f"is {dtype}, not {form.dtype}"
    if len(shape) != len(form.shape):
        return f"has {len(shape)} axes, not {len(form.shape)}"
    for axis, size in zip(form.shape, shape, strict=True):
        expected = axis if isinstance(axis, int) else lengths.setdefault(axis, size)
        if size != expected:
            return f"has {size} {axis}, not {expected}: the files don't match in number"
    return ""
