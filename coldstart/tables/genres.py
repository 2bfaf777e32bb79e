"""Several genres in one cell of text → a list of names."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from coldstart.errors import InputError

log = logging.getLogger(__name__)

GENRE_SEPARATOR = "|"
"""Separates several genres in one cell: `rock|indie pop`."""

DOUBTFUL = (";", ",", "/")
"""They may separate genres, and may be part of a name: `R&B/Soul`."""

CLEAR = 0.8
"""A doubtful separator splits if such a share of the parts are names of their own."""

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ITEM = rf"(?:np\.str_\()?[uU]?(?:{_QUOTED})\)?|None|null|nan|NaN"
_LITERAL = re.compile(
    rf"\s*(?:(?:np\.|numpy\.)?array\()?[\[({{]\s*(?P<items>(?:(?:{_ITEM})[\s,]*)*)[\])}}]"
    r"(?:,\s*dtype=[^)]*\))?\)?\s*",
    re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class _Evidence(NamedTuple):
    """What speaks for a separator.

    Attributes:
        share: of the parts of all cells that contain it, how many are names of their own.
        example: the most frequent cell that contains it.
        cells: number of cells that contain it.
    """

    share: float
    example: str
    cells: int


def split_genres(cells: pl.Series, separator: str | None, place: str) -> pl.Series:
    """Split each cell into names.

    A list as Python, JSON or numpy print it is read as that. `|` separates names. A semicolon,
    comma or slash does so only where the column shows it: where at least 80 % of the parts are
    names of their own, which stand alone in another cell, or at least aren't always beside the same
    other part (as `R&B` and `Soul` in `R&B/Soul`). Otherwise it stays in the name, with a warning.

    Args:
        cells: N texts.
        separator: what separates the names in a cell that is no list; None: found as above.
        place: table and column, for messages.

    Returns:
        N lists of names, stripped, none of them empty; null where a cell is.

    Raises:
        InputError: a cell is the text of a list, but not of names; or the separator is blank.

    >>> cells = pl.Series(["['rock', 'indie pop']", '["jazz"]', "rock|jazz", None])
    >>> split_genres(cells, None, "t.csv").to_list()
    [['rock', 'indie pop'], ['jazz'], ['rock', 'jazz'], None]
    """
    if separator is not None and not separator.strip():
        raise InputError(f"genre_separator: {separator!r} is blank; it is text such as ';'")
    counts = Counter(cell for cell in cells.to_list() if cell is not None)
    names: dict[str, list[str]] = {}  # cell → what is in it
    plain: Counter[str] = Counter()
    bracketed = _all_bracketed(counts)
    for cell, count in counts.items():
        literal = _literal(cell, bracketed, place)
        if literal is None:
            plain[cell] = count
        else:
            names[cell] = literal
    if names:
        example = next(iter(names))
        log.info(f"{place}: read as lists, such as {example!r} as {_quoted(names[example])}")
    separator = separator or _separator(plain, bool(names), place)
    names |= {cell: cell.split(separator) for cell in plain}
    stripped = {
        cell: [name.strip() for name in parts if name.strip()] for cell, parts in names.items()
    }
    lists = [None if cell is None else stripped[cell] for cell in cells.to_list()]
    return pl.Series(lists, dtype=pl.List(pl.String))


def warn_of_unsplit_lists(lists: pl.Series, place: str) -> None:
    """Warn if a column of lists has one text each, and the texts look like several names."""
    if lists.is_empty() or (lists.list.len().fill_null(0) > 1).any():
        return
    texts = Counter(text for text in lists.list.first().to_list() if text is not None)
    for text in texts:
        if _LITERAL.fullmatch(text) or GENRE_SEPARATOR in text:
            log.warning(
                f"{place}: each list has one member, such as {text!r}, which looks like several "
                "names; store lists of names, or the texts themselves"
            )
            return


# Lists as text


def _all_bracketed(counts: Counter[str]) -> bool:
    """Whether every cell that isn't blank is in square brackets: `[rock, pop]` without quotes."""
    cells = [cell.strip() for cell in counts if cell.strip()]
    return bool(cells) and all(cell[0] == "[" and cell[-1] == "]" for cell in cells)


