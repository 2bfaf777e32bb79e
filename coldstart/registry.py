"""Encoders, fusion heads, targets and extractors, found by entry point: discover, load, list."""

from __future__ import annotations

import difflib
import functools
import logging
import os
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple

from coldstart.components import INTERFACE
from coldstart.errors import InputError

log = logging.getLogger(__name__)

ONLY = "COLDSTART_PLUGINS"
"""Environment variable: names of packages, separated by commas; apart from coldstart's own, only
their plugins are used."""

Kind = Literal["encoders", "fusion", "targets", "extractors"]

KINDS: tuple[Kind, ...] = ("encoders", "fusion", "targets", "extractors")

KIND_OF: dict[str, Kind] = {"encoders": "encoders", "fusion": "fusion", "target": "targets"}
"""Part of a model's configuration → kind of plugin."""


class Plugin(NamedTuple):
    """One entry point.

    Attributes:
        name: of the class, and of the entry point: one word for both.
        kind: encoders, fusion, targets or extractors.
        distribution: the package that provides it.
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
    """Entry points of a kind by name, all that claim the name; nothing is imported.

    `COLDSTART_PLUGINS` limits the packages.
    """
    only = os.environ.get(ONLY)
    packages = None if only is None else {"coldstart", *map(_normal, only.split(","))}
    by_name: dict[str, list[EntryPoint]] = {}
    for point in _installed(_places())[kind]:
        if packages is not None and _normal(package_of(point)) not in packages:
            continue
        points = by_name.setdefault(point.name, [])
        if point not in points:
            points.append(point)
    return dict(sorted(by_name.items()))


def _places() -> tuple[tuple[str, int], ...]:
    """Each place on Python's path, and when it last changed: a package that is installed or removed
    changes the place where it lies.
    """
    places = []
    for place in sys.path:
        try:
            places.append((place, Path(place).stat().st_mtime_ns))
        except OSError:  # many a place on the path isn't there
            places.append((place, 0))
    return tuple(places)


@functools.lru_cache(maxsize=1)
def _installed(places: tuple[tuple[str, int], ...]) -> dict[str, list[EntryPoint]]:
    """Entry points by kind, read again where a place has changed: reading those of all packages
    takes longer than most of what a plugin is asked for.
    """
    points = entry_points()
    return {kind: list(points.select(group=f"coldstart.{kind}")) for kind in KINDS}


def load(kind: Kind, name: str) -> type[Any]:
    """Import one plugin's class.

    Raises:
        InputError: no such name (lists the existing ones), two packages claim it, it fails to
            import, or it was written for another version of the interface.
    """
    by_name = discover(kind)
    if name not in by_name:
        similar = difflib.get_close_matches(name, by_name, n=1)
        hint = f" Did you mean '{similar[0]}'?" if similar else ""
        only = os.environ.get(ONLY)
        if only is not None:
            hint += f" ({ONLY}={only} leaves other packages' plugins out.)"
        raise InputError(
            f"there is no {kind} plugin '{name}'; installed are: {', '.join(by_name)}.{hint}"
        )
    points = by_name[name]
    if len(points) > 1:
        claims = " and ".join(map(_package_version, points))
        raise InputError(
            f"two packages bring {kind} plugins of the name '{name}': {claims}; uninstall one, or "
            f"choose by {ONLY}"
        )
    return _load(kind, points[0])


def _load(kind: Kind, point: EntryPoint) -> type[Any]:
    what = f"the {kind} plugin '{point.name}' of {_package_version(point)}"
    try:
        plugin: type[Any] = point.load()
    except Exception as error:
        raise InputError(f"{what} fails to import: {error!r}") from error
    version = getattr(plugin, "interface", None)
    if version != INTERFACE:
        fault = f"was written for version {version}" if version else "doesn't say for which version"
        raise InputError(
            f"{what} {fault} of the plugin interface; this coldstart has version {INTERFACE}: see "
            "docs/plugins.md, and set `interface` in the class"
        )
    return plugin


def load_all() -> None:
    """Import all parts of models, so that short names work in configs; those that fail are told."""
    for kind in KIND_OF.values():
        usable(kind)


def usable(kind: Kind) -> dict[str, type[Any]]:
    """The plugins of a kind that can be loaded, by name.

    Of the others, a warning names the plugin, its package and the error; once in a process.
    """
    plugins: dict[str, type[Any]] = {}
    for name in discover(kind):
        try:
            plugins[name] = load(kind, name)
        except InputError as error:
            _warn_of(f"{error}; this plugin is not available")
    return plugins


@functools.cache
def _warn_of(fault: str) -> None:
    """A fit asks for the plugins several times."""
    log.warning(fault)


def create(kind: Kind, recipe: Mapping[str, Any]) -> Any:
    """Make a part from its class name and arguments, as a checkpoint stores them."""
    return load(kind, recipe["class"])(**recipe["init_args"])


def completed(kind: Kind, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe (of encoders: of each), with the arguments that were added since it was stored."""
    if kind == "encoders":
        return {name: create(kind, part).recipe() for name, part in stored.items()}
    recipe: dict[str, Any] = create(kind, stored).recipe()
    return recipe


def package_of(point: EntryPoint) -> str:
    """The name of the package that brings an entry point."""
    return point.dist.name if point.dist else point.value


def _normal(package: str) -> str:
    """Package names are compared as installers compare them: `A_b` is `a-b`."""
    return package.strip().lower().replace("_", "-").replace(".", "-")


def _package_version(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
