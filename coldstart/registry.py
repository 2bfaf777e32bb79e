"""Encoders, fusion heads and targets, found by entry point: discover, load, list, explain."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, NamedTuple

from tabulate import tabulate

from coldstart.errors import InputError

Kind = Literal["encoders", "fusion", "targets"]
KINDS: tuple[Kind, ...] = ("encoders", "fusion", "targets")


class Plugin(NamedTuple):
    """One entry point.

    Attributes:
        name: of the class, and of the entry point: one word for both.
        kind: encoders, fusion or targets.
        distribution: the package that brings it, and its version.
        status: `ok`, or why it can't be loaded.
        fields: what it reads, for encoders and targets.
        doc: first line of its docstring.
    """

    name: str
    kind: str
    distribution: str
    status: str
    fields: tuple[str, ...]
    doc: str


def discover(kind: Kind) -> dict[str, EntryPoint]:
    """Entry points of a kind by name; nothing is imported.

    Raises:
        InputError: two distributions claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=f"coldstart.{kind}"):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise InputError(
                f"two packages bring {kind} plugins of the name '{point.name}': "
                f"{_from(other)} and {_from(point)}; uninstall one"
            )
        found[point.name] = point
    return dict(sorted(found.items()))


def load(kind: Kind, name: str) -> type[Any]:
    """Import one plugin's class.

    Raises:
        InputError: no such name (lists what there is), or it fails to import.
    """
    found = discover(kind)
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(
            f"there is no {kind} plugin '{name}'; installed are: {', '.join(found)}.{hint}"
        )
    try:
        loaded: type[Any] = found[name].load()
    except Exception as error:
        raise InputError(
            f"the {kind} plugin '{name}' of {_from(found[name])} fails to import: {error!r}"
        ) from error
    return loaded


def load_all() -> None:
    """Import all plugins, so that their short names work in configs; warn of those that fail."""
    for kind in KINDS:
        for name in discover(kind):
            try:
                load(kind, name)
            except InputError as error:
                warnings.warn(f"{error}; going on without it", stacklevel=2)


def create(kind: Kind, recipe: Mapping[str, Any]) -> Any:
    """Make a part from its class name and arguments, as a checkpoint stores them."""
    return load(kind, recipe["class"])(**recipe["init_args"])


def plugins() -> list[Plugin]:
    """List the installed encoders, fusion heads and targets, and whether each loads."""
    rows = []
    for kind in KINDS:
        for name, point in discover(kind).items():
            try:
                cls, status = load(kind, name), "ok"
            except InputError as error:
                cls, status = None, str(error)
            fields = tuple(getattr(cls, "fields", ()))
            doc = (cls.__doc__ or "").strip().split("\n")[0] if cls else ""
            rows.append(Plugin(name, kind, _from(point), status, fields, doc))
    headers = ["name", "kind", "from", "status", "reads", "what it is"]
    table = [[*row[:4], ", ".join(row.fields), row.doc] for row in rows]
    print(tabulate(table, headers=headers, maxcolwidths=[None, None, None, 40, None, 60]))
    return rows


def _from(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
