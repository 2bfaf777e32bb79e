"""Columns that are no attributes: what is left out, what is asked, and no false alarms."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart.errors import Broken, InputError
from coldstart.tables.attributes import read_attributes
from coldstart.tables.columns import ColumnChoice, column_choice, doubtful_columns
from coldstart.tables.vectors import read_vectors

N = 40
RANDOM = np.random.default_rng(0)
IDS = [f"t{i}" for i in range(N)]
GRADES = {"joy": RANDOM.random(N), "fast": RANDOM.random(N)}


def table(folder: Path, ending: str = "csv", **more: Any) -> Path:
    """A table of two graded attributes after other columns; `__none` is a column without a name."""
    path = folder / f"table.{ending}"
    columns: Mapping[str, Any] = {"track_id": IDS, **more, **GRADES}
    frame = pl.DataFrame(columns).rename({"__none": ""}, strict=False)
    if ending == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


def names(path: Path, choice: ColumnChoice | None = None) -> list[str]:
    return read_attributes(path, None, choice).columns[1:]


@pytest.mark.parametrize(
    "column",
    [
        {"__none": range(N)},
        {"__none": range(1, N + 1)},
        {"Unnamed: 0": range(N)},
        {"Unnamed: 0.1": range(N), "__none": range(N)},
        {"...1": range(1, N + 1)},
        {"__index_level_0__": RANDOM.permutation(N)},
        {"__none": [None] * N},
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_certainly_is_an_index_is_left_out_with_a_word(
    column: dict[str, Any], ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert names(table(tmp_path, ending, **column)) == ["joy", "fast"]
    assert "left out what is no attribute: column" in caplog.text


DOUBTS = {
    "__none": (np.sort(RANDOM.choice(1000, N, replace=False)), "it has no name"),
    "index": (RANDOM.permutation(N) * 7, "its name is that of an index"),
    "level_0": (range(N), "its name is that of an index"),
    "nr": (range(N, 0, -1), "it counts the rows"),
    "place": (RANDOM.permutation(N), "it numbers the rows, in another order"),
    "serial": (np.sort(RANDOM.choice(10**6, N, replace=False)), "in the order of the rows"),
    "code": (RANDOM.choice(N + 5, N, replace=False) * 1, "no two equal, like an id"),
    "album_id": (RANDOM.integers(0, 9, N), "its name is that of an id"),
    "artistId": (RANDOM.integers(0, 9, N), "its name is that of an id"),
    "added": (RANDOM.integers(1_500_000_000, 1_600_000_000, N), "seconds since 1970"),
    "at": (RANDOM.integers(15 * 10**11, 16 * 10**11, N), "milliseconds since 1970"),
    "us": (RANDOM.integers(15 * 10**14, 16 * 10**14, N), "microseconds since 1970"),
    "day": ([20200101 + i % 28 for i in range(N)], r"YYYYMMDD"),
}


@pytest.mark.parametrize("name", DOUBTS)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_may_be_no_attribute_is_asked(name: str, ending: str, tmp_path: Path) -> None:
    column, reason = DOUBTS[name]
    path = table(tmp_path, ending, **{name: column})
    shown = "Unnamed: 1" if name == "__none" else name
    with pytest.raises(InputError, match=f"{path}: column '{shown}' .*{reason}") as error:
        names(path)
    flag = f'"{shown}"' if " " in shown else shown
    assert f"--drop-columns {flag}; " in str(error.value)
    assert f"--keep-columns {flag}" in str(error.value)
    assert names(path, column_choice(shown, None, [path])) == ["joy", "fast"]
    assert names(path, column_choice(None, [shown], [path])) == [shown, "joy", "fast"]


@pytest.mark.parametrize(
    ("ending", "column", "reason"),
    [
        ("csv", ["2020-01-01"] * N, "it holds text, such as '2020-01-01', not numbers"),
        ("parquet", IDS, "it holds text, such as 't0', not numbers"),
        ("parquet", [datetime.date(2020, 1, 1)] * N, "it holds Date, not numbers"),
        ("parquet", [datetime.datetime(2020, 1, 1)] * N, r"it holds Datetime.*, not numbers"),
        ("parquet", [[1.0]] * N, r"it holds List\(Float64\), not numbers"),
        ("csv", [1_600_000_000_000_000_000 + i for i in range(N)], "nanoseconds since 1970"),
    ],
)
def test_what_holds_no_numbers_can_only_be_dropped(
    ending: str, column: list[object], reason: str, tmp_path: Path
) -> None:
    path = table(tmp_path, ending, extra=column)
    with pytest.raises(InputError, match=reason) as error:
        read_attributes(path, Broken(skip=True))
    assert str(error.value).endswith("--drop-columns extra")
    assert names(path, column_choice("extra", None, [path])) == ["joy", "fast"]


def test_several_columns_are_named_in_one_sentence(tmp_path: Path) -> None:
    path = table(tmp_path, title=IDS, nr=range(N))
    with pytest.raises(InputError) as error:
        names(path)
    assert "--drop-columns title,nr; " in str(error.value)
    assert names(path, column_choice("title,nr", None, [path])) == ["joy", "fast"]


def test_an_index_that_is_named_as_an_attribute_stays(tmp_path: Path) -> None:
    path = table(tmp_path, __none=range(N))
    kept = column_choice(None, "Unnamed: 1", [path])
    assert names(path, kept) == ["Unnamed: 1", "joy", "fast"]


def test_columns_that_do_not_exist_or_are_in_both_lists_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path)
    with pytest.raises(InputError, match=r"^--drop-columns: no .* column 'joys' .*; is it 'joy'\?"):
        column_choice("joys", None, [path])
    with pytest.raises(InputError, match=r"^--keep-columns: no table"):
        column_choice(None, ["track_id"], [path])
    with pytest.raises(InputError, match="in --drop-columns and in --keep-columns"):
        column_choice("joy", "joy", [path])


def test_embeddings_of_one_column_a_dimension_are_read_the_same_way(tmp_path: Path) -> None:
    path = table(tmp_path, __none=range(N))
    assert len(read_vectors(path, [])["t0"]) == 2
    path = table(tmp_path, nr=range(N))
    with pytest.raises(InputError, match="it counts the rows"):
        read_vectors(path, [])
    assert len(read_vectors(path, [], None, column_choice("nr", None, [path]))["t0"]) == 2


COLUMNS = st.sampled_from(
    [
        lambda r, n: r.random(n),
        lambda r, n: r.random(n).round(1),
        lambda r, n: r.normal(size=n),
        lambda r, n: r.integers(0, 2, n),  # flags
        lambda r, n: r.integers(1, 6, n),  # grades of five steps
        lambda r, n: r.integers(0, 101, n),  # percents
        lambda r, n: r.integers(1950, 2025, n),  # years
        lambda r, n: r.normal(230_000, 60_000, n).round(),  # milliseconds
        lambda r, n: r.lognormal(8, 2, n).round(),  # counts
        lambda r, n: r.normal(120, 30, n).round(),  # beats a minute
        lambda r, n: np.sort(r.random(n)),  # a sorted table
        lambda r, n: np.sort(r.integers(1, 8, n)),
        lambda r, n: np.full(n, r.integers(0, 9)),  # a constant
    ]
)


@given(st.lists(COLUMNS, min_size=1, max_size=12), st.integers(1, 400), st.integers(0, 2**32))
def test_attributes_cause_no_false_alarm(kinds: list[Any], rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = {f"a{i}": kind(generator, rows).astype(float) for i, kind in enumerate(kinds)}
    assert doubtful_columns(values, ColumnChoice()) == {}
