"""Text on the command line arrives as it was typed, at every verb."""

import inspect
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import auto_cli

from coldstart.argument_text import LiteralText

StrPath = str | os.PathLike[str]
IDS = [
    "null", "Null", "~", "#1", "1e5", "0x10", "yes", "007", "1_000", " a", "a ", "2020-01-01",
    "2020-13-45", "a: b", "- a", "!x", "&a", "*a", "[a", "{a: 1}", "'a", '"a"', "|", "> x", "-5",
    "-a", "a=b", "=", "日本", "1:30", ".inf", "NaN", "on", "a #b", "---", "--x", "",
]  # fmt: skip


def verb(
    table: StrPath,
    *,
    run: StrPath,
    like: str | None = None,
    name: str = "n",
    splits: StrPath | None = None,
    source: StrPath | list[str] | None = None,
    items: list[str] | None = None,
    parts: dict[str, str] | None = None,
    k: int = 10,
    seed: int | None = 1,
) -> dict[str, Any]:
    return dict(locals())


def parsed(*args: str) -> dict[str, Any]:
    texts, parameters = LiteralText(), inspect.signature(verb).parameters.values()
    restored: dict[str, Any] = texts.restored(
        auto_cli(verb, args=texts.protected(args, parameters))
    )
    return restored


FLAGS = ["run", "like", "name", "splits", "source"]
TEXT = st.sampled_from(IDS) | st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(TEXT, st.sampled_from(FLAGS))
def test_a_flag_s_text_after_an_equals_sign(text: str, flag: str) -> None:
    if flag == "source" and text.startswith("["):
        return  # a list
    assert parsed("t", "--run=r", f"--{flag}={text}")[flag] == text


@settings(deadline=None)
@given(TEXT.filter(lambda text: not text.startswith("--")), st.sampled_from(FLAGS))
def test_a_flag_s_text_in_the_next_argument(text: str, flag: str) -> None:
    if flag == "source" and text.startswith("["):
        return
    result = parsed("t", "--run=r", f"--{flag}", text, "--k", "3")
    assert (result[flag], result["k"]) == (text, 3)


@settings(deadline=None)
@given(TEXT.filter(lambda text: not text.startswith("-")))
def test_a_table_s_name(text: str) -> None:
    assert parsed(text, "--run=r")["table"] == text


@settings(deadline=None)
@given(TEXT)
def test_items_of_lists_and_mappings(text: str) -> None:
    result = parsed("t", "--run=r", f"--items+={text}", f"--parts.a={text}")
    assert (result["items"], result["parts"]) == ([text], {"a": text})


def test_a_list_s_items_are_text() -> None:
    result = parsed("t", "--run=r", "--items=[007, null, ~, '#1', yes]", "--parts={a: 1e5, b: no}")
    assert result["items"] == ["007", "null", "~", "#1", "yes"]
    assert result["parts"] == {"a": "1e5", "b": "no"}


def test_what_is_no_text_is_read_as_before() -> None:
    result = parsed("t", "--run", "r", "--k", "7", "--seed", "null", "--source=[a, b]")
    assert (result["k"], result["seed"], result["source"]) == (7, None, ["a", "b"])
    assert parsed("t", "--run=r")["like"] is None


def test_a_missing_value_is_still_an_error() -> None:
    for args in (["--like"], ["--like", "--k", "3"]):
        with pytest.raises(SystemExit):
            parsed("t", "--run=r", *args)
