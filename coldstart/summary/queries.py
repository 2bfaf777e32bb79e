"""A few tracks to look at: one of the head, of the middle and of the tail, and a new one.

They are chosen by a rule, not by hand: of each third of all plays the middle one, and of the test
tracks the one in the middle by plays; and what is recommended for each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coldstart.evaluation.exposure import thirds
from coldstart.retrieval.popularity import Track
from coldstart.retrieval.query import Recommendation
from coldstart.summary.material import Material

LENGTH = 5
"""Of a list."""


THIRDS = {
    "the head": "among the most played",
    "the middle": "between head and tail",
    "the tail": "among the rarely played",
}
"""Parts of the known tracks, and what they are."""


class Example(NamedTuple):
    """A query and what is recommended for it.

    Attributes:
        kind: why this one, for people.
        short: the same for a legend.
        track: the query.
        recommended: best first.
        of_what: what the candidates were.
    """

    kind: str
    short: str
    track: Track
    recommended: list[Recommendation]
    of_what: str


def examples(material: Material) -> list[Example]:
    """The queries; none where a run can't be asked or has no factors."""
    recommender, tracks = material.recommender, material.tracks
    if recommender is None or not tracks:
        return []
    catalogue = recommender.catalogue
    known = [t for t in catalogue.track_ids[: catalogue.warm] if t in tracks]
    order = sorted(known, key=lambda track: (-tracks[track].plays, track))
    part = thirds(np.array([tracks[track].plays for track in order])).numpy()
    found: list[Example] = []
    has_new = len(catalogue) > catalogue.warm
    for number, (name, words) in enumerate(THIRDS.items()):
        members = [track for track, third in zip(order, part, strict=True) if third == number]
        if not members or not has_new:
            continue
        track = members[len(members) // 2]
        lists = recommender.similar(track, k=LENGTH, candidates="cold")
        kind = f"Of {name}: {words}"
        found.append(Example(kind, f"of {name}", tracks[track], lists, "New tracks most like it"))
    test = {t["track_id"] for t in recommender.run.data.shards.all_tracks(["test"])}
    new = [track for track in catalogue.track_ids[catalogue.warm :] if track in tracks]
    new = [track for track in new if track in test] or new
    if new and catalogue.warm:
        new.sort(key=lambda track: (-tracks[track].plays, track))
        track = new[len(new) // 2]
        lists = recommender.similar(track, k=LENGTH, candidates="warm")
        kind = "A new track: the model never saw its plays"
        found.append(
            Example(kind, "a new track", tracks[track], lists, "Known tracks most like it")
        )
    return found
