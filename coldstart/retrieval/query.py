"""What is asked, and what is answered: a vector of the space, and the tracks nearest to it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from coldstart.errors import InputError, UnknownIdError
from coldstart.model.explain import BY_PLAYS, Explain, Similarity, Why
from coldstart.retrieval.catalogue import SOURCES, Catalogue
from coldstart.retrieval.picks import AS_SCORED, Mix, best
from coldstart.retrieval.selection import Selection
from coldstart.retrieval.why import ScoreParts, completed, parts_of_score

Vector = Tensor | NDArray[np.floating] | Sequence[float]
"""A query: a vector [K] of the space."""

NOWHERE: NDArray[np.int64] = np.zeros(0, np.int64)
"""No rows."""


class Query(NamedTuple):
    """A place that tracks are compared with.

    Attributes:
        vector: [K].
        excluded: rows of the catalogue that are no answer, such as what a listener has played.
        by_length: whether the score is a dot product, and no cosine.
    """

    vector: Tensor
    excluded: NDArray[np.int64] = NOWHERE
    by_length: bool = False

    def similarity(self) -> Similarity:
        """Vectors [N, K] → their scores [N]."""
        if self.by_length:
            return lambda vectors: vectors @ self.vector.to(vectors)
        direction = F.normalize(self.vector, dim=0)
        return lambda vectors: F.normalize(vectors, dim=1) @ direction.to(vectors)


class Recommendation(NamedTuple):
    """One recommended track.

    Attributes:
        rank: 1 is best.
        track_id: its id.
        title: its title.
        artist: its artist.
        plays: in the listening log; a held-out track's plays were hidden from the factorisation.
        similarity: cosine between the query's vector and the track's, -1..1; for a user of a model
            in which lengths count, the dot product: how much they are predicted to like it, about
            0..1 with implicit factors.
        why: what added how much to the similarity, if that was asked for.
        by: what its place is known by: `plays` (a warm track), `content` (a cold one), or `both`
            (a cold one that has been played since, in an ensemble).
    """

    rank: int
    track_id: str
    title: str
    artist: str
    plays: int
    similarity: float
    why: Why | None = None
    by: str = "content"

    def as_json(self) -> dict[str, Any]:
        """With `why` only where it was asked for."""
        plain = self._asdict()
        why: Why | None = plain.pop("why")
        return plain if why is None else {**plain, "why": why.as_json()}


class Recommendations(list[Recommendation]):
    """Recommended tracks, best first; a table in a notebook, and a data frame where one is needed.

    Attributes:
        by_length: whether `similarity` is a dot product, and no cosine.

    >>> rows = [Recommendation(1, "t7", "Blue <3", "A Band", 12, 0.5)]
    >>> "<td>Blue &lt;3" in Recommendations(rows)._repr_html_()
    True
    """

    def __init__(self, rows: Iterable[Recommendation] = (), by_length: bool = False) -> None:
        """A list of rows."""
        super().__init__(rows)
        self.by_length = by_length

    @property
    def measure(self) -> str:
        """What `similarity` is, in a word, as the header of a column has it."""
        return "liking" if self.by_length else "cosine"

    def measured(self) -> str:
        """What `similarity` is, in a sentence."""
        if self.by_length:
            return (
                "liking: how much this listener is predicted to like it, about 0 to 1; a dot "
                "product, to be compared within this list"
            )
        return "cosine: how near it is to what was asked, -1 to 1; 1 is the same direction"

    def to_polars(self) -> pl.DataFrame:
        """A polars data frame: a column an attribute of `Recommendation`; `why`, if it was asked
        for, as text.
        """
        columns: dict[str, Any] = {
            "rank": pl.Int64,
            "track_id": pl.String,
            "title": pl.String,
            "artist": pl.String,
            "plays": pl.Int64,
            "similarity": pl.Float64,
            "by": pl.String,
        }
        if any(row.why is not None for row in self):
            columns["why"] = pl.String
        return pl.DataFrame(self._records(list(columns)), schema=columns, orient="row")

    def to_pandas(self) -> Any:
        """The same as a pandas data frame.

        Raises:
            InputError: pandas isn't installed.
        """
        try:
            pandas = importlib.import_module("pandas")  # its types aren't there without it
        except ImportError as error:
            raise InputError(
                "pandas isn't installed, and coldstart doesn't need it: pip install pandas, or "
                "take `to_polars`"
            ) from error
        frame = self.to_polars()
        return pandas.DataFrame(frame.to_dict(as_series=False))

    def _records(self, columns: Sequence[str]) -> list[list[Any]]:
        plain = [{**row._asdict(), "why": str(row.why) if row.why else None} for row in self]
        return [[row[column] for column in columns] for row in plain]

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        frame = self.to_polars().rename({"similarity": self.measure})
        cells = [[escape(_shown(cell)) for cell in row] for row in frame.rows()]
        head = "".join(f"<th>{escape(name)}</th>" for name in frame.columns)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
        return (
            f"<table><caption>{escape(self.measured())}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def _shown(cell: object) -> str:
    """A cell for people."""
    if cell is None:
        return ""
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def like(catalogue: Catalogue, tracks: Sequence[str]) -> Query:
    """What is near a track; or near the mean of several tracks' directions.

    Raises:
        InputError: an unknown track, or one without a place; or directions that cancel out.
    """
    rows = np.array([row_of(catalogue, track) for track in tracks], np.int64)
    directions = catalogue.directions[torch.from_numpy(rows)]
    vector = catalogue.vectors[int(rows[0])] if len(rows) == 1 else directions.mean(0)
    if len(rows) > 1 and float(vector.norm()) < 1e-6:
        raise InputError("these tracks lie in opposite directions, so nothing is near all of them")
    return Query(vector, rows)


def listener(catalogue: Catalogue, user: str) -> Query:
    """What a listener likes, without all that they have played.

    Raises:
        InputError: an unknown listener, or one of whose taste nothing is known.
    """
    row = None if catalogue.factors is None else catalogue.user_row.get(user)
    if row is None:
        raise UnknownIdError(f"there is no user {user!r} in the factors")
    if not catalogue.has_taste[row]:
        raise InputError(
            f"user {user!r} has no training listens, so nothing is known of their taste"
        )
    vector = torch.from_numpy(catalogue.known_factors().users[row])
    return Query(vector, catalogue.played_by(row), catalogue.by_length)


def place(catalogue: Catalogue, vector: Vector) -> Query:
    """What is near any vector of the space.

    Raises:
        InputError: it isn't K finite numbers, not all zero.
    """
    query = torch.as_tensor(vector, dtype=torch.float32).detach().cpu()
    if query.shape != (catalogue.width,) or not query.isfinite().all() or not query.any():
        raise InputError(
            f"vector: shape {tuple(query.shape)}; needed are {catalogue.width} finite numbers, not "
            "all zero, such as a row of what `embed` gives"
        )
    return Query(query)


def row_of(catalogue: Catalogue, track: str) -> int:
    """A track's row in the catalogue.

    Raises:
        UnknownIdError: there is no such track, or it was removed.
        InputError: nothing is known of it.
    """
    row = catalogue.row.get(track)
    if row is not None:
        return row
    if track in catalogue.removed:
        raise UnknownIdError(f"{catalogue.name}: track {track!r} was removed")
    if catalogue.in_use["track_id"].is_in([track]).any():
        raise InputError(
            f"nothing is known of track {track!r}: it has no plays, and none of what this model "
            f"reads ({', '.join(catalogue.inputs)})"
        )
    raise UnknownIdError(f"{catalogue.name}: there is no track {track!r}")


def scores_of(query: Query, selection: Selection) -> Tensor:
    """[M] the candidates' scores; -inf for those that are no answer."""
    if query.by_length:
        places, vector = selection.scoring, query.vector
    else:
        places, vector = selection.directions, F.normalize(query.vector, dim=0)
    # NumPy's product of a matrix and a vector takes half the time of torch's here, at any size.
    scores = torch.from_numpy(places.numpy() @ vector.numpy())
    excluded = selection.positions(query.excluded)
    scores[torch.from_numpy(excluded[excluded >= 0])] = -float("inf")
    return scores


