"""A page: escaped, well-formed, by itself; and its pictures."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.reporting.charts import Dot, DotRow, dot_plot
from coldstart.reporting.page import (
    DataTable,
    Html,
    Page,
    Picture,
    Section,
    document,
    escaped,
    paragraph,
    picture,
    pictures_of,
    table,
    together,
    write_page,
    write_pictures,
)
from coldstart.reporting.style import COLOURS, DARK, Size, inline_svg

VOID = {"meta", "link", "br", "img", "input", "hr"}
EVIL = "<script>alert('1')</script> & \"quotes\""


class Balance(HTMLParser):
    """Raises for a tag that isn't closed, or closed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


def check(text: str) -> Balance:
    """A page that is well-formed, runs nothing, and asks for nothing from elsewhere."""
    found = Balance()
    found.feed(text)
    found.close()
    assert found.open == []
    assert "script" not in found.seen
    assert len(set(found.ids)) == len(found.ids)
    remote = r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//|url\(\s*["']?(?:https?:)?//|@import"""
    assert re.findall(remote, text) == []
    return found


def dots(name: str = "dots", label: str = "ridge") -> Picture:
    rows = [DotRow(label, [Dot("rivals", "rival", 0.5, 0.4, 0.6)])]
    rows.append(DotRow("ours", [Dot("us", "ours", 0.7), Dot("chance", "floor", 0.1)]))
    return Picture(
        name,
        "two dots",
        lambda figure, narrow: dot_plot(figure, narrow, rows, "NDCG@20"),
        Size(2, 2),
        f"A caption with {EVIL}",
        DataTable(["method", "NDCG@20"], [[label, 0.5], ["ours", 0.7]]),
    )


def page_with(*pictures: Picture, text: str = EVIL) -> Page:
    lead = Section("answer", text, paragraph(text))
    body = together(picture(each) for each in pictures)
    return Page(text, text, lead, [Section("one", text, body, pictures)], [(text, text)], text)


def test_a_page_is_well_formed_and_by_itself() -> None:
    text = document(page_with(dots(), dots("others", EVIL)))
    found = check(text)
    assert {"svg", "figure", "table", "details", "nav", "h1", "h2"} <= found.seen
    assert "alert" in text
    assert "<script" not in text
    assert 'role=img aria-label="two dots"' in text


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_a_page(text: str) -> None:
    check(document(page_with(text=text)))
    check(f'{table(DataTable([text], [[text]]))}<p title="{escaped(text)}"></p>')


def test_a_table_s_numbers_stand_to_the_right_and_html_stays_html() -> None:
    made = table(DataTable(["a", "b", "c"], [["<b>", 0.12345, Html("<i>x</i>")]]))
    assert "<th scope=row>&lt;b&gt;</th>" in made
    assert '<td class="number">0.123</td>' in made
    assert "<td><i>x</i></td>" in made


def test_an_inline_picture_has_text_and_the_page_s_colours() -> None:
    one = dots(label="A$AP $ong")
    svg = inline_svg(one.draw, one.size, one.name)
    assert re.search(r"<text[^>]*>A\$AP \$ong</text>", svg)
    assert not [colour for colour in DARK if colour in svg]
    assert "var(--c0b6480)" in svg
    assert svg.startswith("<svg aria-hidden")
    assert svg == inline_svg(one.draw, one.size, one.name)
    asked = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    assert asked
    assert asked == set(re.findall(r' id="([^"]+)"', svg))


def test_every_colour_has_a_second_value_for_dark_ground() -> None:
    assert set(COLOURS) < DARK.keys()
    assert len(set(DARK.values())) == len(DARK)


def test_pictures_are_written_as_files_and_pages_whole(tmp_path: Path) -> None:
    page = page_with(dots(), dots("more"))
    files = write_pictures(tmp_path / "pictures", pictures_of(page))
    assert sorted(path.name for path in files) == ["dots.png", "dots.svg", "more.png", "more.svg"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert b"#0b6480" in files[1].read_bytes()
    write_page(tmp_path / "page.html", document(page))
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "page.html"}


@pytest.mark.parametrize("width", [1, 40])
def test_a_dot_plot_of_one_row_or_many(width: int) -> None:
    rows = [DotRow(f"row {i}", [Dot("us", "ours", i / 40)]) for i in range(width)]
    svg = inline_svg(
        lambda figure, narrow: dot_plot(figure, narrow, rows, "x", signed=True), Size(3, 3), "x"
    )
    assert svg.count(">row ") == width
