"""Encoders, fusion heads and targets, found by entry point: discover, load, list, explain."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, NamedTuple

from coldstart.components import INTERFACE
from coldstart.errors import InputError

ONLY = "COLDSTART_PLUGINS"
"""Environment variable: names of packages, with commas between; beside coldstart's own, only their
plugins are used."""

Kind = Literal["encoders", "fusion", "targets"]


KINDS: tuple[Kind, ...] = ("encoders", "fusion", "targets")


KIND_OF: dict[str, Kind] = {"encoders": "encoders", "fusion": "fusion", "target": "targets"}
"""Part of a model's configuration → kind of plugin."""


class Plugin(NamedTuple):
    """One entry point.

    Attributes:
        name: of the class, and of the entry point: one word for both.
        kind: encoders, fusion or targets.
        distribution: the package that brings it.
        version: of that package.
        status: `ok`, or why it can't be used.
        fields: what it reads, for encoders and targets.
        doc: first line of its docstring.
    """

    name: str
    kind: str
    distribution: str
    version: str
    status: str
    fields: tuple[str, ...]
    doc: str


def discover(kind: Kind) -> dict[str, list[EntryPoint]]:
    """Entry points of a kind by name, all that claim it; nothing is imported.

    `COLDSTART_PLUGINS` limits which packages' are found.
    """
    only = os.environ.get(ONLY)
    wanted = None if only is None else {"coldstart", *map(_normal, only.split(","))}
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"coldstart.{kind}"):
        claims = found.setdefault(point.name, [])
        if (wanted is None or _normal(_package(point)) in wanted) and point not in claims:
            claims.append(point)
    return dict(sorted((name, claims) for name, claims in found.items() if claims))


def load(kind: Kind, name: str) -> type[Any]:
    """Import one plugin's class.

    Raises:
        InputError: no such name (lists what there is), two packages claim it, it fails to import,
            or it was written for another version of the interface.
    """
    found = discover(kind)
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        if (only := os.environ.get(ONLY)) is not None:
            hint += f" ({ONLY}={only} leaves other packages' plugins out.)"
        raise InputError(
            f"there is no {kind} plugin '{name}'; installed are: {', '.join(found)}.{hint}"
        )
    if len(found[name]) > 1:
        claims = " and ".join(map(_from, found[name]))
        raise InputError(
            f"two packages bring {kind} plugins of the name '{name}': {claims}; uninstall one, or "
            f"choose by {ONLY}"
        )
    return _load(kind, found[name][0])


def _load(kind: Kind, point: EntryPoint) -> type[Any]:
    what = f"the {kind} plugin '{point.name}' of {_from(point)}"
    try:
        loaded: type[Any] = point.load()
    except Exception as error:
        raise InputError(f"{what} fails to import: {error!r}") from error
    version = getattr(loaded, "interface", None)
    if version != INTERFACE:
        says = f"was written for version {version}" if version else "doesn't say for which version"
        raise InputError(
            f"{what} {says} of the plugin interface; this coldstart has version {INTERFACE}: see "
            "docs/plugins.md, and set `interface` in the class"
        )
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


def completed(kind: Kind, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe (of encoders: of each), with the arguments that came after it was stored."""
    if kind == "encoders":
        return {name: create(kind, recipe).recipe() for name, recipe in stored.items()}
    made: dict[str, Any] = create(kind, stored).recipe()
    return made


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _normal(package: str) -> str:
    """Package names are compared as installers compare them: `A_b` is `a-b`."""
    return package.strip().lower().replace("_", "-").replace(".", "-")


def _from(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
