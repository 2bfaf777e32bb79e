"""The first stage of a two-stage run: the nets whose vectors it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple

from coldstart.files import StrPath

NOTE = "stage1.json"
"""In a two-stage run's folder: whose vectors it reads, so that new tracks can be given theirs."""

Vectors = Literal["factors", "embedding"]


class Stage(NamedTuple):
    """The nets behind one modality folder of a two-stage run.

    Attributes:
        modality: folder of the shards that they write.
        runs: one run, or one for each fold.
        vectors: what is written.
        made_by: fingerprint of what decides the outcome.
    """

    modality: str
    runs: list[str]
    vectors: Vectors
    made_by: str


def first_stage_of(folder: StrPath) -> dict[str, Stage]:
    """The first stage of a two-stage run, by encoder; empty for another run."""
    path = Path(folder) / NOTE
    if not path.is_file():
        return {}
    return {name: Stage(**about) for name, about in json.loads(path.read_bytes()).items()}
