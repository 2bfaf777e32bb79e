"""A page for people: one HTML file with its pictures in it, which asks for nothing from elsewhere.

All text is escaped here; whoever makes a section hands over plain text, but for `Html`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from coldstart.files import StrPath, atomic, made_folder
from coldstart.reporting.style import Draw, Size, drawn, inline_svg, styled, variables
from coldstart.reporting.text import clean


class Html(str):
    """What stands in a page as it is; any other text is escaped."""

    __slots__ = ()


TableCell = str | int | float | None | Html
"""What a table's cell holds; numbers that are no whole ones are shown with three digits."""


class DataTable(NamedTuple):
    """A table of a page.

    Attributes:
        headers: of the columns.
        rows: of cells; text is escaped.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[TableCell]]


class Picture(NamedTuple):
    """A picture, and all that is in it as text.

    Attributes:
        name: of the files, and unlike any other's on a page.
        alt: what it shows, in a sentence, for those who don't see it.
        draw: draws it.
        size: how high it is.
        caption: what stands beneath.
        table: its numbers.
    """

    name: str
    alt: str
    draw: Draw
    size: Size
    caption: str
    table: DataTable


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        name: a word or two, for its anchor and the list of sections.
        title: its heading.
        body: made by the functions of this file.
        pictures: those in the body.
    """

    name: str
    title: str
    body: Html
    pictures: Sequence[Picture] = ()


class Page(NamedTuple):
    """A page.

    Attributes:
        title: of the window.
        kicker: a line above the first heading: what it is about.
        lead: the first section, which is the answer.
        sections: those that follow.
        missing: what isn't there, and the command that makes it.
        foot: a line at the end.
    """

    title: str
    kicker: str
    lead: Section
    sections: Sequence[Section]
    missing: Sequence[tuple[str, str]] = ()
    foot: str = ""


