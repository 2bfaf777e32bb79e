"""Pictures that verbs draw in addition to what they print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.errors import one_of
from coldstart.files import StrPath, atomic
from coldstart.reporting.charts import DotRow, dot_heights, dot_plot, popularity_axes
from coldstart.reporting.style import COLOURS, INK, MARKERS, QUIET, Draw, Size, drawn, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")


def picture_format(path: StrPath) -> str:
    """A picture's format, by the extension of its file.

    Raises:
        InputError: a picture can't be written in this format.
    """
    extension = Path(path).suffix.lower()
    one_of("picture", extension, FORMATS)
    return extension.removeprefix(".")


def popularity_curve(
    path: StrPath,
    plays: NDArray[np.float64],
    rank: NDArray[np.int64],
    query: int,
    results: Mapping[str, Sequence[int]],
    *,
    title: str,
    head: int,
) -> None:
    """Draw plays against popularity rank, with a query and its results on that curve.

    Args:
        path: .png, .svg or .pdf; written atomically.
        plays: [N] of every track, in any order.
        rank: [N] popularity ranks, 1 = most played.
        query: the query's position in `plays`.
        results: label → the results' positions in `plays`; a label without results is only in
            the legend.
        title: of the picture, as plain text (no markup).
        head: number of tracks before the long tail.

    Raises:
        InputError: the path's extension is none of these.
    """
    picture_format(path)

    def draw(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        axes.plot(
            np.arange(1, len(plays) + 1), np.sort(plays)[::-1], color=QUIET, label="all tracks"
        )
        axes.axvline(head + 0.5, color=QUIET, linestyle=":", label="the long tail begins")
        # Hollow, and smaller from one to the next, so that all marks at one point are visible.
        for i, (label, positions) in enumerate(results.items()):
            rows = np.asarray(positions, dtype=np.int64)
            style: dict[str, Any] = {
                "marker": MARKERS[i % len(MARKERS)],
                "markersize": max(5, 13 - 3 * i),
                "markeredgecolor": COLOURS[i % len(COLOURS)],
                "markeredgewidth": 1.5,
            }
            axes.plot(
                rank[rows], plays[rows], linestyle="", markerfacecolor="none", label=label, **style
            )
        axes.plot(rank[query], plays[query], "*", color=INK, markersize=14, label="the query")
        popularity_axes(axes, plays)
        axes.set_xlabel(f"popularity rank, 1 = most played (n = {len(plays):,} tracks)")
        axes.set_ylabel("plays")
        axes.set_title(title)
        axes.legend()

    _save(path, draw, Size(5, 5))


def dot_picture(path: StrPath, rows: Sequence[DotRow], label: str) -> None:
    """Draw figures as dots with their intervals, a row each, the first on top.

    Args:
        path: .png, .svg or .pdf; written atomically.
        rows: from top to bottom.
        label: of the axis: the figure, its unit and n.

    Raises:
        InputError: the path's extension is none of these.
    """
    picture_format(path)

    def draw(figure: Figure, narrow: bool) -> None:
        dot_plot(figure, narrow, rows, label)

    _save(path, draw, Size(*dot_heights(len(rows))))


def _save(path: StrPath, draw: Draw, size: Size) -> None:
    """Write a picture, in the format that its name says."""
    file_format = picture_format(path)
    with styled(), atomic(path) as temporary:
        # No date: the same picture is the same file.
        metadata = {"Date": None} if file_format == "svg" else None
        figure = drawn(draw, size)
        figure.savefig(temporary, format=file_format, dpi=150, metadata=metadata)


class Point(NamedTuple):
    """A figure with its interval.

    Attributes:
        x: of what, such as a number of plays.
        y: the figure.
        low: lower end of its interval.
        high: upper end.
    """

    x: float
    y: float
    low: float
    high: float


def warm_up_picture(
    path: StrPath, curves: Mapping[str, Sequence[Point]], leads: Mapping[str, Sequence[Point]]
) -> None:
    """Draw figures against the number of plays that are known, a curve a method; and below, on a
    scale of its own, how far the first method is ahead of others.

    Args:
        path: .png, .svg or .pdf; written atomically.
        curves: method → its points, with the same numbers of plays; the first is drawn thicker.
        leads: method → the first method's figure minus this one's, with the paired interval.

    Raises:
        InputError: the path's extension is none of these.
    """
    picture_format(path)

    def draw(figure: Figure, narrow: bool) -> None:
        draw_warm_up(figure, narrow, curves, leads)

    _save(path, draw, WARM_UP_SIZE)


WARM_UP_SIZE = Size(6.6, 6.4)
"""Of `draw_warm_up`."""


def draw_warm_up(
    figure: Figure,
    narrow: bool,
    curves: Mapping[str, Sequence[Point]],
    leads: Mapping[str, Sequence[Point]],
) -> None:
    """As `warm_up_picture`, into an empty figure."""
    above, below = figure.subplots(2, 1, height_ratios=[3, 2])
    first, *others = curves
    look = {
        name: (colour, marker)
        for name, colour, marker in zip(curves, COLOURS, MARKERS, strict=False)
    }
    for name in [*others, first]:
        _curve(above, curves[name], look[name], name, 2.6 if name == first else 1.6)
    above.set_ylim(bottom=0)
    above.set_ylabel("NDCG@20 of later plays" if narrow else "NDCG@20 of the plays that follow")
    order = [*range(len(others), len(curves)), *range(len(others))]
    handles, labels = above.get_legend_handles_labels()
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside upper left",
        ncols=2 if narrow else len(order),
        columnspacing=1.2,
        borderaxespad=0,
    )
    below.axhline(0, color=INK, linewidth=1)
    for name, points in leads.items():
        _curve(below, points, look[name], f"ahead of {name}", 1.6)
    below.set_ylabel(f"{first} minus other" if narrow else f"{first} minus the other")
    below.set_xlabel("plays of each new track that are known")
    below.legend()
    plays = [f"{point.x:g}" for point in curves[first]]
    for axes in (above, below):
        axes.set_xticks(range(len(plays)), plays)
        axes.grid(axis="y")


def _curve(
    axes: Axes, points: Sequence[Point], look: tuple[str, str], label: str, width: float
) -> None:
    """Draw points, one after the other at equal distances, and the band of their intervals."""
    places, (colour, marker) = range(len(points)), look
    low, high = [point.low for point in points], [point.high for point in points]
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    figures = [point.y for point in points]
    axes.plot(
        places, figures, color=colour, marker=marker, markersize=5, linewidth=width, label=label
    )
