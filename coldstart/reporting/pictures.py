"""Pictures that verbs draw in addition to what they print."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.errors import one_of
from coldstart.files import StrPath, atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")

MARKERS = "osD^vP"

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:brown", "tab:olive")


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

    Both axes are logarithmic; below one play the vertical one is linear, so that tracks without
    plays are shown too, at 0.

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
    from matplotlib.figure import Figure  # not pyplot, which has global state and opens windows

    file_format = picture_format(path)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(plays) + 1), np.sort(plays)[::-1], color="0.7", label="all tracks")
    axes.axvline(head + 0.5, color="0.5", linestyle=":", label="the long tail begins")
    # Hollow, and smaller from one to the next, so that all marks at one point are visible.
    for i, (label, positions) in enumerate(results.items()):
        rows = np.asarray(positions, dtype=np.int64)
        style: dict[str, Any] = {
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": max(5, 13 - 3 * i),
            "markeredgecolor": COLOURS[i % len(COLOURS)],
        }
        axes.plot(
            rank[rows], plays[rows], linestyle="", markerfacecolor="none", label=label, **style
        )
    axes.plot(rank[query], plays[query], "*", color="tab:red", markersize=14, label="the query")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=-0.3)
    axes.set_xlabel("popularity rank (1 = most played)")
    axes.set_ylabel("plays")
    # A title such as "A$AP $ong" isn't mathematics.
    axes.set_title(title, parse_math=False)
    for text in axes.legend().get_texts():
        text.set_parse_math(False)
    with atomic(path) as temporary, warnings.catch_warnings():
        # Titles may be in any script; matplotlib's font draws a box for a character that it lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(temporary, format=file_format, dpi=150)


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
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file_format = picture_format(path)
    figure = Figure(figsize=(8, 7.5), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=[3, 2])
    first, *others = curves
    colour = dict(zip(curves, COLOURS, strict=False))
    for name in [*others, first]:
        _curve(above, curves[name], colour[name], name, 2.6 if name == first else 1.6)
    above.set_ylim(bottom=0)
    above.set_ylabel("NDCG@20 of the plays that follow")
    order = [*range(len(others), len(curves)), *range(len(others))]
    handles, labels = above.get_legend_handles_labels()
    above.legend([handles[i] for i in order], [labels[i] for i in order], frameon=False)
    below.axhline(0, color="0.4", linewidth=1)
    for name, points in leads.items():
        _curve(below, points, colour[name], f"ahead of {name}", 1.6)
    below.set_ylabel(f"{first} minus the other")
    below.set_xlabel("plays of each new track that are known")
    below.legend(frameon=False)
    plays = [f"{point.x:g}" for point in curves[first]]
    for axes in (above, below):
        axes.set_xticks(range(len(plays)), plays)
        axes.grid(alpha=0.3)
    # The same picture is the same file: no date, and names that don't change. Text stays text.
    fixed = rc_context({"svg.hashsalt": "coldstart", "svg.fonttype": "none"})
    with atomic(path) as temporary, fixed:
        metadata = {"Date": None} if file_format == "svg" else None
        figure.savefig(temporary, format=file_format, dpi=150, metadata=metadata)


def _curve(axes: Axes, points: Sequence[Point], colour: str, label: str, width: float) -> None:
    """Draw points, one after the other at equal distances, and the band of their intervals."""
    places = range(len(points))
    low, high = [point.low for point in points], [point.high for point in points]
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    figures = [point.y for point in points]
    axes.plot(places, figures, "o-", color=colour, linewidth=width, label=label)
