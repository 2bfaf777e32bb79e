"""Any damage to any file that people bring ends in a sentence, or in what the file still says."""

import gzip
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from bad_inputs.mutation import mutated, refused_or
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldstart.audio.codec import AudioError, to_flac, window
from coldstart.errors import Broken, InputError
from coldstart.factors.events import events_of
from coldstart.forms.content import json_in
from coldstart.forms.yaml_text import text_in, yaml_in
from coldstart.retrieval.columns import conditions, with_types
from coldstart.runs.config import readable
from coldstart.shards.track_rows import track_rows
from coldstart.studies.tune.space import read_space
from coldstart.tables.attributes import read_attributes
from coldstart.tables.listens import read_events, read_listens
from coldstart.tables.splits import read_ids, read_splits
from coldstart.tables.tracks import read_tracks
from coldstart.tables.vectors import read_vectors

FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Few examples a kind of file: there are many kinds. `make fuzz` takes more."""

# Tables

IDS = [f"t{number}" for number in range(6)]
TABLES: dict[str, pl.DataFrame] = {
    "tracks": pl.DataFrame(
        {
            "track_id": IDS,
            "title": ["One", 'T"wo', "Three, four", "Fünf", "", "6"],
            "artist": ["A", "A", "B", "C", "D", "E"],
            "audio": [f"{track}.wav" for track in IDS],
            "genres": ["rock|pop", "rock", "['a', 'b']", "", "x", "y"],
            "release_date": ["2020-01-02", "1999", "2001-05", "", "2026-12-31", "1970-01-01"],
            "bpm": [120.0, 90.5, 1e9, -3, 0, 7],
        }
    ),
    "listens": pl.DataFrame(
        {
            "user_id": ["u", "u", "v", "w", "w", "x"],
            "track_id": IDS,
            "plays": [1, 2, 3, 4, 5, 6],
            "timestamp": [1577836800 + 1000 * number for number in range(6)],
        }
    ),
    "splits": pl.DataFrame({"track_id": IDS, "split": ["train", "val", "test"] * 2}),
    "attributes": pl.DataFrame({"track_id": IDS, "loud": [0.1 * n for n in range(6)], "fast": 1.5}),
    "vectors": pl.DataFrame({"track_id": IDS, "vector": ["[1.0, 2.5]", "[3, 4]"] * 3}),
}


def _as_csv(table: pl.DataFrame) -> bytes:
    return table.write_csv().encode()


def _as_lines(table: pl.DataFrame) -> bytes:
    return table.write_ndjson().encode()


def _as_parquet(table: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    if "vector" in table.columns:
        table = table.with_columns(pl.Series("vector", [[1.0, 2.5]] * len(table)))
    table.write_parquet(file)
    return file.getvalue()


FORMATS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    "csv": _as_csv,
    "tsv": lambda table: table.write_csv(separator="\t").encode(),
    "csv.gz": lambda table: gzip.compress(_as_csv(table), mtime=0),
    "jsonl": _as_lines,
    "parquet": _as_parquet,
}


def _listens(path: Path) -> object:
    rows = read_events(path, "plays", Broken())
    return read_listens(path), events_of(rows, "plays", str(path))


READERS: dict[str, Callable[[Path], object]] = {
    "tracks": lambda path: track_rows(read_tracks(path)),
    "listens": _listens,
    "splits": lambda path: (read_splits(path), read_ids(path)),
    "attributes": read_attributes,
    "vectors": lambda path: read_vectors(path, IDS),
}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("table", TABLES)
@FEW
@given(data=st.data())
def test_a_damaged_table(table: str, ending: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"{table}.{ending}"
    path.write_bytes(data.draw(mutated(FORMATS[ending](TABLES[table]))))
    refused_or(lambda: READERS[table](path), path.name)


@FEW
@given(data=st.data())
def test_damaged_vectors_of_numpy(tmp_path: Path, data: st.DataObject) -> None:
    file = io.BytesIO()
    np.save(file, np.arange(12, dtype=np.float32).reshape(6, 2))
    (tmp_path / "x.npy").write_bytes(data.draw(mutated(file.getvalue())))
    refused_or(lambda: read_vectors(tmp_path / "x.npy", IDS), "x.npy")


CELLS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(["2020-01-01T00:00:00Z", "1e308", "-0", "nan", "٣", "12:61", "[1, [2]]", "01"]),
    st.integers(-(2**70), 2**70).map(str),
)


@pytest.mark.parametrize("table", TABLES)
@FEW
@given(data=st.data())
def test_any_cells(table: str, tmp_path: Path, data: st.DataObject) -> None:
    good = TABLES[table]
    rows = data.draw(
        st.lists(st.tuples(*(CELLS for _ in good.columns)), min_size=1, max_size=4), label="cells"
    )
    cells = pl.DataFrame(rows, schema=dict.fromkeys(good.columns, pl.String), orient="row")
    cells.write_csv(tmp_path / "any.csv", quote_style="always")
    refused_or(lambda: READERS[table](tmp_path / "any.csv"), "any.csv")


# Sound


@cache  # a stream of OGG has a random number
def _sound(kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    tone = 0.4 * np.sin(np.arange(6000) * 0.05)
    soundfile.write(file, tone, 8000, subtype, format=kind)
    return file.getvalue()


def _or_error(call: Callable[[], Any], kind: type[Exception]) -> Any:
    try:
        return call()
    except kind as error:
        return error


SOUNDS = ["WAV", "FLAC", "MP3", "OGG", "AIFF", "AU", "W64", "CAF", "RF64"]
SOUNDS += ["AVR", "NIST", "WVE", "IRCAM", "PAF", "PVF", "MAT5", "XI", "VOC", "SVX", "MPC2K", "HTK"]


@pytest.mark.parametrize("kind", SOUNDS)
@FEW
@given(data=st.data())
def test_a_damaged_sound(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(data.draw(mutated(_sound(kind))))
    flac = _or_error(lambda: to_flac(path, 8000), AudioError)
    if isinstance(flac, AudioError):
        assert 10 < len(str(flac)) < 500
    else:
        assert soundfile.info(io.BytesIO(flac)).samplerate == 8000


@FEW
@given(data=st.data())
def test_a_window_of_a_damaged_flac(data: st.DataObject) -> None:
    content, start = data.draw(mutated(_sound("FLAC"))), data.draw(st.integers(0, 7000))
    out = np.empty(500, np.int16)
    error = _or_error(lambda: window(content, start, out), ValueError)
    assert error is None or str(error).startswith("not a readable FLAC")


# Settings

SPACE = b"""# what to try
model.encoders.mgp.hidden: {choices: [[512], [1024, 1024]]}
model.fusion.dropout: {low: 0, high: 0.7}
optimizer.lr: {low: 1e-4, high: 1e-2, log: true}
data.batch_size: {low: 64, high: 1024, log: true, int: true}
"""


@FEW
@given(data=st.data())
def test_a_damaged_search_space(tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "space.yaml").write_bytes(data.draw(mutated(SPACE)))
    refused_or(lambda: read_space(tmp_path / "space.yaml"), "space.yaml")


@FEW
@given(data=st.data())
def test_a_damaged_config(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(data.draw(mutated(SPACE)))
    refused_or(lambda: yaml_in(text_in(path), path), "config.yaml")
    refused_or(lambda: readable(str(path)), "config.yaml")


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@FEW
@given(value=VALUES, data=st.data())
def test_json_is_read_as_it_was_or_refused(value: Any, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    try:
        assert json_in(path, "write it again") == value
    except InputError:
        assert "Infinity" in path.read_text()
    path.write_bytes(data.draw(mutated(path.read_bytes())))
    refused_or(lambda: json_in(path, "write it again"), "x.json", "write it again")


# Conditions

TRACKS = with_types(
    pl.DataFrame(
        {
            "track_id": ["1", "2", "3"],
            "release_date": ["2026-01-02", "2020", None],
            "bpm": ["120", "", "90.5"],
            "genres": [["a"], [], None],
        }
    )
)
WHERE = b"release_date >= 2026-01-01 and (bpm between 80 and 100 or not track_id in ('1', 'it''s'))"
WORDS = st.sampled_from(
    [
        *("bpm", "track_id", "genres", "release_date", '"bpm"', "'a'", "2026-01", "1", "0", "null"),
        *("and", "or", "not", "between", "in", "(", ")", ",", "=", "<", "is", "like", "case", "*"),
        *("select", "from", "upper(", "sum(", "/", "%", "::", "cast(", "as int", "--", "[", "]"),
    ]
)


@settings(FEW, max_examples=60)
@given(where=mutated(WHERE) | st.lists(WORDS, max_size=8).map(lambda w: " ".join(w).encode()))
def test_any_condition(where: bytes) -> None:
    text = where.decode(errors="replace")
    found = refused_or(lambda: conditions(text, TRACKS), "where")
    if not isinstance(found, InputError):
        assert all(len(part.tracks) == len(TRACKS) for part in found)
