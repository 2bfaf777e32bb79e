"""What the service says of a track, and of what answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import numpy as np

from coldstart.errors import InputError
from coldstart.evaluation.results import read_results
from coldstart.retrieval.catalogue import SOURCES
from coldstart.service import forms
from coldstart.service.engine import Loaded
from coldstart.shards.matching import maker
from coldstart.shards.sound import has_sound

SHOWN = ("track_id", "title", "artist", "plays", "warm")
"""Columns that a track has keys of its own for."""


def track_of(loaded: Loaded, row: int, play: bool) -> forms.TrackDetail:
    """What is known of the track in a row of the catalogue."""
    catalogue = loaded.recommender.catalogue
    values = catalogue.table.row(row, named=True)
    columns = {
        name: value
        for name, value in values.items()
        if name not in SHOWN and value is not None and value != ""
    }
    return forms.TrackDetail(
        track_id=values["track_id"],
        title=values["title"],
        artist=values["artist"],
        plays=values["plays"],
        by=cast(Any, SOURCES[catalogue.sources[row]]),
        can_be_heard=play and loaded.sounds.has(values["track_id"]),
        columns=columns,
    )


def about_model(loaded: Loaded, play: bool) -> forms.Model:
    """What answers."""
    recommender = loaded.recommender
    catalogue, run = recommender.catalogue, recommender.run
    shards = run.data.shards
    facts_of_all = shards.modalities.values()
    table, factors = catalogue.table, catalogue.factors
    ranked = np.sort(table["plays"].to_numpy())[::-1]
    places = np.linspace(0, len(ranked) - 1, 101).round().astype(int)
    return forms.Model(
        version=loaded.version,
        run=run.folder.name,
        since=datetime.fromtimestamp(loaded.since, UTC).isoformat(timespec="seconds"),
        load_seconds=round(loaded.seconds, 3),
        tracks=len(catalogue),
        known=catalogue.warm,
        search="exact" if recommender.index is None else f"index ({recommender.index.kind})",
        listeners=0 if factors is None else len(factors.user_ids),
        modalities=list(run.model.encoders),
        hears=any({"sample_rate", "extractor"} & facts.keys() for facts in facts_of_all),
        plays_sound=play and has_sound(loaded.recommender.run.data.shards),
        columns={name: str(dtype) for name, dtype in table.schema.items() if not dtype.is_nested()},
        attributes={
            name: list(info["names"])
            for name, info in shards.modalities.items()
            if info.get("names") and not maker(info)
        },
        quantiles=[int(ranked[place]) for place in places],
        factors=None if factors is None else _plain(factors.about),
        figures=_figures(loaded),
    )


def _figures(loaded: Loaded) -> dict[str, Any] | None:
    """The run's test, if there was one."""
    try:
        about, rows = read_results(loaded.recommender.run.folder / "results.json")
    except InputError:
        return None
    return _plain({**about, "rows": [row._asdict() for row in rows]})


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """Without what names places of this machine."""
    names = ("path", "folder", "file", "listens", "place")
    return {
        key: value
        for key, value in content.items()
        if not (isinstance(value, str) and (key in names or "/" in value))
    }
