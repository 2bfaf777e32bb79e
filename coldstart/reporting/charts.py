"""What our pictures draw into an empty figure: dots with intervals, lines, maps, popularity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.reporting.style import ACCENT, COLOURS, GROUND, INK, LINE, MARKERS, OTHERS, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Role = Literal["ours", "rival", "floor"]
"""What a dot stands for: it says how it looks."""

_LOOKS: dict[Role, dict[str, Any]] = {
    "ours": {"color": ACCENT, "marker": "o", "markersize": 7, "zorder": 5},
    "rival": {"color": QUIET, "marker": "s", "markersize": 5.5, "markerfacecolor": GROUND},
    "floor": {"color": OTHERS, "marker": "D", "markersize": 4.5},
}

CURVE_POINTS = 600
"""A curve of all tracks is drawn with at most so many points."""


class Dot(NamedTuple):
    """A figure, with its interval where it is known.

    Attributes:
        series: what it belongs to, as the legend has it.
        role: how it looks.
        value: the figure.
        low: lower end of its interval; None: not known.
        high: upper end.
    """

    series: str
    role: Role
    value: float
    low: float | None = None
    high: float | None = None


class DotRow(NamedTuple):
    """A row of a dot plot: its label, and one or more figures; that of the first is written out."""

    label: str
    dots: Sequence[Dot]


def dot_heights(rows: float) -> tuple[float, float]:
    """Heights in inches of a dot plot of so many rows: wide, and narrow."""
    return 1.05 + 0.3 * rows, 1.2 + 0.47 * rows


def dot_plot(
    figure: Figure,
    narrow: bool,
    rows: Sequence[DotRow],
    label: str,
    *,
    zero: bool = True,
    signed: bool = False,
) -> None:
    """Draw dots with their intervals, a row each, the first on top.

    Args:
        figure: an empty one.
        narrow: labels stand above the dots, not beside them.
        rows: from top to bottom.
        label: of the axis: the figure, its unit and n.
        zero: whether the axis begins at 0.
        signed: whether figures are written with their sign, and a line is drawn at 0.
    """
    axes = figure.subplots()
    places = range(len(rows))
    shown: set[str] = set()  # series that are in the legend
    several = len({row.dots[0].role for row in rows}) > 1
    for place, row in zip(places, rows, strict=True):
        for dot in reversed(row.dots):
            style = dict(_LOOKS[dot.role])
            if dot.low is not None and dot.high is not None:
                axes.plot(
                    [dot.low, dot.high], [place, place], color=style["color"], linewidth=2.2,
                    alpha=0.55, solid_capstyle="round", zorder=2,
                )  # fmt: skip
            name = "_" if dot.series in shown else dot.series
            axes.plot(dot.value, place, linestyle="", label=name, **style)
            shown.add(dot.series)
        first = row.dots[0]
        written = f"{first.value:+.3f}".replace("-", "−") if signed else f"{first.value:.3f}"
        weight = "bold" if several and first.role == "ours" else "normal"
        axes.text(
            1.02, place, written, transform=axes.get_yaxis_transform(), va="center", weight=weight
        )
        if narrow:
            axes.text(
                0, place - 0.17, row.label, transform=axes.get_yaxis_transform(), va="bottom",
                weight=weight, fontsize=8.5,
            )  # fmt: skip
    axes.set_yticks(list(places), [] if narrow else [row.label for row in rows])
    for text, row in zip(axes.get_yticklabels(), rows, strict=False):
        text.set_fontweight("bold" if several and row.dots[0].role == "ours" else "normal")
    axes.set_ylim(len(rows) - 0.5, -0.8 if narrow else -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    if signed:
        axes.axvline(0, color=INK, linewidth=1)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.05 * (high - low)), max(high, 0.05 * (high - low)))
        axes.locator_params(axis="x", nbins=5)
    elif zero:
        axes.set_xlim(left=0)
    axes.set_xlabel(label)
    if len(shown) > 1:
        roles = {dot.series: list(_LOOKS).index(dot.role) for row in rows for dot in row.dots}
        _legend_above(figure, axes, narrow, sorted(roles, key=roles.__getitem__))


def _legend_above(figure: Figure, axes: Axes, narrow: bool, order: Sequence[str]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    pairs = [(label, handles[labels.index(label)]) for label in order]
    figure.legend(
        [handle for _, handle in pairs],
        [label for label, _ in pairs],
        loc="outside upper left",
        ncols=len(order) if not narrow or len(order) < 4 else 2,
        handletextpad=0.3,
        columnspacing=1.6,
        borderaxespad=0,
    )


class Curve(NamedTuple):
    """Figures that a line joins.

    Attributes:
        name: as the legend has it.
        x: [N].
        y: [N].
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Panel(NamedTuple):
    """Lines over one another, on one scale.

    Attributes:
        label: of the vertical axis: the figure and its unit.
        lines: one or more.
    """

    label: str
    lines: Sequence[Curve]


def line_panels(
    figure: Figure, narrow: bool, panels: Sequence[Panel], label: str, mark: float | None = None
) -> None:
    """Draw panels beside one another (narrow: beneath), with one horizontal axis.

    Args:
        figure: an empty one.
        narrow: see above.
        panels: one or more.
        label: of the horizontal axis.
        mark: a place on it to be marked, of what was kept.
    """
    shape = (len(panels), 1) if narrow else (1, len(panels))
    for axes, panel in zip(figure.subplots(*shape, squeeze=False).flat, panels, strict=True):
        for i, line in enumerate(panel.lines):
            dots = MARKERS[i] if len(line.x) <= 40 else None
            axes.plot(
                line.x, line.y, color=COLOURS[i], label=line.name, marker=dots, markersize=3.5
            )
        if mark is not None:
            axes.axvline(mark, color=QUIET, linestyle=":", linewidth=1.2, label="kept")
        axes.set_xlabel(label)
        axes.set_ylabel(panel.label)
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y")
        axes.legend()


