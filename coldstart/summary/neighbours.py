"""Tracks and what is recommended for them, to be listened to where that is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coldstart.reporting.page import Html, Section, escaped, number, paragraph, together
from coldstart.retrieval.query import Recommendation
from coldstart.summary.clips import clips_of
from coldstart.summary.genres import shown
from coldstart.summary.material import Material
from coldstart.summary.queries import Example


def neighbours(material: Material, examples: Sequence[Example], room: int) -> Section | None:
    """The section; None where nothing can be asked.

    Args:
        material: of the run.
        examples: queries, and what is recommended for them.
        room: how many bytes of the page may be sound.
    """
    if not examples:
        return None
    clips: Mapping[str, str] = {}
    intro = (
        "Four tracks that were chosen by a rule, not by hand: of each third of all plays the track "
        "in the middle, and the test track in the middle."
    )
    notes = []
    if material.play:
        assert material.recommender is not None
        # First the queries, then the best of each list: what doesn't fit is the last.
        ids = [example.track.track_id for example in examples]
        lists = [[each.track_id for each in example.recommended] for example in examples]
        for place in range(max((len(each) for each in lists), default=0)):
            ids += [each[place] for each in lists if place < len(each)]
        clips, left_out = clips_of(material.recommender.run.data.shards, ids, room)
        if clips:
            intro += " Each player has 15 seconds from the middle of the track."
        if left_out:
            notes.append(paragraph(left_out, "note"))
    cards = "\n".join(_card(example, material.genres, clips) for example in examples)
    body = together([paragraph(intro), f"<div class=queries>{cards}</div>", *notes])
    return Section("tracks", "Tracks and what is like them", body)


def _card(example: Example, genres: Mapping[str, str], clips: Mapping[str, str]) -> Html:
    track = example.track
    rows = "\n".join(_row(each, genres, clips) for each in example.recommended)
    genre = shown(genres[track.track_id]) if track.track_id in genres else ""
    plays = f"{_plays(track.plays)}, popularity rank {track.popularity_rank:,}"
    words = " · ".join(filter(None, [_artist(track.artist, track.title), genre, plays]))
    return Html(
        f"<article class=query><p class=kind>{escaped(example.kind)}</p>"
        f"<h3>{escaped(track.title or track.track_id)}</h3>"
        f"<p class=by>{escaped(words)}</p>{_player(track.track_id, track.title, clips)}"
        f"<p class=what>{escaped(example.of_what)}</p><ol>{rows}</ol></article>"
    )


def _row(each: Recommendation, genres: Mapping[str, str], clips: Mapping[str, str]) -> str:
    genre = shown(genres[each.track_id]) if each.track_id in genres else ""
    words = [_artist(each.artist, each.title), genre, _plays(each.plays)]
    return (
        f"<li><b>{escaped(each.title or each.track_id)}</b>"
        f"<span class=number title='similarity'>{number(each.similarity)}</span>"
        f"<span class=by>{escaped(' · '.join(word for word in words if word))}</span>"
        f"{_player(each.track_id, each.title, clips)}</li>"
    )


def _player(track: str, title: str, clips: Mapping[str, str]) -> str:
    if track not in clips:
        return ""
    name = escaped(f"15 seconds of {title or track}")
    return f'<audio controls preload=none aria-label="{name}" src="{clips[track]}"></audio>'


def _artist(artist: str, title: str) -> str:
    """Nothing where a dataset's tracks are artists."""
    return "" if artist == title else artist


def _plays(plays: int) -> str:
    return "no plays" if not plays else f"{plays:,} play{'s' * (plays != 1)}"
