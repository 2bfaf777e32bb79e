"""The verb `recommend`: tracks that nobody has played, for a track, a file or a user."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coldstart.errors import InputError
from coldstart.files import StrPath
from coldstart.reporting.terminal import json_line
from coldstart.reporting.text import clean

if TYPE_CHECKING:
    from coldstart.retrieval.query import Recommendation
    from coldstart.runs.run import Run


def recommend(
    *,
    run: StrPath,
    like: str | None = None,
    audio: str | None = None,
    user: str | None = None,
    k: int = 10,
    candidates: Literal["cold", "warm", "all"] = "cold",
    shards: str | None = None,
    factors: str | None = None,
    why: bool = False,
    json: bool = False,
) -> list[Recommendation]:
    """Recommend tracks like a track, like a sound file, or for a user.

    A warm track is where its plays put it, a cold one where its content puts it: both in the same
    space, so they can be compared.

    Args:
        run: folder of a fitted run.
        like: id of a track in the shards or the factors.
        audio: a sound file, which need not be in any dataset; the model must have an audio encoder.
        user: id of a listener; tracks that they have played are left out.
        k: how many.
        candidates: `cold`: tracks that the factorisation hasn't seen; `warm`: those it has; `all`.
        shards: other shards than the run's, to recommend from.
        factors: other factors than the run's.
        why: say what each modality of a cold track added to its similarity, and which attributes.
        json: print JSON, for programs.

    Returns:
        At most k recommendations, best first.
    """
    from coldstart.retrieval.hearing import hear
    from coldstart.retrieval.query import answer
    from coldstart.retrieval.why import explain_tracks
    from coldstart.runs.run import open_run, predictions_of
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.stages import complete

    if sum(query is not None for query in (like, audio, user)) != 1:
        raise InputError("name one query: --like TRACK_ID, --audio FILE or --user USER_ID")
    if shards is not None:
        complete(Path(run), shards, lightning_cli, factors)
    opened = open_run(run, shards, factors)
    rows = answer(
        opened.model,
        opened.data,
        lambda: predictions_of(opened),
        like=like,
        user=user,
        vector=hear(opened, audio) if audio is not None else None,
        k=k,
        candidates=candidates,
        explain=partial(explain_tracks, opened, shards, factors) if why else None,
    )
    _note_strange(rows, opened)
    _show(rows, json)
    return rows


def _note_strange(rows: list[Recommendation], run: Run) -> None:
    """A similarity from stored predictions is explained by the run, which may differ."""
    scores = [(r.similarity, r.why.score) for r in rows if r.why and r.why.by == "content"]
    if any(abs(shown - explained) > 1e-3 for shown, explained in scores):
        print(
            f"note: {run.folder / 'predictions'} was made with other settings than the run's own; "
            "what is printed below adds up to the similarity with the run's own. Run coldstart "
            f"predict --run {run.folder} to make both agree",
            file=sys.stderr,
        )


def _show(rows: list[Recommendation], json: bool) -> None:
    from tabulate import tabulate

    if json:
        print(json_line([_plain(row) for row in rows]))
        return
    cells = [
        (r.rank, clean(r.title), clean(r.artist), r.plays, r.similarity, clean(r.track_id))
        for r in rows
    ]
    headers = ["rank", "title", "artist", "plays", "similarity", "track id"]
    lines = tabulate(cells, headers=headers, floatfmt=".3f", disable_numparse=[1, 2, 5]).split("\n")
    print("\n".join(lines[:2]))
    for line, row in zip(lines[2:], rows, strict=True):
        print(line if row.why is None else f"{line}\n      {clean(str(row.why))}")


def _plain(row: Recommendation) -> dict[str, Any]:
    """What JSON says of it."""
    plain = row._asdict()
    why = plain.pop("why")
    return plain if why is None else {**plain, "why": why.as_json()}
