"""What somebody says of a track that is in no dataset, as shards would store it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.sample import Sample
from coldstart.shards.matching import maker
from coldstart.shards.reading import Shards
from coldstart.shards.writing import npy_bytes


class UnseenTrack(NamedTuple):
    """What is known of a track.

    Attributes:
        audio: its sound file.
        genres: names; None if they aren't known.
        attributes: modality → name of each attribute → value.
        embeddings: modality → numbers of the vector.
        texts: modality → text.
    """

    audio: StrPath | None = None
    genres: Sequence[str] | None = None
    attributes: Mapping[str, Mapping[str, float]] = {}
    embeddings: Mapping[str, Sequence[float]] = {}
    texts: Mapping[str, str] = {}


def fields_of(dataset: Shards, content: UnseenTrack) -> Sample:
    """The fields of shards that hold this content, without its sound.

    Returns:
        Field, such as `mgp.npy` → bytes.

    Raises:
        InputError: the dataset lacks a modality, or has it of another kind, with other attributes,
            or of another width; or a value isn't finite.
    """
    fields: Sample = {}
    if content.genres is not None:
        _must_have(dataset, "genres", "genres.json")
        names = sorted({name.strip() for name in content.genres} - {""})
        fields["genres.json"] = json.dumps(names, ensure_ascii=False).encode()
    for name, values in content.attributes.items():
        _must_have(dataset, name, f"{name}.npy")
        fields[f"{name}.npy"] = npy_bytes(_attributes(dataset, name, values))
    for name, numbers in content.embeddings.items():
        _must_have(dataset, name, f"{name}.npy")
        fields[f"{name}.npy"] = npy_bytes(_vector(dataset, name, numbers))
    for name, text in content.texts.items():
        _must_have(dataset, name, f"{name}.txt")
        fields[f"{name}.txt"] = text.encode()
    return fields


def _must_have(dataset: Shards, name: str, field: str) -> None:
    info = dataset.info(name)
    if by := maker(info):
        raise InputError(f"'{name}' is made by {by}, and so it will be here; leave it out")
    if field not in info["fields"]:
        raise InputError(f"'{name}' is stored as {', '.join(info['fields'])}, not as {field}")


def _attributes(dataset: Shards, name: str, values: Mapping[str, float]) -> np.ndarray:
    """Values in the dataset's order."""
    expected: Sequence[str] = dataset.info(name).get("names", ())
    if not expected:
        raise InputError(f"'{name}' holds embeddings in this dataset, no attributes")
    if missing := [column for column in expected if column not in values]:
        raise InputError(
            f"'{name}' lacks {len(missing)} of its {len(expected)} attributes: {_shown(missing)}"
        )
    if others := sorted(values.keys() - set(expected)):
        raise InputError(f"'{name}' has no attributes {_shown(others)}")
    return _finite(name, [values[column] for column in expected])


def _vector(dataset: Shards, name: str, numbers: Sequence[float]) -> np.ndarray:
    if dataset.info(name).get("names"):
        raise InputError(f"'{name}' holds attributes in this dataset, no embeddings")
    width = len(dataset.info(name)["mean"])
    if len(numbers) != width:
        raise InputError(f"'{name}': a vector of {len(numbers)} numbers; it has {width} here")
    return _finite(name, numbers)


def _finite(name: str, numbers: Sequence[float]) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = np.array(numbers, np.float64).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"'{name}' holds values that are no finite numbers")
    return values


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (" …" if len(names) > 10 else "")
