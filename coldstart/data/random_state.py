"""Random generators: their states, and drawing numbers without leaving a trace."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

CPU = torch.device("cpu")


def states(device: torch.device = CPU) -> dict[str, Any]:
    """States of the generators of Python, NumPy and torch, also of this GPU.

    They are tensors and plain values, so a checkpoint with them is read without unpickling more.
    """
    name, keys, *rest = np.random.get_state()
    generators = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    return generators


def restore(generators: Mapping[str, Any], device: torch.device = CPU) -> None:
    """Put the generators into the states that `states` gave."""
    version, internal, gauss = generators["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = generators["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(generators["torch"])
    if device.type == "cuda" and "cuda" in generators:
        torch.cuda.set_rng_state(generators["cuda"], device)


@contextmanager
def drawn_from(*key: object) -> Iterator[None]:
    """Within the block, the CPU's generators start from this key; then they are as they were.

    >>> with drawn_from("a seed", 3):
    ...     first = random.random(), torch.rand(1).item()
    >>> with drawn_from("a seed", 3):
    ...     first == (random.random(), torch.rand(1).item())
    True
    """
    before = states()
    digest = hashlib.sha256(repr(key).encode()).digest()
    random.seed(digest)
    np.random.seed(int.from_bytes(digest[:4], "big"))
    torch.default_generator.manual_seed(int.from_bytes(digest[:7], "big"))
    try:
        yield
    finally:
        restore(before)
