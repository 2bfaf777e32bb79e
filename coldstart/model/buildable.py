"""Layers are made only where there is memory for them: their sizes come from people's files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from coldstart.errors import InputError, one_line
from coldstart.tables.memory import free_memory

_MAKERS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye)
"""What makes a tensor of a size that is given; weights begin so."""

_SMALL = 1 << 20
"""Values that need no question."""


@contextmanager
def buildable(key: str) -> Iterator[None]:
    """Refuse what can't be made of a part's arguments, or doesn't fit into memory, by its key.

    Without it, a width of 10^10 would make the system end the process.

    Args:
        key: of the part in the configuration.

    Raises:
        InputError: it can't be made.
    """
    try:
        with _Sizes(key):
            yield
    except InputError:
        raise
    except (ValueError, TypeError, OverflowError, MemoryError, RuntimeError) as error:
        reason = one_line(error)[:300] or type(error).__name__
        raise InputError(
            f"{key}: can't be built with these arguments and this data ({reason})"
        ) from error


class _Sizes(TorchFunctionMode):
    """Adds up what is made, and stops before it is too much."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.values = key, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _MAKERS and str(kwargs.get("device")) != "meta":
            self._add(func, args, kwargs)
        return func(*args, **kwargs)

    def _add(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = kwargs.get("size", args[0] if args else ())
        shape = given if isinstance(given, (tuple, list)) else args
        sizes = [size for size in shape if isinstance(size, int)]
        if func is torch.eye and len(sizes) == 1:
            sizes *= 2
        self.values += math.prod(sizes)
        if self.values > _SMALL and 4 * self.values > free_memory():
            needed, free = 4 * self.values / 1e9, free_memory() / 1e9
            raise InputError(
                f"{self.key}: its layers need more than {needed:,.0f} GB of memory, and "
                f"{free:,.1f} GB are free; take smaller widths, or fewer factors"
            )
