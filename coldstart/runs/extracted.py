"""Modalities that extractors make from sound: of a dataset, of tracks that join it, of one file.

What dataset.json says of such a modality has `extractor` (all that its numbers depend on),
`opened_with` (its constructor's arguments), `output` (`vectors` or `tags`), and `made_by`, by which
models refuse vectors of another extractor.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from coldstart.audio.codec import Buffer, Pcm, length, window
from coldstart.audio.sound import Samples
from coldstart.errors import Broken, InputError
from coldstart.extractors.base import Extractor, Features, features_of, open_extractor
from coldstart.extractors.extraction import TAGS, VECTORS, extract_features, source_of
from coldstart.extractors.sound_files import SoundFile, listed_files, present_files
from coldstart.sample import Sample
from coldstart.shards.matching import ContentTables
from coldstart.shards.reading import Shards
from coldstart.shards.sources import Source, sources_of
from coldstart.shards.writing import npy_bytes
from coldstart.tables.columns import ColumnChoice

TABLES = {"vectors": ("embeddings", VECTORS), "tags": ("attributes", TAGS)}
"""What an extractor gives → the kind of its table, and the table's name."""

FOLDER = ".extracted"
"""Of a dataset: what was heard, until it is in shards."""

KEPT = 4
"""So many extractors stay loaded for the next file."""

SECONDS = 30
"""Of sound that are decoded at once."""


def modality_names(extractor: Extractor) -> dict[str, str]:
    """Output of an extractor → the modality that holds it."""
    name = type(extractor).__name__.lower()
    return {"vectors": name, **({"tags": f"{name}_tags"} if extractor.tag_names else {})}


def extractor_sources(
    extractor: Extractor,
    settings: Mapping[str, Any],
    dataset: Shards,
    table: pl.DataFrame,
    path: Path,
    broken: Broken,
    workers: int | None = None,
) -> dict[str, Source]:
    """Hear the sound that a track table names; an interrupted job is continued.

    Args:
        extractor: that hears.
        settings: its constructor's arguments, as JSON holds them.
        dataset: that is to have the modalities. Where it has them, made of the same files by the
            same extractor, nothing is heard again.
        table: of the tracks, with a column `audio`.
        path: of that table, to whose folder the files' paths are relative.
        broken: collects files that can't be used.
        workers: files that are heard at a time; None: one a core.

    Returns:
        Modality → what it is made from; nothing where all of it is there.

    Raises:
        InputError: the table names no sound, or a file can't be used.
    """
    files = present_files(listed_files(table, path), broken)
    source, names = source_of(extractor, files), modality_names(extractor)
    if all(dataset.modalities.get(name, {}).get("source") == source for name in names.values()):
        return {}
    tables = _heard(extractor, names, dataset, files, broken, workers)
    choice = ColumnChoice(frozenset(), frozenset(extractor.tag_names))
    sources = sources_of(table, path, [], tables, {}, Broken(), choice)
    facts = {
        "extractor": extractor.about(),
        "opened_with": {k: v for k, v in settings.items() if k not in extractor.places},
        "made_by": extractor.identity(),
        **({"own_units": True} if extractor.own_units else {}),
    }
    return {
        name: sources[name]._replace(
            facts={**sources[name].facts, **facts, "output": output}, fingerprint=source
        )
        for output, name in names.items()
    }


