"""The space of a search: read, checked, and written again."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.runs.config import configs_folder
from coldstart.studies.tune.base_config import resolve
from coldstart.studies.tune.space import (
    Choices,
    Range,
    SearchSpace,
    as_flags,
    corners,
    plain,
    read_space,
)

pytest.importorskip("optuna")


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_a_space_is_read(tmp_path: Path) -> None:
    text = """
model.encoders.mgp.hidden: {choices: [[512], [1024, 1024]]}
model.fusion.dropout: {low: 0, high: 0.7}
optimizer.lr: {low: 1e-4, high: 1e-2, log: true}
data.batch_size: {low: 64, high: 1024, log: true, int: true}
"""
    assert read_space(write(tmp_path / "space.yaml", text)) == {
        "model.encoders.mgp.hidden": Choices([[512], [1024, 1024]]),
        "model.fusion.dropout": Range(0, 0.7),
        "optimizer.lr": Range(1e-4, 1e-2, log=True),
        "data.batch_size": Range(64, 1024, log=True, int=True),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has lines such as"),
        ("- a", "has lines such as"),
        ("a: {low: 0", "not readable YAML"),
        ("a: 3", "line 1, a: 3 is no distribution; write"),
        ("a: [1, 2]", "is no distribution; write {choices"),
        ("\nb.c: {low: 0}", "line 2, b.c"),
        ("a: {low: 0, high: 1, step: 2}", "is no distribution"),
        ("a: {low: 0, high: 1, choices: [1]}", "is no distribution"),
        ("a: {low: 1, high: 1}", "must be below high"),
        ("a: {low: x, high: 1}", "low is a number, not 'x'"),
        ("a: {low: true, high: 2}", "low is a number"),
        ("a: {low: 0, high: .inf}", "high is a number"),
        ("a: {low: 0, high: 1, log: true}", "low must be above 0"),
        ("a: {low: 0, high: 1, log: 1}", "log is true or false"),
        ("a: {low: 0.5, high: 2, int: true}", "low is a whole number"),
        ("a: {choices: []}", "at least one value"),
        ("a: {choices: 1}", "at least one value"),
        ("a: {choices: [1, 1]}", "a value twice"),
        ("a: {choices: [2020-01-01]}", "JSON can't hold"),
        ("a: {choices: [1]}\na: {choices: [2]}", "line 2, a: is there twice"),
        ("trainer.logger: {choices: [true]}", "not for a search to choose"),
        ("1: {choices: [true]}", "is no fit flag"),
    ],
)
def test_a_wrong_space_gets_one_message(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_space(write(tmp_path / "space.yaml", text))
    assert message in str(caught.value)
    assert "space.yaml" in str(caught.value)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(1, 99), max_size=3),
)
ranges = st.tuples(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.booleans(), st.booleans()).map(
    lambda t: (
        Range(math.floor(min(t[:2])) + 1, math.ceil(max(t[:2])) + 2, t[2], True)
        if t[3]
        else Range(min(t[:2]), max(t[:2]) + 1, t[2])
    )
)
choices = st.lists(values, min_size=1, max_size=4, unique_by=json.dumps).map(Choices)
names = st.from_regex(r"(model|data)\.[a-z_]{3,8}", fullmatch=True)


@given(space=st.dictionaries(names, st.one_of(ranges, choices), min_size=1, max_size=4))
def test_a_space_that_is_written_is_read_again(
    space: SearchSpace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "space.yaml", plain(space))
    assert read_space(path) == space
    tried = corners(space)
    for key, dimension in space.items():
        assert all(any(t[key] is sample for t in tried) for sample in dimension.samples)
    for row in tried:  # a flag's value is the very same after YAML
        read = {f.partition("=")[0]: json.loads(f.partition("=")[2]) for f in as_flags(row)}
        assert read == {f"--{key}": value for key, value in row.items()}


@pytest.mark.parametrize("path", sorted(configs_folder().glob("space_*.yaml")), ids=str)
def test_every_shipped_space_fits_its_config(path: Path) -> None:
    config = path.name.removeprefix("space_")
    for values in corners(read_space(path.name)):
        resolve([f"--config={configs_folder() / config}"], values)
