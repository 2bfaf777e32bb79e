from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.errors import Broken, InputError
from coldstart.tables.vectors import read_vectors

IDS = ["a", "b"]
PLAIN = [[1.5, -2.0], [3.0, 4.25]]
NUMBERS = st.floats(-1e6, 1e6, width=32)


def series(dtype: Any) -> pl.Series:
    return pl.Series([[1, -2], [3, 4]], dtype=dtype)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (PLAIN, PLAIN),
        (pl.Series(PLAIN, dtype=pl.Array(pl.Float64, 2)), PLAIN),
        (pl.Series(PLAIN, dtype=pl.List(pl.Float16)), PLAIN),
        (series(pl.List(pl.Int8)), [[1, -2], [3, 4]]),
        (series(pl.List(pl.Int128)), [[1, -2], [3, 4]]),
        (series(pl.List(pl.Decimal(10, 2))), [[1, -2], [3, 4]]),
        ([[row] for row in PLAIN], PLAIN),
        ([[[x] for x in row] for row in PLAIN], PLAIN),
        ([[[[x] for x in row]] for row in PLAIN], PLAIN),
        (pl.Series(np.array(PLAIN).reshape(2, 1, 2)), PLAIN),
        (pl.Series(np.array(PLAIN).reshape(2, 2, 1)), PLAIN),
        ([[str(x) for x in row] for row in PLAIN], PLAIN),
        (["(1.5, -2)", "(3, 4.25,)"], PLAIN),
        (["tensor([1.5, -2.])", "tensor([3., 4.25])"], PLAIN),
        (["1.5 -2 0", "3 4.25 0"], [[1.5, -2, 0], [3, 4.25, 0]]),
        (["1.5;-2;0", "3;4.25;0"], [[1.5, -2, 0], [3, 4.25, 0]]),
        (["[[1.5, -2]]", "[[3, 4.25]]"], PLAIN),
    ],
)
def test_vectors_of_any_simple_form_are_read(
    values: Any, expected: list[list[float]], tmp_path: Path
) -> None:
    vectors = read_vectors(parquet(tmp_path, track_id=IDS, v=values), [])
    assert {track: vector.tolist() for track, vector in vectors.items()} == dict(
        zip(IDS, expected, strict=True)
    )
    assert {vector.dtype for vector in vectors.values()} == {np.dtype(np.float32)}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=2, max_size=2))
def test_texts_are_read_as_what_they_were_printed_from(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    folder, arrays = tmp_path_factory.mktemp("v"), [np.array(row, np.float32) for row in rows]
    for form in (lambda a: str(a.tolist()), str, repr):
        path = folder / "v.csv"
        with np.printoptions(floatmode="unique"):
            pl.DataFrame({"track_id": IDS, "v": [form(a) for a in arrays]}).write_csv(path)
        vectors = read_vectors(path, [])
        assert all(np.array_equal(vectors[track], a) for track, a in zip(IDS, arrays, strict=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[[1.0, 2.0], [1.0, 2.0]], [[3.0, 4.0]]], "has 2 vectors for track 'a'; needed is one"),
        (pl.Series(np.zeros((2, 2, 2))), "has 2 vectors for track 'a'"),
        (pl.Series([[], []], dtype=pl.List(pl.Float32)), "every cell is empty"),
        (pl.Series([None, None], dtype=pl.List(pl.Float32)), "every cell is empty"),
        (["[]", "[]"], "every cell is empty"),
        ([[1.0], None], "row 2, track 'b', field 'v': is empty"),
        ([["x", "y"], ["1", "2"]], "row 1, .* no finite number"),
        ([[b"x"], [b"y"]], r"holds List\(Binary\), not lists of numbers"),
        ([b"xxxx", b"yyyy"], "holds Binary, not vectors; store each as a list"),
        ([{"x": 1}, {"x": 2}], "holds Struct.*, not vectors"),
        ([[{"x": 1}], [{"x": 2}]], "holds List.Struct.*, not lists of numbers"),
        ([[date(2020, 1, 1)]] * 2, r"holds List\(Date\), not lists of numbers"),
        ([[1.0, 1e300], [1.0, 2.0]], r"row 1, .* holds a number above 1e\+18"),
        ([[1.0, None], [1.0, 2.0]], "row 1, .* no finite number"),
        (["[1 2 ... 3]", "[1 2 3]"], "row 1, .* was shortened when it was printed"),
        (["[[1,2],[3,4]]", "[1,2]"], "row 1, .* is not the text of one vector"),
        (["[1, 2", "[1, 2]"], "row 1, .* is not the text of one vector"),
        (["0,1;0,2;1", "0,1;0,2;1"], "no finite number"),  # decimal commas
        (["0,5", "0,6"], "holds text"),
        (["[1,,2]", "[1,2,3]"], "row 1, .* no finite number"),
    ],
)
def test_what_is_no_vector_is_refused_in_a_sentence(
    values: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_vectors(parquet(tmp_path, track_id=IDS, v=values), [])


def test_broken_vectors_are_left_out_when_asked_for(tmp_path: Path) -> None:
    ids, values = list("abcde"), [[1.0, 2.0], None, [1.0], [1e300, 0.0], [float("nan"), 0.0]]
    broken = Broken(skip=True)
    vectors = read_vectors(parquet(tmp_path, track_id=ids, v=values), [], broken)
    assert list(vectors) == ["a"]
    assert sorted(fault.row or 0 for fault in broken.faults) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 0)), "needed are numbers"),
        (np.ones((2, 3, 2)), "needed are numbers"),
        (np.ones((2, 2), bool), "needed are numbers"),
        (np.array([[1.0, 1e300]] * 2), r"row 0 .* a number above 1e\+18"),
    ],
)
def test_a_matrix_without_vectors_is_refused(
    array: np.ndarray[Any, Any], message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(InputError, match=message):
        read_vectors(tmp_path / "v.npy", IDS)


@pytest.mark.parametrize("kind", ["<f2", ">f8", "<i4", "<u1"])
def test_a_matrix_of_any_numbers_is_read(kind: str, tmp_path: Path) -> None:
    for shape in ((2, 3), (2, 1, 3)):
        np.save(tmp_path / "v.npy", np.arange(6).reshape(shape).astype(kind))
        vectors = read_vectors(tmp_path / "v.npy", IDS)
        assert [vectors[track].tolist() for track in IDS] == [[0, 1, 2], [3, 4, 5]]


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((2, 2), np.float32))
    content = (tmp_path / "v.npy").read_bytes()
    for shape in (b"(2, 9999999999999)", b"(2, -1)", b"(2, 1", b"((((((((2, 2)"):
        new = shape.ljust(6) + b", }"
        padded = content.replace(b"(2, 2), }".ljust(len(new)), new)
        assert padded != content
        (tmp_path / "v.npy").write_bytes(padded)
        with pytest.raises(InputError, match="not a readable"):
            read_vectors(tmp_path / "v.npy", IDS)
