"""What encoders, fusion heads and targets have in common: a part that a checkpoint can rebuild.

A checkpoint holds, for each part, its class name, its constructor's arguments and the facts it was
built from, all plain values; never a pickled object. See docs/decisions/0002.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from torch import nn

INTERFACE = 1
"""Version of the interface of encoders, fusion heads and targets; a plugin says for which it was
written. It increases with every change that breaks working plugins."""


class Component(nn.Module):
    """An nn.Module that remembers its constructor's arguments as `init_args`.

    Arguments are flat and plain: numbers, text, booleans, None, and lists, tuples or dicts of
    these.

    Examples:
        >>> class Part(Component):
        ...     def __init__(self, size: int, dropout: float = 0.5) -> None:
        ...         super().__init__()
        >>> Part(3).init_args
        {'size': 3, 'dropout': 0.5}
    """

    init_args: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Wrap the subclass's own `__init__` so that it records its arguments."""
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            return
        original = cls.__init__

        @functools.wraps(original)
        def init(self: Component, *args: Any, **kwargs: Any) -> None:
            if "init_args" not in self.__dict__:  # else a subclass's __init__ has called this one
                bound = inspect.signature(original).bind(self, *args, **kwargs)
                bound.apply_defaults()
                arguments = dict(list(bound.arguments.items())[1:])  # without self
                self.__dict__["init_args"] = arguments
            original(self, *args, **kwargs)

        cls.__init__ = init  # type: ignore[assignment]

    def recipe(self) -> dict[str, Any]:
        """Class name and arguments: what YAML calls class_path and init_args."""
        return {
            "class": type(self).__name__,
            "init_args": self.__dict__.get("init_args", {}),
        }
