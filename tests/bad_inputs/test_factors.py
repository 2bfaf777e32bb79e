"""Factors and the listens since: damaged, changed by hand, or of two factorisations."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bad_inputs.damage import (
    HOLDS,
    OTHERS,
    changed,
    copy_of,
    flipped,
    no_file,
    refused,
    with_arrays,
    with_table,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.factors.events import events_of
from coldstart.factors.factors import Factors
from coldstart.factors.history import Updates
from coldstart.factors.update import current_factors, update_factors

JSON, TABLE, USERS = "factors.json", "tracks.parquet", "users.parquet"
VECTORS, FOLDED, LISTENS = (f"{n}.safetensors" for n in ("factors", "folded", "listens"))


@pytest.fixture
def factors(tmp_path: Path) -> Path:
    return copy_of("factors", tmp_path)


# factors.json

REQUIRED = ["version", "protocol", "algorithm", "factors", "regularization"]

VALUES: list[tuple[str, Any]] = [
    ("version", "1"),
    ("version", 2),
    ("version", True),
    ("version", 1.5),
    ("protocol", None),
    ("protocol", ["strict"]),
    ("algorithm", "ALS"),
    ("algorithm", {"name": "implicit"}),
    ("factors", 0),
    ("factors", -4),
    ("factors", 4.0),
    ("factors", "4"),
    ("factors", 5),
    ("factors", 10**30),
    ("regularization", "0.05"),
    ("regularization", -0.1),
    ("regularization", float("nan")),
    ("regularization", None),
    ("iterations", "20"),
    ("iterations", 0),
    ("weighting", "square"),
    ("alpha", float("inf")),
    ("axes", "mine"),
    ("seed", "zero"),
    ("seed", 10**40),
    ("mean", [0.0, 0.0]),
    ("mean", [0.0, 0.0, "x", 0.0]),
    ("mean", "0000"),
    ("spread", "wide"),
    ("spread", -1),
    ("listens", -144),
    ("users", [16]),
    ("last_listen", 20240101),
    ("last_listen", "yesterday"),
    ("withheld", "some"),
    ("id", 5),
    ("id", "\ud800"),
]


@pytest.mark.parametrize("key", REQUIRED)
def test_a_field_that_is_missing_is_named(factors: Path, key: str) -> None:
    changed(factors / JSON, key)
    refused(lambda: Factors.load(factors), str(factors / JSON), f"'{key}' is missing")
    refused(lambda: Factors.about_of(factors), str(factors / JSON))


def test_half_of_the_scale_is_named(factors: Path) -> None:
    changed(factors / JSON, "mean")
    refused(lambda: Factors.load(factors), str(factors / JSON), "'mean' is missing")
    changed(factors / JSON, "spread")
    assert "mean" not in Factors.load(factors).about  # as the oldest factors have it


@pytest.mark.parametrize(("key", "value"), VALUES)
def test_a_field_of_another_kind_is_named(factors: Path, key: str, value: Any) -> None:
    changed(factors / JSON, key, value)
    with pytest.raises(InputError) as caught:
        Factors.load(factors)
    place, _, reason = str(caught.value).partition(": ")
    assert place.startswith(str(factors))
    assert any(word in reason for word in (key, "NaN", "Infinity", "mean")), reason


@pytest.mark.parametrize("what", HOLDS)
def test_garbage_in_the_place_of_factors_json_is_named(factors: Path, what: str) -> None:
    (factors / JSON).write_bytes(HOLDS[what])
    refused(lambda: Factors.load(factors), str(factors / JSON))


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", [JSON, TABLE, LISTENS])
def test_what_is_no_file_is_not_waited_for(factors: Path, name: str, kind: str) -> None:
    no_file(factors / name, kind)
    refused(lambda: Factors.load(factors), str(factors / name), "it is a ")


# Arrays


def set_to(name: str, place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays[name].__setitem__(place, value)


def made(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.update({name: change(arrays[name])})


ARRAYS: list[tuple[str, str, Callable[[dict[str, Any]], object]]] = [
    (VECTORS, "tracks", set_to("tracks", (0, 0), np.nan)),
    (VECTORS, "tracks", set_to("tracks", (3, 1), np.inf)),
    (VECTORS, "users", set_to("users", (-1, -1), -np.inf)),
    (FOLDED, "tracks", set_to("tracks", 2, np.nan)),
    (VECTORS, "tracks", made("tracks", lambda a: a.astype(np.float64))),
    (VECTORS, "tracks", made("tracks", lambda a: a.astype(np.float16))),
    (VECTORS, "users", made("users", lambda a: a.astype(np.int32))),
    (VECTORS, "tracks", made("tracks", lambda a: a[:, :3])),
    (VECTORS, "users", made("users", lambda a: a[:, :3])),
    (VECTORS, "tracks", made("tracks", lambda a: a[:-1])),
    (VECTORS, "users", made("users", lambda a: np.concatenate([a, a]))),
    (VECTORS, "tracks", made("tracks", np.ravel)),
    (VECTORS, "users", lambda arrays: arrays.pop("users")),
    (VECTORS, "more", lambda arrays: arrays.update(more=np.zeros(3))),
    (FOLDED, "tracks", made("tracks", lambda a: a[:, :2])),
    (FOLDED, "tracks", made("tracks", lambda a: a[1:])),
    (FOLDED, "tracks", lambda arrays: arrays.clear()),
    (LISTENS, "data", set_to("data", 5, np.nan)),
    (LISTENS, "data", set_to("data", 5, np.inf)),
    (LISTENS, "data", made("data", lambda a: a[:-1])),
    (LISTENS, "indices", made("indices", lambda a: a.astype(np.float32))),
    (LISTENS, "indices", made("indices", lambda a: a.astype(np.int64))),
    (LISTENS, "indptr", made("indptr", lambda a: a.astype(np.int32))),
    (LISTENS, "indptr", made("indptr", lambda a: a[:-1])),
    (LISTENS, "indptr", made("indptr", lambda a: np.append(a, a[-1]))),
    (LISTENS, "indptr", lambda arrays: arrays.pop("indptr")),
]

OUTSIDE: list[Callable[[dict[str, Any]], object]] = [
    set_to("indices", 0, 24),
    set_to("indices", 0, 2**31 - 1),
    set_to("indices", 7, -1),
    set_to("indices", 7, -(2**31)),
    set_to("indptr", 0, 1),
    set_to("indptr", 0, -1),
    set_to("indptr", 3, 10**12),
    set_to("indptr", 3, -(10**12)),
    set_to("indptr", -1, 10**12),
    set_to("indptr", -1, 3),
    made("indptr", lambda a: a[::-1].copy()),
    made("indptr", lambda a: np.zeros_like(a)),
]
"""Read on, these end in a crash of the process."""


@pytest.mark.parametrize(("name", "array", "change"), ARRAYS)
def test_arrays_of_another_form_are_named(
    factors: Path, name: str, array: str, change: Callable[[dict[str, Any]], object]
) -> None:
    with_arrays(factors / name, change)
    refused(lambda: Factors.load(factors), str(factors / name), f"'{array}'")


@pytest.mark.parametrize("change", OUTSIDE)
def test_listens_that_point_outside_are_refused(
    factors: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    with_arrays(factors / LISTENS, change)
    refused(lambda: Factors.load(factors), str(factors / LISTENS), "don't exist", "again")


def test_no_listens_crash_the_process(factors: Path, tmp_path: Path) -> None:
    folders = []
    for number, change in enumerate(OUTSIDE):
        folders.append(str(shutil.copytree(factors, tmp_path / str(number))))
        with_arrays(Path(folders[-1]) / LISTENS, change)
    code = (
        "import sys\nimport coldstart as cs\n"
        "for folder in sys.argv[1:]:\n"
        "    try: cs.Factors.load(folder).listens.sum(axis=0)\n"
        "    except cs.InputError: print('refused')\n"
    )
    command = [sys.executable, "-c", code, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.split() == ["refused"] * len(OUTSIDE)


@pytest.mark.parametrize("name", [VECTORS, FOLDED, LISTENS])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 40, -1])
def test_arrays_that_are_cut_off_are_named(factors: Path, name: str, length: int) -> None:
    (factors / name).write_bytes((factors / name).read_bytes()[:length])
    refused(lambda: Factors.load(factors), str(factors / name), "again")


HEADERS = [
    (2**62).to_bytes(8, "little") + b"{}",
    b"\x02" + bytes(7) + b"{}",
    (30).to_bytes(8, "little") + b'{"tracks":{"dtype":"F32"}}    ',
    (10**5).to_bytes(8, "little") + b"[" * 10**5,
]


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_arrays_that_lie_are_named(factors: Path, header: bytes) -> None:
    (factors / VECTORS).write_bytes(header)
    refused(lambda: Factors.load(factors), str(factors / VECTORS), "again")


FILES = [VECTORS, FOLDED, LISTENS, TABLE, USERS]


@pytest.fixture
def noted(factors: Path) -> Path:
    """As today's version writes them, with checksums."""
    Factors.load(factors).write(factors)
    Factors.load(factors)
    return factors


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(FILES), data=st.data())
def test_a_flipped_bit_is_noticed(noted: Path, name: str, data: st.DataObject) -> None:
    path = noted / name
    content = path.read_bytes()
    flipped(path, data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7)))
    refused(lambda: Factors.load(noted), str(path), "again")
    path.write_bytes(content)
    Factors.load(noted)