def tables_of_new(
    dataset: Shards,
    table: pl.DataFrame,
    path: Path,
    tables: ContentTables,
    broken: Broken,
    workers: int | None = None,
) -> dict[str, dict[str, str]]:
    """Hear the sound of tracks that are to join a dataset, by the extractors that made what it has.

    Args:
        dataset: that they are to join.
        table: of the new tracks; without a column `audio`, nothing is heard.
        path: of that table.
        tables: that were given; `must_be_given` says which may be.
        broken: collects files that can't be used.
        workers: files that are heard at a time; None: one a core.

    Returns:
        `tables` and what was heard: kind → modality → file, to be removed by `clear` afterwards.

    Raises:
        InputError: the extractor isn't there in the same version, or a file can't be used.
    """
    result = {kind: dict(files) for kind, files in tables.items()}
    made = {name: facts for name, facts in dataset.modalities.items() if "extractor" in facts}
    if "audio" not in table.columns or not made:
        return result
    files = present_files(listed_files(table, path), broken)
    by_extractor: dict[str, dict[str, str]] = {}
    for name, facts in made.items():
        by_extractor.setdefault(facts["made_by"], {})[facts["output"]] = name
    for names in by_extractor.values():
        extractor = opened(made[next(iter(names.values()))])
        for kind, heard in _heard(extractor, names, dataset, files, broken, workers).items():
            result.setdefault(kind, {}).update(heard)
    return result


def clear(dataset: Shards) -> None:
    """Remove what was heard, once it is in shards."""
    shutil.rmtree(dataset.folder / FOLDER, ignore_errors=True)


def _heard(
    extractor: Extractor,
    names: Mapping[str, str],
    dataset: Shards,
    files: list[SoundFile],
    broken: Broken,
    workers: int | None,
) -> dict[str, dict[str, str]]:
    """Tables of what an extractor hears: kind → modality → file."""
    folder = dataset.folder / FOLDER / extractor.identity()
    extract_features(extractor, files, folder, broken, workers=workers, overwrite=True)
    tables: dict[str, dict[str, str]] = {}
    for output, name in names.items():
        kind, file = TABLES[output]
        tables.setdefault(kind, {})[name] = str(folder / file)
    return tables


def opened(facts: Mapping[str, Any]) -> Extractor:
    """The extractor that made a modality with these facts; the last few stay loaded.

    Raises:
        InputError: it isn't there, or not in the same version.
    """
    about: Mapping[str, Any] = facts["extractor"]
    extractor = _opened(about["extractor"], json.dumps(facts["opened_with"], sort_keys=True))
    if extractor.identity() != facts["made_by"]:
        changed = [key for key, value in extractor.about().items() if about.get(key) != value]
        raise InputError(
            f"the extractor {about['extractor']} isn't the one that made this modality (another "
            f"{', '.join(changed) or 'version'}); install that one, or make the modality anew "
            f"(coldstart shard --extract {about['extractor']} --overwrite), and fit again"
        )
    return extractor


@lru_cache(KEPT)
def _opened(name: str, settings: str) -> Extractor:
    return open_extractor(name, json.loads(settings))


def sound_of_extractors(dataset: Shards) -> dict[str, dict[str, int]]:
    """Each extractor that made a modality → facts of a store that keeps what it hears."""
    made = [facts for facts in dataset.modalities.values() if "extractor" in facts]
    return {facts["made_by"]: {"sample_rate": opened(facts).rate} for facts in made}


def fields_heard(dataset: Shards, sound: Mapping[str, bytes]) -> Sample:
    """What extractors hear in one track's sound: field of the shards → bytes.

    Args:
        dataset: whose modalities they made.
        sound: as `sound_of_extractors` names it → FLAC.
    """
    heard = {
        facts["made_by"]: (opened(facts), sound[facts["made_by"]])
        for facts in dataset.modalities.values()
        if "extractor" in facts
    }
    features = {key: hear_sound(*each)._asdict() for key, each in heard.items()}
    return {
        f"{name}.npy": npy_bytes(features[facts["made_by"]][facts["output"]][0].numpy())
        for name, facts in dataset.modalities.items()
        if "extractor" in facts
    }


def hear_sound(extractor: Extractor, sound: Buffer | Pcm) -> Features:
    """A track's features from its sound at the extractor's rate, in flat memory."""
    return extractor.track(features_of(extractor, _blocks(sound, extractor.rate)))


def _blocks(sound: Buffer | Pcm, rate: int) -> Iterator[Samples]:
    total = length(sound)
    for start in range(0, total, SECONDS * rate):
        samples = np.empty(min(SECONDS * rate, total - start), np.int16)
        window(sound, start, samples)
        yield np.divide(samples, 32_768, dtype=np.float32)
