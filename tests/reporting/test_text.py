"""Columns of a terminal, whatever titles hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from coldstart.commands.recommend import _show
from coldstart.reporting.text import clean, cut, side_by_side, width
from coldstart.retrieval.query import Recommendation, Recommendations

TITLES = [
    "plain",
    "日本語の歌",
    "👩‍👩‍👧 family",
    "☕️ break",
    "🇦🇹 hymn",
    "e\u0301tude",
    "नमस्ते",
    "👍🏽 ok",
]


def test_columns_stand_one_under_the_other() -> None:
    text = side_by_side([TITLES, ["|"] * len(TITLES)], [12, 1])
    assert {wcswidth(line.partition("|")[0]) for line in text.splitlines()} == {14}


def test_the_table_of_recommendations_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Recommendation(i + 1, f"t{i}", t, "A", 1, 0.5) for i, t in enumerate(TITLES)]
    _show(Recommendations(rows), json=False)
    _, _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(TITLES)
    assert len({wcswidth(line.partition("0.500")[0]) for line in lines}) == 1


def test_an_emoji_is_not_cut_into_its_parts() -> None:
    assert cut("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 4) == "👩‍👩‍👧…"
    assert cut("🇦🇹🇦🇹🇦🇹", 5) == "🇦🇹🇦🇹…"
    assert width(cut("e\u0301" * 9, 4)) == 4


@given(st.text(), st.integers(1, 20))
def test_what_is_cut_fits(text: str, most: int) -> None:
    line = clean(text)
    assert width(cut(line, most)) <= max(most, 1)
    assert cut(line, width(line)) == line