CHANGES: list[tuple[str, Callable[[Path], object]]] = [
    (VECTORS, lambda path: with_arrays(path, set_to("tracks", (0, 0), 9.0))),
    (VECTORS, lambda path: with_arrays(path, made("users", lambda a: a[::-1].copy()))),
    (FOLDED, lambda path: with_arrays(path, set_to("tracks", 0, 0.0))),
    (LISTENS, lambda path: with_arrays(path, set_to("data", 0, 99.0))),
    (TABLE, lambda path: with_table(path, lambda t: t.with_columns(split=pl.lit("")))),
    (TABLE, lambda path: with_table(path, lambda t: t.with_columns(pl.col("track_id").reverse()))),
    (TABLE, lambda path: with_table(path, lambda t: t.with_columns("x" + pl.col("track_id")))),
    (USERS, lambda path: with_table(path, lambda t: t.reverse())),
]
"""What could be right, but isn't what was written."""


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_a_change_by_hand_is_noticed(
    noted: Path, name: str, change: Callable[[Path], object]
) -> None:
    change(noted / name)
    refused(lambda: Factors.load(noted), str(noted / name), "checksum", "again")


@pytest.mark.parametrize("note", [*HOLDS, "another"])
def test_a_damaged_note_of_checksums_is_named(noted: Path, note: str) -> None:
    other = b'{"tracks.parquet": "../users.parquet", "users.parquet": 5}'
    (noted / "checksums.json").write_bytes(HOLDS.get(note, other))
    refused(lambda: Factors.load(noted), "checksums.json", "again")