def escaped(text: str) -> Html:
    """Text in one line, to stand anywhere in a page, also in an attribute.

    >>> escaped('<script>alert("1")</script>')
    '&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;'
    """
    # No line may begin with a percent sign.
    return Html(html.escape(clean(text)).replace(" %", "&nbsp;%"))


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph of plain text, in which `commands` stand between backticks.

    >>> paragraph("a & b"), paragraph("give `ls`", "note")
    ('<p>a &amp; b</p>', '<p class="note">give <code>ls</code></p>')
    """
    return Html(f"<p{_class(kind)}>{_with_commands(text)}</p>") if text else Html()


def _with_commands(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped(text))


def together(parts: Iterable[str]) -> Html:
    """Parts one after the other; empty ones are left out."""
    return Html("\n".join(part for part in parts if part))


def number(value: float | None, digits: int = 3) -> str:
    """A number for people, or a dash.

    >>> number(0.53891), number(None), number(1234), number(-0.02)
    ('0.539', '–', '1,234', '−0.020')
    """
    if value is None:
        return "–"
    shown = f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
    return shown.replace("-", "−")


def percent(share: float) -> str:
    """A share for people.

    >>> percent(0.987)
    '99 %'
    """
    return f"{100 * share:.0f} %"


def table(content: DataTable, kind: str = "") -> Html:
    """A table; columns of numbers stand to the right, and a wide one can be moved sideways."""
    columns = [list(column) for column in zip(*content.rows, strict=True)]
    right = [_is_numbers(column) for column in columns] or [False] * len(content.headers)
    head = "".join(
        f"<th scope=col{_class('number' if at_right else '')}>{escaped(name)}</th>"
        for name, at_right in zip(content.headers, right, strict=True)
    )
    body = "\n".join(
        "<tr>"
        + "".join(
            _cell(cell, at_right, first=not place)
            for place, (cell, at_right) in enumerate(zip(row, right, strict=True))
        )
        + "</tr>"
        for row in content.rows
    )
    return Html(
        f"<div class=scroll tabindex=0 role=group aria-label=table><table{_class(kind)}>"
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _is_numbers(column: Sequence[TableCell]) -> bool:
    return any(isinstance(cell, (int, float)) for cell in column) and not any(
        isinstance(cell, str) for cell in column
    )


def _cell(cell: TableCell, right: bool, first: bool) -> str:
    shown = cell if isinstance(cell, str) else number(cell)
    text = shown if isinstance(shown, Html) else escaped(shown)
    if first:
        return f"<th scope=row>{text}</th>"
    return f"<td{_class('number' if right else '')}>{text}</td>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def details(summary: str, content: str, kind: str = "") -> Html:
    """Something that opens when people ask for it; when printed, it stays closed."""
    return Html(
        f"<details{_class(kind)}><summary>{escaped(summary)}</summary>\n{content}\n</details>"
    )


def picture(content: Picture) -> Html:
    """A picture with its caption and its numbers, as wide as the window allows."""
    wide = inline_svg(content.draw, content.size, content.name)
    narrow = inline_svg(content.draw, content.size, content.name, narrow=True)
    numbers = details("The numbers", table(content.table), "numbers")
    return Html(
        f'<figure id="picture-{content.name}"><div class=card role=img '
        f'aria-label="{escaped(content.alt)}"><div class=wide>{wide}</div>'
        f"<div class=narrow>{narrow}</div></div>\n"
        f"<figcaption>{escaped(content.caption)}</figcaption>\n{numbers}</figure>"
    )


def document(page: Page) -> str:
    """The whole file."""
    links = "".join(
        f'<a href="#{section.name}">{section.name.replace("-", " ").capitalize()}</a>'
        for section in page.sections
    )
    missing = ""
    if page.missing:
        items = "\n".join(
            f"<li><b>{escaped(what)}</b>: {_with_commands(why)}</li>" for what, why in page.missing
        )
        missing = (
            '<section id="missing" class=missing><h2>What is not on this page</h2>\n'
            f"<ul>{items}</ul></section>"
        )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # A page that was made from other people's tables can load nothing, and run nothing.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; media-src data:; img-src data:\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>{escaped(page.title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
        f'<header id="{page.lead.name}" class=lead><div class=column>\n'
        f"<p class=kicker>{escaped(page.kicker)}</p>\n"
        f"<h1>{escaped(page.lead.title)}</h1>\n{page.lead.body}\n</div></header>\n"
        f'<nav aria-label="Sections"><div class=column>{links}</div></nav>\n<main class=column>\n'
        + "\n".join(_section(section) for section in page.sections)
        + f"\n{missing}\n</main>\n"
        f"<footer class=column>{paragraph(page.foot)}</footer>\n</body>\n</html>\n"
    )


def _style() -> str:
    """The style sheet, with the pictures' colours."""
    folder = Path(__file__).parent
    css = "".join((folder / f"{name}.css").read_text("utf-8") for name in ("palette", "page"))
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables(True)} }} }}"
    return f":root {{ {variables(False)} }}\n{dark}\n{css}"


def _section(section: Section) -> str:
    return (
        f'<section id="{section.name}"><h2>{escaped(section.title)}</h2>\n'
        f"{section.body}</section>\n"
    )


def pictures_of(page: Page) -> list[Picture]:
    """All pictures of a page, in their order."""
    return [each for section in (page.lead, *page.sections) for each in section.pictures]


def write_page(path: StrPath, content: str) -> None:
    """Write the file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_pictures(folder: StrPath, pictures: Sequence[Picture]) -> list[Path]:
    """Write each picture as NAME.png and NAME.svg.

    Returns:
        The files.
    """
    folder, paths = made_folder(folder), []
    for each in pictures:
        with styled():
            figure = drawn(each.draw, each.size)
            for ending in ("png", "svg"):
                path = folder / f"{each.name}.{ending}"
                metadata = {"Date": None} if ending == "svg" else None
                with atomic(path) as temporary:
                    figure.savefig(temporary, format=ending, dpi=200, metadata=metadata)
                paths.append(path)
    return paths
