"""Text of any script in columns of a terminal, where a character may be two cells
wide, and several may be one together, as the parts of an emoji are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from wcwidth import iter_graphemes, wcswidth


def clean(text: str) -> str:
    r"""One line, without control characters, which a terminal would execute.

    >>> clean("A\nnew \x1b[31mline")
    'A new [31mline'
    """
    plain = (" " if unicodedata.category(c) == "Cc" else c for c in text)
    return " ".join("".join(plain).split())


def width(text: str) -> int:
    """Width of a line, in cells.

    >>> width("naïve"), width("日本語"), width("👩‍👩‍👧 ☕️")
    (5, 6, 5)
    """
    cells = wcswidth(text)
    # Of a control character, which `clean` takes away, there is no width.
    return cells if cells >= 0 else sum(max(0, wcswidth(c)) for c in text)


def cut(text: str, most: int) -> str:
    """Text cut to at most `most` cells, with an ellipsis if something was cut off.

    >>> cut("The Quiet Lantern", 10), cut("日本語", 4)
    ('The Quiet…', '日…')
    """
    if width(text) <= most:
        return text
    start, cells = "", 1
    for character in iter_graphemes(text):  # no emoji is cut into its parts
        cells += width(character)
        if cells > most:
            break
        start += character
    return start.rstrip() + "…"


def side_by_side(columns: Sequence[Sequence[str]], widths: Sequence[int], gap: int = 2) -> str:
    """Columns of lines, side by side; a shorter column ends earlier.

    >>> side_by_side([["a", "bb"], ["日"]], [3, 3]).splitlines()
    ['a    日', 'bb']
    """
    lines = []
    for cells in zip_longest(*columns, fillvalue=""):
        padded = [c + " " * (w - width(c)) for c, w in zip(cells, widths, strict=True)]
        lines.append((" " * gap).join(padded).rstrip())
    return "\n".join(lines)