# Tables of ids

TABLES: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]] = [
    (TABLE, lambda t: t.drop("track_id")),
    (TABLE, lambda t: t.drop("split")),
    (TABLE, lambda t: t.drop("folded")),
    (TABLE, lambda t: t.with_columns(track_id=pl.lit("t"))),
    (TABLE, lambda t: t.with_columns(track_id=pl.lit(None, pl.String))),
    (TABLE, lambda t: t.with_columns(track_id=pl.int_range(pl.len()))),
    (TABLE, lambda t: t.with_columns(track_id=pl.col("track_id").cast(pl.Binary))),
    (TABLE, lambda t: t.with_columns(track_id=pl.concat_list("track_id"))),
    (TABLE, lambda t: t.with_columns(folded=pl.col("folded").cast(pl.String))),
    (TABLE, lambda t: t.with_columns(folded=pl.col("folded").cast(pl.Int8))),
    (TABLE, lambda t: t.with_columns(folded=pl.when("folded").then(True))),
    (TABLE, lambda t: t.with_columns(folded=~pl.col("folded"))),
    (TABLE, lambda t: t.with_columns(folded=pl.lit(True))),
    (TABLE, lambda t: t.reverse()),
    (TABLE, lambda t: t.with_columns(split=pl.lit(None, pl.String))),
    (TABLE, lambda t: t.with_columns(split=pl.lit("train"))),
    (USERS, lambda t: t.with_columns(user_id=pl.lit("u"))),
    (USERS, lambda t: t.with_columns(user_id=pl.lit(None, pl.String))),
    (USERS, lambda t: t.with_columns(user_id=pl.int_range(pl.len()))),
    (USERS, lambda t: t.rename({"user_id": "user"})),
]


