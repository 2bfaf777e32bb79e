"""The long tail: plays by popularity rank, with queries and what is recommended for them."""

from __future__ import annotations

from collections.abc import Sequence

from coldstart.reporting.charts import QueryMark, tail_curve
from coldstart.reporting.page import (
    DataTable,
    Picture,
    Section,
    TableCell,
    paragraph,
    percent,
    picture,
    together,
)
from coldstart.reporting.style import Size
from coldstart.reporting.text import cut
from coldstart.retrieval.popularity import HEAD
from coldstart.summary.material import Material
from coldstart.summary.queries import Example


def long_tail(material: Material, examples: Sequence[Example]) -> Section | None:
    """The section; None where nothing is known of plays."""
    plays, tracks = material.plays, material.tracks
    if not len(plays) or not plays.any():
        return None
    tail = sum(track.long_tail for track in tracks.values())
    head = len(tracks) - tail
    queries, cells = [], []
    for example in examples:
        found = [tracks[each.track_id] for each in example.recommended if each.track_id in tracks]
        title = cut(example.track.title or example.track.track_id, 30)
        queries.append(
            QueryMark(
                f"{example.short}: {title}",
                example.track.popularity_rank,
                example.track.plays,
                [track.popularity_rank for track in found],
                [track.plays for track in found],
            )
        )
        for what, track in [("query", example.track), *(("recommended", each) for each in found)]:
            cell: list[TableCell] = [
                example.short, what, track.title or track.track_id, track.popularity_rank,
                track.plays, "long tail" if track.long_tail else "head",
            ]  # fmt: skip
            cells.append(cell)
    recommended = [row for row in cells if row[1] == "recommended"]
    rare = sum(row[-1] == "long tail" for row in recommended)
    drawn = Picture(
        "long_tail",
        f"Plays of {len(tracks):,} tracks by popularity rank; the {head:,} most played make up "
        f"{percent(HEAD)} of all plays, the other {tail:,} are the long tail. Marked are "
        f"{len(examples)} queries and what is recommended for them.",
        lambda figure, narrow: tail_curve(figure, narrow, plays, queries, head),
        Size(4.6, 4.6),
        "Filled: a query. Hollow: what is recommended for it. Plays of new tracks are in the log, "
        "but were hidden from the model.",
        DataTable(["query", "", "track", "rank", "plays", "part"], cells),
    )
    intro = (
        f"The {head:,} most played of {len(tracks):,} tracks make up {percent(HEAD)} of all plays. "
    )
    if recommended:
        intro += (
            f"Of the {len(recommended)} tracks that are recommended below, {rare} are in the long "
            f"tail ({percent(rare / len(recommended))}), as are {percent(tail / len(tracks))} of "
            "all tracks."
        )
    body = together([paragraph(intro), picture(drawn)])
    return Section("long-tail", "The long tail", body, [drawn])
