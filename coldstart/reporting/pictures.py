"""Pictures that verbs draw in addition to what they print."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.errors import one_of
from coldstart.files import StrPath, atomic

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
        x: where.
        y: the figure.
        low: lower end of its interval.
        high: upper end.
    """

    x: float
    y: float
    low: float
    high: float


def warm_up_picture(path: StrPath, curves: Mapping[str, Sequence[Point]]) -> None:
    """Draw figures against the number of plays that are shown, a curve a method.

    The horizontal axis has the same distance between 0 and 1 as between 1 and 2, and is
    logarithmic beyond: the first plays matter most.

    Args:
        path: .png, .svg or .pdf; written atomically.
        curves: method → its points; the first is drawn on top, and thicker.

    Raises:
        InputError: the path's extension is none of these.
    """
    from matplotlib.figure import Figure

    file_format = picture_format(path)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for i, (name, points) in enumerate(curves.items()):
        x, colour = [point.x for point in points], COLOURS[i % len(COLOURS)]
        width, order = (2.6, 10) if i == 0 else (1.6, 9 - i)
        low, high = [point.low for point in points], [point.high for point in points]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        y = [point.y for point in points]
        marker = MARKERS[i % len(MARKERS)]
        axes.plot(x, y, color=colour, marker=marker, linewidth=width, zorder=order, label=name)
    ticks = sorted({point.x for points in curves.values() for point in points})
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("plays of each new track that are known")
    axes.set_ylabel("NDCG@20 of the plays that follow")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with atomic(path) as temporary:
        figure.savefig(temporary, format=file_format, dpi=150)