def answer(
    catalogue: Catalogue,
    query: Query,
    selection: Selection,
    k: int = 10,
    mix: Mix = AS_SCORED,
    explain: Explain | None = None,
) -> Recommendations:
    """The candidates with the highest scores.

    Args:
        catalogue: the tracks.
        query: what is asked.
        selection: the candidates.
        k: how many.
        mix: what the list keeps to beside the scores.
        explain: explains what content adds to the scores; warm tracks have only plays.

    Returns:
        At most k, best first.

    Raises:
        InputError: k or `mix` is out of range, or all candidates are excluded.
    """
    if k < 1:
        raise InputError("k is at least 1")
    mix.check()
    scores = scores_of(query, selection)
    artists = selection.artists if mix.per_artist else None
    picks = best(scores[None], k, selection.warm, artists, mix)
    size = int((picks.positions[0] >= 0).sum())
    if not size:
        raise InputError(
            f"there is no track of those named to recommend in {catalogue.name}: all "
            f"{len(selection):,} candidates are the query itself or were played by this user"
        )
    rows = selection.rows[picks.positions[0, :size]]
    reasons = _reasons(catalogue, query, rows, explain) if explain else {}
    # Row by row: taking them at once starts threads, which takes longer than all else here.
    tracks = [catalogue.labels.row(row) for row in rows.tolist()]
    recommendations = Recommendations(by_length=query.by_length)
    for i, (track, title, artist, plays) in enumerate(tracks):
        by = SOURCES[catalogue.sources[rows[i]]]
        why = reasons.get(track, BY_PLAYS) if explain else None
        score = round(float(picks.scores[0, i]), 4)
        recommendations.append(Recommendation(i + 1, track, title, artist, plays, score, why, by))
    return recommendations


def _reasons(
    catalogue: Catalogue, query: Query, rows: NDArray[np.int64], explain: Explain
) -> dict[str, Why]:
    """Why the cold tracks among these rows have their scores."""
    similarities: dict[str, Similarity] = {}
    parts: dict[str, ScoreParts] = {}
    for row in rows[rows >= catalogue.warm]:
        track, part = catalogue.track_ids[row], None
        if catalogue.joined is not None:
            cold, place = int(row) - catalogue.warm, catalogue.vectors[int(row)]
            part = parts_of_score(catalogue.joined, cold, place, query.vector, query.by_length)
        if part is not None:
            parts[track] = part
        similarities[track] = part.similarity if part else query.similarity()
    reasons = dict(explain(similarities)) if similarities else {}
    return reasons | {track: completed(reasons[track], part) for track, part in parts.items()}
