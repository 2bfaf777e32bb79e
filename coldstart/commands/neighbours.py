"""The verb `neighbours`: the tracks nearest to one, by plays, by attributes and by a model.

Rows 2, 6 and 12 of the talk. Beside the names stands how popular each track is, so that one sees
whether plays pull towards the popular while content finds the long tail.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart.errors import InputError
from coldstart.files import StrPath, writable
from coldstart.reporting.terminal import json_line
from coldstart.reporting.text import clean, cut, side_by_side, width

if TYPE_CHECKING:
    from coldstart.retrieval.neighbours import Neighbours, Space
    from coldstart.retrieval.popularity import Track

COLUMN = 36  # three of them and the ranks fit 120 cells


def neighbours(
    *,
    run: StrPath,
    like: str,
    ranks: str | Sequence[int] | None = None,
    k: int = 10,
    attributes: str = "mgp",
    picture: str | None = None,
    shards: str | None = None,
    factors: str | None = None,
    json: bool = False,
) -> Neighbours:
    """Show a track's nearest tracks by plays, by attributes and by a model, side by side.

    By plays: cosine of collaborative-filtering factors; a held-out track's are folded in from its
    own plays, which the model never saw. By attributes: cosine of centred attribute vectors. By
    the model: cosine of its predictions, for warm and cold tracks alike. Candidates are all other
    tracks that have a vector in that space.

    Args:
        run: folder of a fitted run.
        like: id of a track in the shards or the factors.
        ranks: which neighbours to show, such as 1,2,3,35 (1 = nearest); by default 1 to k.
        k: how many to show, if no ranks are named.
        attributes: the attributes' folder in the shards.
        picture: file to draw the popularity curve into: .png, .svg or .pdf.
        shards: other shards than the run's.
        factors: other factors than the run's.
        json: print JSON, for programs.

    Returns:
        The query, its neighbours in each space, and how popular they are.

    Raises:
        InputError: there is no such track, or no space knows it.
    """
    from coldstart.reporting.pictures import picture_format
    from coldstart.retrieval.neighbours import neighbours_of
    from coldstart.retrieval.popularity import tracks_by_id
    from coldstart.runs.run import open_run
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.stages import complete

    shown_ranks = _ranks(ranks, k)
    if picture is not None:
        picture_format(writable(picture))
    if shards is not None:
        complete(Path(run), shards, lightning_cli, factors)
    opened = open_run(run, shards, factors)
    result = neighbours_of(opened, like, shown_ranks, attributes)
    if picture is not None:
        _draw(picture, result, tracks_by_id(opened.data.shards, opened.data.known_factors()))
    print(json_line(_as_json(result)) if json else _as_text(result))
    if picture is not None and not json:
        print(f"wrote {picture}")
    return result


def _ranks(ranks: str | Sequence[int] | None, k: int) -> list[int]:
    """Ranks to show, each once, in order."""
    if ranks is None:
        ranks = range(1, k + 1)
    elif isinstance(ranks, str):
        parts = re.split(r"[,\s]+", ranks.strip("[]() ,"))
        if not all(re.fullmatch("[0-9]+", part) for part in parts):
            raise InputError(f"ranks: {ranks!r} is no list of ranks such as 1,2,3,35")
        ranks = [int(part) for part in parts]
    if len(ranks) == 0 or min(ranks) < 1:
        raise InputError("ranks and k are at least 1")
    return sorted(set(ranks))


def _name(track: Track, most: int) -> str:
    """Title and artist in so many cells."""
    title, artist = clean(track.title) or track.track_id, clean(track.artist)
    if not artist:
        return cut(title, most)
    artist = cut(artist, max(most // 3, most - 3 - width(title)))
    return f"{cut(title, most - 3 - width(artist))} – {artist}"


def _plays(track: Track) -> str:
    return f"{track.plays:,} play{'s' * (track.plays != 1)}"


def _draw(picture: str, result: Neighbours, tracks: dict[str, Track]) -> None:
    import numpy as np

    from coldstart.reporting.pictures import popularity_curve

    place = {track: i for i, track in enumerate(tracks)}
    results = {
        f"neighbours: {space.name}{' (none)' if space.why_not else ''}": [
            place[near.track.track_id] for near in space.neighbours
        ]
        for space in result.spaces
    }
    popularity_curve(
        picture,
        np.array([track.plays for track in tracks.values()], dtype=np.float64),
        np.array([track.popularity_rank for track in tracks.values()]),
        place[result.query.track_id],
        results,
        title=f"Neighbours of {_name(result.query, 60)}",
        head=result.tracks - result.long_tail,
    )


def _as_json(result: Neighbours) -> dict[str, Any]:
    spaces = [
        {
            "space": space.name,
            "why_not": space.why_not or None,
            "candidates": space.candidates,
            "candidates_in_long_tail": space.candidates_in_long_tail,
            "median_popularity_rank": space.median_rank,
            "in_long_tail": space.in_long_tail,
            "ranks_left_out": list(space.ranks_left_out),
            "neighbours": [
                {"rank": n.rank, "similarity": n.similarity, **n.track._asdict()}
                for n in space.neighbours
            ],
        }
        for space in result.spaces
    ]
    counts = {"tracks": result.tracks, "long_tail": result.long_tail}
    return {"query": result.query._asdict(), **counts, "spaces": spaces}


def _as_text(result: Neighbours) -> str:
    from coldstart.retrieval.popularity import HEAD

    query, tail = result.query, f"{result.long_tail:,} of {result.tracks:,}"
    ranks = sorted({near.rank for space in result.spaces for near in space.neighbours})
    table = [["rank", "----", *(line for rank in ranks for line in (f"{rank:>4}", ""))]]
    table += [_column(space) for space in result.spaces]
    lines = [
        f"query: {_name(query, 70)}{'*' * query.cold} ({query.track_id})",
        f"       {_plays(query)}, popularity rank {query.popularity_rank:,} of "
        f"{result.tracks:,} ({query.played_more:.1%} of all tracks are played more), in the "
        f"{'long tail' if query.long_tail else 'head'}",
        "",
        side_by_side(table, [max(4, *(len(r) for r in table[0])), *[COLUMN] * len(result.spaces)]),
        "",
        *(_summary(space) for space in result.spaces if not space.why_not),
        "",
        f"no.: popularity rank. tail: the long tail: {tail} tracks, all but the most-played that "
        f"make up {HEAD:.0%} of all plays.",
        "*: cold: the factorisation never saw it; one that has plays is placed in CF by them, "
        "afterwards.",
    ]
    return "\n".join(lines)


def _column(space: Space) -> list[str]:
    """A space's column of the table: two lines a neighbour, or why there are none."""
    about = {"CF": "plays", "predicted": "the run's model"}.get(space.name, "attributes")
    lines = [cut(f"{space.name} ({about})", COLUMN), "-" * COLUMN]
    if space.why_not:
        return [*lines, *textwrap.wrap(f"No neighbours: {space.why_not}.", COLUMN)]
    for near in space.neighbours:
        track = near.track
        tail = "  tail" if track.long_tail else ""
        lines += [
            _name(track, COLUMN - 1) + "*" * track.cold,
            f"{near.similarity:6.3f}  {_plays(track)}  no. {track.popularity_rank:,}{tail}",
        ]
    return lines


def _summary(space: Space) -> str:
    """How popular a space's neighbours are, beside its candidates."""
    shown, candidates = len(space.neighbours), space.candidates
    line = f"{space.name}: {shown:,} shown of {candidates:,} candidates"
    if shown:
        line += (
            f"; median popularity rank {space.median_rank:,.10g}; in the long tail "
            f"{space.in_long_tail / shown:.0%} of these, "
            f"{space.candidates_in_long_tail / candidates:.0%} of all candidates"
        )
    if space.ranks_left_out:
        line += f"; there is no rank beyond {candidates:,}"
    return line
