"""A map of the space: known tracks where plays put them, new ones where the model puts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldstart.evaluation.tasks import evenly_spaced
from coldstart.reporting.charts import Group, group_map
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
from coldstart.reporting.style import COLOURS, Size
from coldstart.summary.genres import OTHERS, UNKNOWN, most_frequent, shown
from coldstart.summary.material import Material

MOST = 2000
"""So many tracks are drawn at most."""

LEAST = 10
"""A map of fewer says nothing."""

PERPLEXITY = 30.0
"""Of t-SNE; for few tracks it is a quarter of them."""

Plane = NDArray[np.floating]
"""[N, 2]."""


def factor_map(material: Material, seed: int = 0) -> Section | None:
    """The section; None with too few tracks."""
    if material.recommender is None:
        return None
    catalogue = material.recommender.catalogue
    directions = catalogue.directions.double().numpy()
    placed = np.flatnonzero(np.abs(directions).sum(1))
    rows = _sample(placed, catalogue.warm, MOST)
    if len(rows) < LEAST:
        return None
    plane, way = in_a_plane(directions[rows], seed)
    ids = [catalogue.track_ids[row] for row in rows]
    cold = rows >= catalogue.warm
    genre = material.genres
    names = most_frequent(genre, ids, len(COLOURS))
    of_track = np.array([genre.get(track, UNKNOWN) for track in ids])
    rest = OTHERS if set(of_track) - {*names, UNKNOWN} else UNKNOWN
    group_of = np.array([name if name in names else rest for name in of_track])
    groups = [
        Group(shown(name), plane[group_of == name], cold[group_of == name])
        for name in [*names, rest]
        if (group_of == name).any()
    ]
    agreement = _agreement(directions[rows], cold, of_track)
    counted = f"n = {len(rows):,} of {len(placed):,} tracks"
    labels = (f"{way}, first axis, no unit ({counted}, seed {seed})", "second axis, no unit")
    signs = f"new: placed by content ({int(cold.sum()):,})"
    cells: list[list[TableCell]] = [
        [group.name, int((~group.marked).sum()), int(group.marked.sum())] for group in groups
    ]
    nearest = "" if agreement is None else _share(*agreement)
    drawn = Picture(
        "map",
        f"A map of {len(rows):,} tracks by {way}, coloured by genre; {int(cold.sum()):,} new ones, "
        "placed by their content, are crosses among the known ones." + f" {nearest}".rstrip(),
        lambda figure, narrow: group_map(
            figure,
            narrow,
            groups,
            (labels[0].replace(" (", "\n(") if narrow else labels[0], labels[1]),
            signs,
        ),
        Size(6.6, 5.2),
        f"{way} of directions in the space, by their cosine. Near is alike; distances between far "
        "groups, and the axes, mean nothing. Colours are the eight most frequent genres.",
        DataTable(["genre", "known tracks (dots)", "new tracks (crosses)"], cells),
    )
    intro = (
        "Known tracks lie where their listeners put them, new ones where the model puts them by "
        "content alone. "
        f"{nearest}"
    )
    body = together([paragraph(intro), picture(drawn)])
    return Section("map", "A map of the space", body, [drawn])


def _share(alike: float, expected: float) -> str:
    return (
        f"Of the new tracks {percent(alike)} have the genre of the known track nearest to them (in "
        f"the space itself, not on the map); by chance it would be {percent(expected)}."
    )


def _sample(rows: NDArray[np.int64], warm: int, most: int) -> NDArray[np.int64]:
    """At most so many rows, evenly spaced; new ones are up to a half of them, to be seen."""
    known, new = rows[rows < warm], rows[rows >= warm]
    of_new = min(len(new), max(most // 2, most - len(known)))
    new = new[evenly_spaced(len(new), of_new)]
    known = known[evenly_spaced(len(known), most - len(new))]
    return np.concatenate([known, new])


def in_a_plane(directions: NDArray[np.float64], seed: int) -> tuple[Plane, str]:
    """Points of a plane that keep what is near near: t-SNE, or else the two main axes.

    Args:
        directions: [N, K] of length 1; N ≥ 4.
        seed: of t-SNE.

    Returns:
        [N, 2], and the name of the way.

    >>> corners = np.repeat(np.eye(3), 2, axis=0)
    >>> main_axes(corners).shape
    (6, 2)
    """
    axes = main_axes(directions)
    try:
        from sklearn.manifold import TSNE
    except ModuleNotFoundError:
        return axes, "PCA"
    # By a few main axes: t-SNE takes long in hundreds of dimensions, and they hold what is near.
    reduced = main_axes(directions, min(50, *directions.shape))
    start = axes / max(1e-12, float(axes[:, 0].std())) * 1e-4
    tsne = TSNE(
        init=start,
        perplexity=min(PERPLEXITY, len(directions) / 4),
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(tsne.fit_transform(reduced)), "t-SNE"


def main_axes(points: NDArray[np.float64], count: int = 2) -> NDArray[np.float64]:
    """Coordinates [N, count] on the axes along which the points differ most (PCA); zeros beyond."""
    centred = points - points.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    vectors = vectors[:, np.argsort(-values)[:count]]
    # An axis has no sign of its own; with this one, the picture is the same everywhere.
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
    found = centred @ vectors
    return np.pad(found, ((0, 0), (0, count - found.shape[1])))


def _agreement(
    directions: NDArray[np.float64], cold: NDArray[np.bool_], genre: NDArray[np.str_]
) -> tuple[float, float] | None:
    """How many new tracks have the genre of the nearest known one; and by chance."""
    known, new = (
        np.flatnonzero(~cold & (genre != UNKNOWN)),
        np.flatnonzero(cold & (genre != UNKNOWN)),
    )
    if not len(known) or len(new) < LEAST:
        return None
    nearest = known[(directions[new] @ directions[known].T).argmax(1)]
    names, counts = np.unique(genre[known], return_counts=True)
    share = dict(zip(names.tolist(), (counts / len(known)).tolist(), strict=True))
    expected = float(np.mean([share.get(str(name), 0.0) for name in genre[new]]))
    return float((genre[new] == genre[nearest]).mean()), expected