class Group(NamedTuple):
    """Points of a map that look alike.

    Attributes:
        name: as the legend has it.
        points: [N, 2].
        marked: [N] whether each has the other sign.
    """

    name: str
    points: NDArray[np.floating]
    marked: NDArray[np.bool_]


def group_map(
    figure: Figure, narrow: bool, groups: Sequence[Group], labels: tuple[str, str], signs: str
) -> None:
    """Draw groups of points in the plane, each with a colour, the last one grey if it is the ninth.

    Args:
        figure: an empty one.
        narrow: the legend has fewer columns.
        groups: at most nine; the last is drawn first.
        labels: of the axes.
        signs: what the other sign, a cross, stands for.
    """
    axes = figure.subplots()
    colours = [*COLOURS, OTHERS]
    for i, group in reversed(list(enumerate(groups))):
        colour = OTHERS if i == len(groups) - 1 and group.name.startswith("other") else colours[i]
        plain, crosses = group.points[~group.marked], group.points[group.marked]
        name = f"{group.name} ({len(group.points):,})"
        above, smaller = int(colour != OTHERS), 0.65 if narrow else 1.0
        axes.scatter(
            plain[:, 0],
            plain[:, 1],
            s=9 * smaller,
            color=colour,
            edgecolors=QUIET,
            linewidths=0.25,
            label=name,
            zorder=2 + above,
        )
        axes.scatter(
            crosses[:, 0],
            crosses[:, 1],
            s=20 * smaller,
            color=colour,
            marker="x",
            linewidths=1.3,
            zorder=4 + above,
        )
    axes.scatter([], [], s=20, color=INK, marker="x", linewidths=1.3, label=signs)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.margins(0.02)
    handles, names = axes.get_legend_handles_labels()
    order = [*range(len(names) - 2, -1, -1), len(names) - 1]
    figure.legend(
        [handles[i] for i in order],
        [names[i] for i in order],
        loc="outside lower left",
        ncols=2 if narrow else 4,
        fontsize=8 if narrow else 9,
        markerscale=1.5,
        handletextpad=0.2,
        columnspacing=1,
        borderaxespad=0,
    )


def popularity_axes(axes: Axes, plays: NDArray[np.float64]) -> None:
    """Make both axes logarithmic, with their numbers written out.

    If there are tracks without plays, the vertical one is linear below one play, so that they are
    shown too, at 0.
    """
    axes.set_xscale("log")
    if len(plays) and plays.min() >= 1:
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=-0.3)
    axes.set_ylim(top=2 * max(1.0, plays.max(initial=0)))  # room for a mark at the very top
    for axis in (axes.xaxis, axes.yaxis):  # by itself it would write $10^3$
        axis.set_major_formatter("{x:,.0f}")


class QueryMark(NamedTuple):
    """A track on the curve of popularity, and those that were recommended for it.

    Attributes:
        name: as the legend has it.
        rank: its place, 1 = most played.
        plays: its plays.
        ranks: places of what was recommended.
        of_ranks: their plays.
    """

    name: str
    rank: int
    plays: float
    ranks: Sequence[int]
    of_ranks: Sequence[float]


def tail_curve(
    figure: Figure,
    narrow: bool,
    plays: NDArray[np.float64],
    queries: Sequence[QueryMark],
    head: int,
) -> None:
    """Draw plays against popularity rank, with queries and what was recommended for them.

    Args:
        figure: an empty one.
        narrow: the legend has fewer columns.
        plays: [N] of every track, in any order.
        queries: at most eight.
        head: how many tracks come before the long tail.
    """
    axes = figure.subplots()
    descending = np.sort(plays)[::-1]
    places = np.unique(np.geomspace(1, len(plays), CURVE_POINTS).round().astype(int))
    axes.fill_between(places, descending[places - 1], color=LINE, alpha=0.6, linewidth=0)
    axes.plot(places, descending[places - 1], color=QUIET, linewidth=1.2)
    axes.axvspan(head + 0.5, len(plays), color=ACCENT, alpha=0.07, linewidth=0)
    axes.text(
        head + 0.5, 0.99, "  the long tail →", transform=axes.get_xaxis_transform(), va="top",
        color=QUIET,
    )  # fmt: skip
    for i, query in enumerate(queries):
        colour, marker = COLOURS[i], MARKERS[i]
        axes.plot(
            query.ranks, query.of_ranks, linestyle="", marker=marker, markersize=6.5,
            markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.4, zorder=4,
        )  # fmt: skip
        axes.plot(
            query.rank, query.plays, linestyle="", marker=marker, markersize=9, color=colour,
            markeredgecolor=GROUND, zorder=5, label=query.name,
        )  # fmt: skip
    popularity_axes(axes, plays)
    axes.set_xlabel(f"popularity rank, 1 = most played (n = {len(plays):,} tracks)")
    axes.set_ylabel("plays in the log")
    figure.legend(
        loc="outside lower left", ncols=1 if narrow else 2, handletextpad=0.3, borderaxespad=0
    )
