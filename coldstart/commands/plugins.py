"""The verb `plugins`: the installed encoders, fusion heads, targets and extractors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coldstart.errors import InputError

if TYPE_CHECKING:
    from coldstart.registry import Plugin


def plugins() -> list[Plugin]:
    """List the installed encoders, fusion heads, targets and extractors; whether each loads."""
    from tabulate import tabulate

    from coldstart.registry import KINDS, Plugin, discover, load, package_of

    rows = []
    for kind in KINDS:
        for name, claims in discover(kind).items():
            for point in claims:
                try:
                    cls: type[Any] | None = load(kind, name)
                    status = "ok"
                except InputError as error:
                    cls, status = None, str(error)
                fields = getattr(cls, "fields", ())
                doc = (cls.__doc__ or "").strip().split("\n")[0] if cls else ""
                version = point.dist.version if point.dist else ""
                rows.append(Plugin(name, kind, package_of(point), version, status, fields, doc))
    headers = ["name", "kind", "package", "version", "status", "reads", "what it is"]
    table = [[*row[:5], ", ".join(row.fields), row.doc] for row in rows]
    widths = [None, None, None, None, 40, None, 50]
    print(tabulate(table, headers=headers, maxcolwidths=widths))
    return rows