@pytest.mark.parametrize(("name", "change"), TABLES)
def test_tables_of_ids_that_aren_t_as_written_are_named(
    factors: Path, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    with_table(factors / name, change)
    refused(lambda: Factors.load(factors), str(factors / name), "again")


def test_files_of_two_factorisations_don_t_go_together(factors: Path) -> None:
    for name, drop in ((TABLE, slice(1, None)), (USERS, slice(None, -1))):
        whole = (factors / name).read_bytes()
        with_table(factors / name, lambda t, drop=drop: t[drop])  # type: ignore[misc]
        refused(lambda: Factors.load(factors), "don't match in number", "again")
        (factors / name).write_bytes(whole)


# Listens since the fit


@pytest.fixture
def updated(factors: Path) -> Path:
    rows = pl.DataFrame({"user_id": ["u00", "new"], "track_id": ["t01", "t02"], "plays": [2.0, 1]})
    ids = Factors.load(factors)
    rows = rows.with_columns(track_id=pl.Series(ids.track_ids[:2]))
    update_factors(factors, events_of(rows, "plays", "listens"))
    assert len(current_factors(factors).user_ids) == len(ids.user_ids) + 1
    return factors


def note_of(folder: Path) -> Path:
    return next((folder / "updates").glob("*/updates.json"))


UPDATES: list[tuple[str, Any]] = [
    ("version", ...),
    ("version", "1"),
    ("version", 2),
    ("updates", ...),
    ("updates", {}),
    ("updates", []),
    ("updates.0", "x"),
    ("updates.0.file", ...),
    ("updates.0.file", 5),
    ("updates.0.file", "../../../listens.parquet"),
    ("updates.0.file", "/etc/passwd"),
    ("updates.0.fingerprint", None),
    ("updates.0.listens", "2"),
    ("updates.0.last", "soon"),
    ("state", ...),
    ("state", None),
    ("state", ["state-1"]),
    ("state", "../../.."),
    ("state", "/"),
]


@pytest.mark.parametrize(("key", "value"), UPDATES)
def test_a_damaged_list_of_updates_is_named(updated: Path, key: str, value: Any) -> None:
    changed(note_of(updated), key, value)
    with pytest.raises(InputError, match=r"updates\.json: "):
        current_factors(updated)


@pytest.mark.parametrize("what", HOLDS)
def test_garbage_in_the_place_of_a_list_of_updates_is_named(updated: Path, what: str) -> None:
    note_of(updated).write_bytes(HOLDS[what])
    refused(lambda: current_factors(updated), "updates.json", "give the listens since the fit")


LOGS: list[Callable[[pl.DataFrame], pl.DataFrame]] = [
    lambda t: t.drop("user_id"),
    lambda t: t.with_columns(track_id=pl.lit(7)),
    lambda t: t.with_columns(user_id=pl.lit(None, pl.String)),
    lambda t: t.with_columns(plays=pl.lit(float("nan"))),
    lambda t: t.with_columns(plays=pl.lit(float("inf"))),
    lambda t: t.with_columns(plays=pl.lit("many")),
]


@pytest.mark.parametrize("change", LOGS)
def test_damaged_listens_of_an_update_are_named(
    updated: Path, change: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    updates = Updates(updated, json.loads((updated / JSON).read_bytes())["id"])
    with_table(updates.folder / updates.rows[0]["file"], change)
    refused(lambda: list(updates.listens()), "000001.parquet: ", "give the listens since the fit")
