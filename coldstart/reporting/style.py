"""How our pictures look, in files and on pages: the one style sheet of colours, fonts and lines.

The colours are those of M. Okabe and K. Ito, *Color Universal Design*, 2008, which people tell
apart whatever colours they see. On a page each has a second value, for people who read light on
dark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, LINE, GROUND = "#1b2226", "#566067", "#dedcd4", "#ffffff"
"""Text, lesser text, lines of a grid, and what is behind."""

ACCENT = "#0b6480"
"""What a picture is about."""

OTHERS = "#a9b0b2"
"""What is none of a picture's named groups."""

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#010101", "#f0e442")
"""Of series, in this order. Not quite black: in an SVG matplotlib leaves out what is black."""

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
"""Of the same series: who sees no colours sees these."""

DARK = {
    INK: "#e8ebea",
    QUIET: "#a3afb3",
    LINE: "#303b40",
    GROUND: "#1a2226",
    ACCENT: "#74c8e0",
    OTHERS: "#5b676c",
    "#0072b2": "#3f96dc",
    "#e69f00": "#f0b132",
    "#009e73": "#22bd90",
    "#cc79a7": "#dd93bb",
    "#d55e00": "#f07a2e",
    "#56b4e9": "#93d3f7",
    "#010101": "#ffffff",
    "#f0e442": "#f3ea6b",
}
"""A colour on light ground → on dark ground."""

WIDE, NARROW = 7.4, 3.4
"""Widths of a picture in inches: on a desk, and on a telephone."""

RC: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a title such as "A$AP $ong" isn't mathematics
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "figure.facecolor": GROUND,
    "axes.facecolor": GROUND,
    "savefig.facecolor": GROUND,
    # The same picture is the same file: names that don't change. Text stays text.
    "svg.hashsalt": "coldstart",
    "svg.fonttype": "none",
}
"""Of matplotlib, for every picture."""

Draw = Callable[["Figure", bool], None]
"""Draws into an empty figure; told whether it is a narrow one."""


class Size(NamedTuple):
    """Heights of a picture in inches, where it is wide and where it is narrow."""

    wide: float
    narrow: float


@contextmanager
def styled() -> Iterator[None]:
    """Within the block, what matplotlib draws has our style."""
    from matplotlib import rc_context

    with rc_context(RC), warnings.catch_warnings():
        # Titles may be in any script; matplotlib's font draws a box for a character that it lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def drawn(draw: Draw, size: Size, narrow: bool = False) -> Figure:
    """A figure with a picture in it; to be called within `styled`."""
    from matplotlib.figure import Figure  # not pyplot, which has global state and opens windows

    shape = (NARROW, size.narrow) if narrow else (WIDE, size.wide)
    figure = Figure(figsize=shape, layout="constrained")
    draw(figure, narrow)
    return figure


def inline_svg(draw: Draw, size: Size, name: str, narrow: bool = False) -> str:
    """A picture as an `<svg>` to stand in an HTML page, without a ground of its own.

    Its colours are variables of the page's style sheet; see `variables`. What has an id has one
    that no other picture has.

    Args:
        draw: the picture.
        size: how high.
        name: of the picture, unlike any other's on the page.
        narrow: for a telephone.
    """
    file = io.StringIO()
    with styled():
        figure = drawn(draw, size, narrow)
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    text = file.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # Of many ids hardly any is asked for; these get the picture's name.
    asked = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in asked else "", svg)
    prefix = f"{name}-{'narrow' if narrow else 'wide'}-"
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda m: _variable(m[0]) if m[0] in DARK else m[0], svg)
    # Its size is the page's to say; people are told its text by what stands around it.
    svg = re.sub(r'^<svg width="[^"]*" height="[^"]*"', "<svg", svg)
    svg = re.sub(r"^<svg", '<svg aria-hidden="true" focusable="false"', svg)
    return re.sub(r"\s*\n\s*", " ", svg).strip()


_METADATA = ("Date", "Creator", "Format", "Type")


def _variable(colour: str) -> str:
    return f"var(--c{colour.removeprefix('#')})"


def variables(dark: bool) -> str:
    """The declarations of a style sheet that give the colours of inline pictures their values."""
    return " ".join(
        f"--c{light.removeprefix('#')}: {DARK[light] if dark else light};" for light in DARK
    )
