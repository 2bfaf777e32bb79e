"""What made a run: data, settings, seeds, and versions, so that somebody else can make it again."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from coldstart.errors import without_passwords
from coldstart.files import is_remote
from coldstart.reporting.page import (
    DataTable,
    Html,
    Section,
    TableCell,
    details,
    paragraph,
    table,
    together,
)
from coldstart.summary.material import Material

PACKAGES = ("coldstart", "torch", "lightning", "numpy", "polars", "scikit-learn", "matplotlib")
"""Whose versions are named."""


def provenance(material: Material) -> Section:
    """The section; there is always one."""
    config, results = material.config, material.results
    factors: Mapping[str, Any] = {}
    data = config["data"]
    model = config["model"]
    rows: list[tuple[str, object]] = [
        ("run", material.name),
        ("inputs", ", ".join(f"{n} ({_class(p)})" for n, p in model["encoders"].items())),
        ("fusion", _class(model.get("fusion"))),
        ("target", _class(model.get("target"))),
        ("seed of the fit", config.get("seed_everything")),
        ("shards", shortened(data["shards"])),
        ("factors", shortened(data.get("factors"))),
    ]
    if results is not None:
        about = results.about
        rows += [
            ("protocol", about.get("protocol")),
            ("seed of the test", about.get("seed")),
            ("weights", about.get("weights")),
            ("best epoch", about.get("best_epoch")),
            ("parameters", about.get("parameters")),
        ]
        factors = about.get("factors") or {}
        rows.append(("factorisation", _factorisation(factors)))
    rows.append(("fitted with", _fitted_with(material.folder)))
    rows.append(("this page was made with", versions()))
    text = yaml.safe_dump(_without_places(config), sort_keys=False, allow_unicode=True)
    body = [
        paragraph("What somebody else needs to make it again."),
        pairs(rows),
        details("The whole factorisation", pairs(_flat(factors))) if factors else "",
        details("The whole configuration", f"<pre>{_pre(text)}</pre>"),
    ]
    return Section("origin", "What made it", together(body))


def _factorisation(about: Mapping[str, Any]) -> str | None:
    """In a line, as far as it is known."""
    words = (
        ("{}", "algorithm"),
        ("{} factors", "factors"),
        ("{} listens", "listens"),
        ("{} users", "users"),
        ("{} tracks", "tracks_factorised"),
        ("seed {}", "seed"),
        ("id {}", "id"),
    )
    known = [form.format(_plain(about[key])) for form, key in words if key in about]
    return ", ".join(known) or None


def _flat(about: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [
        (key.replace("_", " "), value)
        for key, value in about.items()
        if isinstance(value, str | int | float)
    ]


def pairs(rows: Sequence[tuple[str, object]]) -> Html:
    """A table of names and values; those without a value are left out."""
    cells: list[list[TableCell]] = [
        [name, _plain(value)] for name, value in rows if value is not None
    ]
    return table(DataTable(["what", "value"], cells), "pairs")


def _plain(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _pre(text: str) -> str:
    import html

    return html.escape(text)


def versions() -> str:
    """Of what made the page."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _fitted_with(folder: Path) -> str | None:
    """What the first line of a configuration says, such as `# lightning.pytorch==2.6.6`."""
    with (folder / "config.yaml").open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return first.lstrip("# ").strip() if first.startswith("#") else None


def _class(part: Mapping[str, Any] | None) -> str:
    """The short name of a part's class.

    >>> _class({"class_path": "coldstart.fusion.kernel.Kernel"}), _class(None)
    ('Kernel', 'none')
    """
    return "none" if part is None else str(part["class_path"]).rpartition(".")[2]


def shortened(place: str | None) -> str | None:
    """A place for strangers: the last parts of a path, an address without its password.

    >>> shortened("/home/ann/music/data/shards"), shortened("s3://ann:secret@bucket/shards")
    ('…/data/shards', 's3://ann:***@bucket/shards')
    """
    if place is None or is_remote(place):
        return place if place is None else without_passwords(place)
    parts = Path(place).parts
    return place if len(parts) < 3 else "…/" + "/".join(parts[-2:])


def _without_places(value: Any) -> Any:
    """A configuration whose paths say no more than `shortened`."""
    if isinstance(value, Mapping):
        return {key: _without_places(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_places(each) for each in value]
    if isinstance(value, str) and (Path(value).is_absolute() or is_remote(value)):
        return shortened(value)
    return value