def _literal(cell: str, bracketed: bool, place: str) -> list[str] | None:
    """The names of a list that Python, JSON or numpy has printed; None if the cell is no such text.

    Raises:
        InputError: it is a list of something else, or numpy has shortened it.
    """
    text = cell.strip()
    if not text or text[0] not in "[({an" or text[-1] not in "])}":
        return None
    match = _LITERAL.fullmatch(text)
    if match:
        return [_unquoted(item) for item in re.findall(_QUOTED, match["items"], re.DOTALL)]
    if re.match(r"[\[(]\s*[\[{(]\s*['\"\[{]", text) or re.match(
        r"\{\s*['\"][^'\"]*['\"]\s*:", text
    ):
        raise InputError(f"{place}: {_shortened(cell)} is the text of a list, but not of names")
    if re.search(r"['\"][\s,]*\.\.\.[\s,]*['\"]", text):
        raise InputError(
            f"{place}: {_shortened(cell)} lacks names: it was shortened when it was printed"
        )
    return [name.strip() for name in text[1:-1].split(",")] if bracketed else None


def _unquoted(item: str) -> str:
    """A quoted text of Python or JSON."""

    def character(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) > 1:
            return chr(int(code[1:], 16))
        return _ESCAPES.get(code, code)

    text = re.sub(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", character, item[1:-1])
    # JSON writes a character beyond the first 65,536 as two.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# Separators


def _separator(plain: Counter[str], has_lists: bool, place: str) -> str:
    """What separates names: `|`, or a doubtful separator if the column shows that it does."""
    if any(GENRE_SEPARATOR in cell for cell in plain):
        return GENRE_SEPARATOR
    doubts = []
    for separator in DOUBTFUL:
        evidence = _evidence(plain, separator)
        if not evidence:
            continue
        if evidence.share >= CLEAR and not has_lists:
            parts = [part.strip() for part in evidence.example.split(separator)]
            log.info(
                f"{place}: split at {separator!r} ({_cells(evidence.cells)}), such as "
                f"{_shortened(evidence.example)} into {_quoted(parts)}"
            )
            return separator
        doubts.append((separator, evidence))
    for separator, evidence in doubts:
        log.warning(
            f"{place}: {separator!r} was left as part of names, such as "
            f"{_shortened(evidence.example)} ({_cells(evidence.cells)}); if it separates genres, "
            f'pass --genre_separator "{separator}" to `shard`'
        )
    return GENRE_SEPARATOR


def _evidence(plain: Counter[str], separator: str) -> _Evidence | None:
    """How many parts of the cells with this separator are names of their own; None without any."""
    cells = {
        cell: [part.strip() for part in cell.split(separator) if part.strip()]
        for cell in plain
        if separator in cell.strip().strip(separator)
    }
    if not cells:
        return None
    alone = {cell.strip() for cell in plain if cell not in cells}
    # A part's companions: the parts that are beside it in every cell.
    companions: dict[str, set[str]] = {}
    appearances: defaultdict[str, int] = defaultdict(int)
    for parts in cells.values():
        for part in set(parts):
            others = set(parts) - {part}
            companions[part] = companions[part] & others if part in companions else others
            appearances[part] += 1
    own = {
        part
        for part in companions
        if part in alone or (appearances[part] > 1 and not companions[part])
    }
    total = sum(len(parts) * plain[cell] for cell, parts in cells.items())
    good = sum(plain[cell] for cell, parts in cells.items() for part in parts if part in own)
    # `Folk, World, & Country` is one name.
    fragment = any(re.match(r"(&|and\b|or\b|n')", part) for part in companions)
    example = max(cells, key=lambda cell: plain[cell])
    return _Evidence(0.0 if fragment else good / total, example, sum(plain[c] for c in cells))


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:4])
    return (shown or "no names") + (" …" if len(names) > 4 else "")


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
