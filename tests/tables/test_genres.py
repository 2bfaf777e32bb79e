import json
import logging

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.tables.genres import split_genres, warn_of_unsplit_lists

NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=12).filter(
    lambda name: name == name.strip()
)
LISTS = st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=5)


def split(cells: list[str], separator: str | None = None) -> list[list[str] | None]:
    names: list[list[str] | None] = split_genres(pl.Series(cells), separator, "t.csv").to_list()
    return names


@settings(deadline=None)
@given(LISTS)
def test_lists_as_python_json_and_numpy_print_them_come_back(lists: list[list[str]]) -> None:
    for form in (str, json.dumps, lambda names: json.dumps(names, ensure_ascii=False)):
        assert split([form(names) for names in lists]) == lists
    arrays = [np.array(names, dtype=object) for names in lists]
    with np.printoptions(linewidth=60, threshold=10**6):
        assert split([str(names) for names in arrays]) == lists
        assert split([repr(names) for names in arrays]) == lists
    assert split([str([np.str_(name) for name in names]) for names in lists]) == lists


@settings(deadline=None)
@given(st.lists(st.sampled_from(["rock", "pop", "R&B/Soul", "a, b"]), min_size=1, max_size=6))
def test_pipes_separate_as_ever_whatever_else_is_in_the_names(names: list[str]) -> None:
    assert split(["|".join(names), "rock|pop"])[0] == names


@pytest.mark.parametrize("separator", [";", ", ", "/", " / "])
def test_a_doubtful_separator_splits_where_the_parts_are_names_of_their_own(separator: str) -> None:
    lists = [["rock", "pop", "jazz"], ["jazz"], ["rock", "pop"], ["pop", "jazz"], ["rock"]]
    assert split([separator.join(names) for names in lists]) == lists


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["R&B/Soul", "Hip-Hop/Rap", "Pop", "Soul"], "/"),
        (["Folk, World, & Country", "Rock", "Rock, Folk, World, & Country", "Folk"], ","),
        (["Funk / Soul", "Jazz", "Funk / Soul"], "/"),
        (["rock; pop"], ";"),
    ],
)
def test_what_is_not_clear_stays_whole_and_is_named(
    cells: list[str], separator: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert split(cells) == [[cell] for cell in cells]
    assert f"{separator!r} was left as part of names, such as {cells[0]!r}" in caplog.text
    assert f'--genre_separator "{separator}"' in caplog.text
    caplog.clear()
    assert split(cells, separator)[0] == [part.strip() for part in cells[0].split(separator)]
    assert split(cells, "|") == [[cell] for cell in cells]
    assert not caplog.text


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[{'id': '21', 'title': 'Hip-Hop'}]", "but not of names"),
        ("{'rock': 3}", "but not of names"),
        ("[['rock'], ['pop']]", "but not of names"),
        ("['a' 'b' ... 'z']", "was shortened"),
    ],
)
def test_a_list_of_something_else_is_refused(cell: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(["rock", cell])


def test_brackets_without_quotes_are_lists_if_all_cells_have_them() -> None:
    assert split(["[rock, indie pop]", "[jazz]", "[]"]) == [["rock", "indie pop"], ["jazz"], []]
    assert split(["[untitled]", "rock"]) == [["[untitled]"], ["rock"]]
    assert split(["[None, 'rock']", "('pop',)", "{'jazz'}"]) == [["rock"], ["pop"], ["jazz"]]
    with pytest.raises(InputError, match="is blank"):
        split(["rock"], " ")


def test_lists_with_one_text_each_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_unsplit_lists(pl.Series([["rock", "pop"], ["a|b"]]), "t.parquet")
        assert not caplog.text
        warn_of_unsplit_lists(pl.Series([["jazz"], ["rock|pop"], None, []]), "t.parquet")
    assert "such as 'rock|pop', which looks like several names" in caplog.text
