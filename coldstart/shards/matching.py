"""What new tracks' modalities are made from: stored as the dataset stores those of its tracks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from coldstart.errors import Broken, InputError
from coldstart.shards.reading import Shards
from coldstart.shards.sources import Source, audio_source, sources_of
from coldstart.tables.columns import ColumnChoice

log = logging.getLogger(__name__)

COUNTS = ("fields", "shards", "source")
"""What dataset.json says of every modality; the rest are facts of its content."""

ContentTables = Mapping[str, Mapping[str, str]]
"""Kind (`attributes`, `embeddings`, `texts`, `files`) → modality name → file."""


def sources_like(
    dataset: Shards,
    table: pl.DataFrame,
    path: Path,
    modalities: Sequence[str] | None,
    tables: ContentTables,
    broken: Broken,
    choice: ColumnChoice,
    columns: Mapping[str, str] | None = None,
) -> dict[str, Source]:
    """Modality name → what it is made from, with the facts that the dataset has.

    Args:
        dataset: that the tracks are to join.
        table: of the new tracks.
        path: of that table.
        modalities: which of its columns `audio` and `genres` to read; None: those it has, and the
            dataset has.
        tables: of the other modalities; `must_be_given` says whether a user may give them.
        broken: collects broken rows.
        choice: of the columns of attributes and embeddings.
        columns: `track_id`, `text`, `path` → what `tables` call them.

    Raises:
        InputError: the dataset lacks a modality that is named, or has it of another kind, with
            other attributes, or of another width.
    """
    stores = {name: info for name, info in dataset.modalities.items() if "sample_rate" in info}
    available = {"audio": bool(stores), "genres": "genres" in dataset.modalities}
    present = [name for name in available if name in table.columns]
    for name in modalities or ():
        if not available.get(name, False):
            raise InputError(f"{dataset.folder}: {_lacks(dataset, name)}")
    for name in present if modalities is None else ():
        if not available[name]:
            log.info(f"{path}: column '{name}' isn't read, for {_lacks(dataset, name)}")
    wanted = [name for name in present if available[name]] if modalities is None else modalities
    keep = {column for info in dataset.modalities.values() for column in info.get("names", ())}
    choice = ColumnChoice(choice.drop, choice.keep | frozenset(keep - choice.drop))
    rest = [name for name in wanted if name != "audio"]
    sources = sources_of(table, path, rest, tables, {}, broken, choice, columns, few=True)
    sources = {
        name: _like(source, dataset, name, Path(_file_of(tables, name, path)))
        for name, source in sources.items()
    }
    if "audio" in wanted:
        if "audio" not in table.columns:
            raise InputError(f"{path}: there is no column 'audio'")
        for name, info in stores.items():
            facts = {key: value for key, value in info.items() if key not in COUNTS}
            sources[name] = audio_source(facts, table, path)
    return {name: source for name, source in sources.items() if source.items}


def is_computed(facts: Mapping[str, Any]) -> bool:
    """Whether nets compute a modality from others, so that no table has it."""
    return bool(facts.get("runs"))


def maker(facts: Mapping[str, Any]) -> str:
    """What makes a modality of a track's other content; empty: it is given."""
    if is_computed(facts):
        return "nets, from other modalities"
    return f"{facts['extractor']['extractor']}, from sound" if "extractor" in facts else ""


def must_be_given(dataset: Shards, tables: ContentTables) -> None:
    """Check that the dataset has what tables hold of new tracks, and doesn't make it by itself.

    Raises:
        InputError: it hasn't, or a net or an extractor makes it of other content.
    """
    for name in (name for files in tables.values() for name in files):
        if name not in dataset.modalities:
            raise InputError(
                f"{dataset.folder}: {_lacks(dataset, name)}. One more modality is for the whole "
                "catalogue: `coldstart shard` adds it, and then a model is fitted with it"
            )
        if by := maker(dataset.modalities[name]):
            raise InputError(
                f"{dataset.folder}: '{name}' is made by {by}, and so it will be for new tracks; "
                "leave its table out"
            )


def _lacks(dataset: Shards, name: str) -> str:
    names = ", ".join(sorted(dataset.modalities)) or "none"
    return f"this dataset has no modality '{name}'; it has: {names}"


def _file_of(tables: ContentTables, name: str, path: Path) -> str:
    return next((files[name] for files in tables.values() if name in files), str(path))


def _like(source: Source, dataset: Shards, name: str, path: Path) -> Source:
    """The source, if it is of the dataset's kind; attributes in the dataset's order."""
    info = dataset.info(name)
    if info["fields"] != {source.field: source.codec}:
        raise InputError(
            f"{path}: '{name}' is stored as {', '.join(info['fields'])} in {dataset.folder}, and "
            f"this would be {source.field}"
        )
    if source.codec == "npy":
        return _like_vectors(source, dataset, name, path)
    if source.codec == "json":
        _warn_of_names(source, info.get("vocabulary", ()), path)
    return source


def _like_vectors(source: Source, dataset: Shards, name: str, path: Path) -> Source:
    info = dataset.info(name)
    names: list[str] = source.facts.get("names", [])
    expected: list[str] = info.get("names", [])
    if bool(names) != bool(expected):
        kinds = ("attributes", "embeddings") if expected else ("embeddings", "attributes")
        raise InputError(
            f"{path}: '{name}' holds {kinds[0]} in {dataset.folder}, not {kinds[1]}; name the "
            f"table with --{kinds[0]}.{name}"
        )
    if missing := [column for column in expected if column not in names]:
        raise InputError(
            f"{path}: lacks {len(missing)} of the {len(expected)} attributes that '{name}' has in "
            f"{dataset.folder}: {_shown(missing)}"
        )
    if others := [column for column in names if column not in expected]:
        raise InputError(
            f"{path}: has {len(others)} columns that are no attributes of '{name}' in "
            f"{dataset.folder}: {_shown(others)}. Leave them out: --drop-columns {','.join(others)}"
        )
    width, vector = len(info["mean"]), next(iter(source.items.values()))
    if len(vector) != width:
        raise InputError(
            f"{path}: vectors of {len(vector)} numbers; '{name}' has {width} in {dataset.folder}"
        )
    if names == expected:
        return source
    order = [names.index(column) for column in expected]
    items = {track: values[order] for track, values in source.items.items()}
    return source._replace(items=items, facts={"names": expected})


def _warn_of_names(source: Source, vocabulary: Sequence[str], path: Path) -> None:
    """Names that no training track has say nothing; where most are such, they may be unsplit."""
    names = {name for item in source.items.values() for name in item}
    unknown = sorted(names.difference(vocabulary))
    if 2 * len(unknown) > len(names):
        log.warning(
            f"{path}: {len(unknown)} of {len(names)} genres are none of the training tracks', such "
            f"as {unknown[0]!r}, and so tell nothing; if it is a list, --genre-separator splits it"
        )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
