"""Tables that can't be used: each ends with status 2 and one message, of file, place and remedy."""

import gzip
import re
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bad_inputs.verbs import LOG, Refusal, factorize, parquet, refusal_of, sharded

from coldstart.errors import Broken, InputError
from coldstart.tables.attributes import read_attributes
from coldstart.tables.tracks import read_tracks
from coldstart.tables.vectors import read_vectors


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    return refusal_of(tmp_path, monkeypatch, capsys)


def changed(content: bytes, place: int, new: bytes) -> bytes:
    at = place % len(content)
    return content[:at] + new + content[at + len(new) :]


# What is in the file

LISTENS = parquet({"user_id": ["u", "v"], "track_id": ["a", "b"], "plays": [1, 2]})
ZIPPED = gzip.compress(LOG.encode() * 300, mtime=0)

CONTENTS: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("x.csv", b"", r"x.csv: not a readable .csv table .0 bytes.; make it anew"),
    "nothing in Parquet": ("x.parquet", b"", "x.parquet: .*0 bytes.; make"),
    "nothing in lines": ("x.jsonl", b"", "x.jsonl: .*0 bytes.; make"),
    "nothing in gzip": ("x.csv.gz", gzip.compress(b""), "x.csv.gz: has no text, not even"),
    "blank lines": ("x.csv", b"\n \n\n", "x.csv: has no text, not even the names of columns"),
    "header": ("x.csv", LOG.split("\n")[0].encode() + b"\n", "x.csv: the table has no rows"),
    "a Mac's lines": ("x.csv", LOG.replace("\n", "\r").encode(), r"lines end .*tr '\\r' '\\n'"),
    "a Mac's tabs": ("x.tsv", LOG.replace("\n", "\r").encode(), "x.tsv: its lines end as"),
    "UTF-16 tabs": ("x.tsv", LOG.replace(",", "\t").encode("utf-16"), "UTF-16, and .*: iconv -f"),
    "more cells": ("x.csv", (LOG + "w,c,1,2,3\n").encode(), "line 4 has 5 cells, .* header 3; a"),
    "more cells, packed": ("x.csv.gz", gzip.compress(f"{LOG}w,c,1,2\n".encode()), "line 4 has 4"),
    "open quote": ("x.csv", (LOG + 'w,"c,1\n').encode() + b"x,y,1\n" * 9, "line 4 has a double q"),
    "Latin-1": ("x.csv", (LOG + "w,caf\xe9,1\n").encode("latin-1"), "line 4 isn't UTF-8.*'café'"),
    "no text": ("x.csv", bytes(range(256)) * 20, "x.csv: not a readable .csv table .*it is no te"),
    "cut gzip": ("x.csv.gz", ZIPPED[:-12], r"x.csv.gz: not a readable .*; make it anew, or copy"),
    "damaged gzip": ("x.csv.gz", changed(ZIPPED, 20, b"\xff" * 9), "x.csv.gz: not a readable .csv"),
    "cut Zstandard": ("x.csv.zst", b"\x28\xb5\x2f\xfd\x24", "x.csv.zst: not a readable .csv"),
    "list as line": ("x.jsonl", b'{"user_id": "u"}\n[1, 2]\n', "line 2 is no JSON object; each"),
    "cut line": ("x.jsonl", b'{"user_id": "u"}\n{"user_id', "x.jsonl: .*line 2 is no JSON object"),
    "number": ("x.ndjson", b"7\n", "x.ndjson: .*line 1 is no JSON object; each line is one row"),
    "cut Parquet": ("x.parquet", LISTENS[:-9], "x.parquet: not a readable .*; make it anew, or"),
    "marks alone": ("x.parquet", b"PAR1PAR1", "x.parquet: not a readable .parquet table"),
    "far footer": ("x.parquet", changed(LISTENS, -8, b"\xff" * 4), "x.parquet: not a readable"),
    "zero footer": ("x.parquet", changed(LISTENS, -150, bytes(120)), "x.parquet: not a readable"),
    "zero page": ("x.parquet", changed(LISTENS, 8, bytes(60)), "x.parquet: not a readable .parq"),
    "minus 3 values": (
        "x.parquet",
        parquet({"user_id": ["u", "v", "w"]}).replace(b"\x2c\x15\x06", b"\x2c\x15\x05", 1),
        "x.parquet: damaged: a page says that it has fewer than 0 values; make it anew",
    ),
    "text as Parquet": ("x.parquet", LOG.encode() * 9, "x.parquet: not a readable .parquet table"),
    "Parquet as text": ("x.csv", LISTENS, "x.csv: it is Parquet, which is read from files that"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_file_that_is_no_table_is_refused_with_the_place(
    case: str, tmp_path: Path, refusal: Refusal
) -> None:
    name, content, expected = CONTENTS[case]
    (tmp_path / name).write_bytes(content)
    message = refusal(*factorize(name))
    assert re.search(expected, message), message


# Types and extremes

FAR = pl.Series([2**31 - 1, 0, -(2**31)], dtype=pl.Int32).cast(pl.Date)
FAR_TIMES = pl.Series([2**62, 0, -(2**62)])
LAST_HOUR = pl.Series([253_402_300_799_000, 0, 1]).cast(pl.Datetime("ms", "Asia/Tokyo"))
BYTES = pl.Series([b"a", b"\xff", b""])
SPANS = pl.Series([timedelta(1), timedelta(2), timedelta(3)])
DAYS = pl.Series([date(2020, 1, 1), date(2021, 1, 1), date(2022, 1, 1)])
FAR_LISTS = pl.concat([DAYS.implode(), FAR.implode(), DAYS.implode()])
RECORDS = pl.Series([{"a": 1}, {"a": 2}, {"a": 3}])
NOTHING = pl.Series([None, None, None], dtype=pl.List(pl.Float32))


def lists(*values: Any, inner: Any = None) -> pl.Series:
    return pl.Series(list(values), dtype=None if inner is None else pl.List(inner))


VALUES: dict[str, tuple[str, pl.Series, str]] = {
    # verb or kind of table, column, cells, what is said
    "dates of 5 million years": ("split", FAR.alias("release_date"), "'release_date': row 1 is no"),
    "title of dates": ("split", FAR.alias("title"), "'title': row 1 is no time from the years 1"),
    "title of times": (
        "split",
        FAR_TIMES.cast(pl.Datetime("us")).alias("title"),
        "'title': row 1 is no time from the years 1 to 9999; leave such cells empty",
    ),
    "artist of bytes": ("split", BYTES.alias("artist"), "column 'artist' holds Binary, not text"),
    "artist of spans": ("split", SPANS.alias("artist"), "column 'artist' holds Duration.*not text"),
    "artist of lists": ("split", lists(["a"], [], None).alias("artist"), "'artist' holds List"),
    "ids of dates": ("split", DAYS.alias("track_id"), "column 'track_id' holds Date, but ids are"),
    "ids of bytes": ("split", BYTES.alias("track_id"), "column 'track_id' holds Binary, but ids"),
    "genres of bytes": (
        "split",
        lists([b"a"], [b"b"], None).alias("genres"),
        r"column 'genres' holds List\(Binary\), not a list of names",
    ),
    "genres of dates": (
        "split",
        FAR_LISTS.alias("genres"),
        r"column 'genres' holds List\(Date\), not a list of names",
    ),
    "genres of spans": (
        "split",
        SPANS.reshape((3, 1)).alias("genres"),
        "'genres' holds .*Duration",
    ),
    "dates of huge numbers": (
        "split",
        pl.Series("release_date", [2**126, 1, 2], dtype=pl.Int128),
        "'release_date'.* is no time from 1990 to 2100, in any unit. Write times as",
    ),
    "dates at the edge": (
        "split",
        LAST_HOUR.alias("release_date"),
        "'release_date': row 1 is no time from the years 1 to 9999",
    ),
    "date of year 0": (
        "split",
        pl.Series("release_date", ["0000-05-01", "2020-01-01", "2021-01-01"]),
        "row 1, track 'a', field 'release_date': '0000-05-01' is not a date",
    ),
    "times beyond the calendar": (
        "events",
        FAR_TIMES.cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        "'timestamp': row 1 is no time from the years 1 to 9999",
    ),
    "offset beyond the calendar": (
        "events",
        pl.Series("timestamp", ["2020-01-01", "9999-12-31T23:59:59-12:00", "2020-01-02"]),
        "row 2, track 'b', field 'timestamp': '9999-12-31T23:59:59-12:00' is no time",
    ),
    "plays of spans": ("factorize", SPANS.alias("plays"), "'plays' holds Duration.*, not numbers"),
    "plays of lists": (
        "factorize",
        lists([1], [2], []).alias("plays"),
        "'plays' holds List.*not n",
    ),
    "plays of infinity": (
        "factorize",
        pl.Series("plays", [1.0, float("inf"), 1.0]),
        "row 2, track 'b', field 'plays': inf is not a finite number",
    ),
    "sides of bytes": ("splits", BYTES.alias("split"), "column 'split' holds Binary, not text"),
    "attribute of bytes": (
        "attributes",
        BYTES.alias("loud"),
        "'loud' .it holds Binary, not numbers",
    ),
    "attribute of dates": (
        "attributes",
        FAR.alias("loud"),
        "'loud' .it holds Date.*--drop-columns",
    ),
    "attribute too large": (
        "attributes",
        pl.Series("loud", [0.5, 1e300, 0.2]),
        "row 2, track 'b', field 'loud': 1e.300 is too large a number",
    ),
    "text of bytes": ("texts", BYTES.alias("text"), "column 'text' holds Binary, not text"),
    "path of lists": ("files", lists(["a"], [], None).alias("path"), "column 'path' holds List"),
    "vectors of bytes": (
        "embeddings",
        BYTES.alias("v"),
        "column 'v' holds Binary, not vectors; st",
    ),
    "vectors of lists of bytes": (
        "embeddings",
        lists([b"a"], [b"b"], None).alias("v"),
        r"column 'v' holds List\(Binary\), not lists of numbers",
    ),
    "vectors of records": (
        "embeddings",
        RECORDS.alias("v"),
        "column 'v' holds Struct.*, not vectors",
    ),
    "vectors of texts": (
        "embeddings",
        lists(["a", "b"], ["c", "d"], ["1", "2"]).alias("v"),
        "row 1, track 'a', field 'v': holds what is no finite number",
    ),
    "vectors of dates": (
        "embeddings",
        FAR_LISTS.alias("v"),
        r"'v' holds List\(Date\)",
    ),
    "several vectors": (
        "embeddings",
        lists(*[[[1.0, 2.0], [2.0, 3.0]]] * 3).alias("v"),
        "'v' has 2 vectors for track 'a'; needed is one a track: take their mean",
    ),
    "empty vectors": (
        "embeddings",
        lists([], [], [], inner=pl.Float64).alias("v"),
        "every cell is e",
    ),
    "no vectors": ("embeddings", NOTHING.alias("v"), "'v' has no vector: every cell is empty"),
    "vectors of nothing": (
        "embeddings",
        lists([None], [None], [None]).alias("v"),
        "no finite number",
    ),
    "empty vectors in vectors": (
        "embeddings",
        lists([[]], [[]], [[]], inner=pl.List(pl.Float64)).alias("v"),
        "column 'v' has no vector: every cell is empty",
    ),
    "one empty vector": (
        "embeddings",
        lists([1.0], [2.0], []).alias("v"),
        "row 3, track 'c'.*is em",
    ),
    "vector of NaN": (
        "embeddings",
        lists([1.0], [float("nan")], [2.0]).alias("v"),
        "row 2, track 'b', field 'v': holds what is no finite number",
    ),
    "vectors beyond float32": (
        "embeddings",
        lists([1.0], [1e300], [2.0]).alias("v"),
        "row 2, track 'b', field 'v': holds a number above 1e.18",
    ),
    "vectors of huge decimals": (
        "embeddings",
        pl.Series("v", [[1], [10**30], [2]], dtype=pl.List(pl.Int128)),
        "row 2, track 'b', field 'v': holds a number above 1e.18",
    ),
    "text of a huge vector": (
        "embeddings",
        pl.Series("v", ["[1, 2]", "[1e400, 2]", "[1, 2]"]),
        "row 2, track 'b', field 'v': holds what is no finite number",
    ),
}
NEEDED: dict[str, dict[str, list[Any]]] = {
    "split": {"track_id": ["a", "b", "c"], "title": ["t"] * 3, "artist": ["x", "y", "z"]},
    "factorize": {"user_id": ["u", "v", "w"], "track_id": ["a", "b", "c"], "plays": [1, 2, 3]},
}


@pytest.mark.parametrize("case", VALUES)
def test_a_column_of_another_kind_is_refused_by_name(
    case: str, tmp_path: Path, refusal: Refusal
) -> None:
    kind, column, expected = VALUES[case]
    args = {
        "split": ["split", "x.parquet", "--out", "out.csv", "--method", "temporal"],
        "factorize": factorize("x.parquet"),
        "events": [*factorize("x.parquet"), "--until", "2020-06-01"],
        "splits": ["shard", "tracks.csv", "--splits", "x.parquet", "--out", "shards"],
    }.get(kind) or sharded(kind, "x.parquet")
    needed = NEEDED.get("factorize" if kind == "events" else kind) or {"track_id": ["a", "b", "c"]}
    table = pl.DataFrame(needed).with_columns(column)
    table.write_parquet(tmp_path / "x.parquet")
    message = refusal(*args)
    assert "x.parquet" in message
    assert re.search(expected, message), message


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "9999-12-31"])
def test_the_calendar_s_first_and_last_day_are_dates(day: str, tmp_path: Path) -> None:
    table = pl.DataFrame(NEEDED["split"])
    for cells in (pl.Series([day] * 3), pl.Series([date.fromisoformat(day)] * 3)):
        table.with_columns(release_date=cells).write_parquet(tmp_path / "x.parquet")
        dates = read_tracks(tmp_path / "x.parquet")["release_date"].to_list()
        assert dates == [date.fromisoformat(day)] * 3


# Width

WIDE = 4000


def test_thousands_of_attributes_take_time_like_their_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"a{number}" for number in range(WIDE)]
    table = pl.DataFrame(rng.random((3, WIDE)), names).insert_column(
        0, pl.Series("track_id", "abc")
    )
    table = table.with_columns(track_id=pl.Series(["a", "b", "c"]))
    table.write_parquet(tmp_path / "x.parquet")
    begins = time.perf_counter()
    for _ in range(2):
        got = read_attributes(tmp_path / "x.parquet")
    vectors = read_vectors(tmp_path / "x.parquet", ["a", "b", "c"])
    assert time.perf_counter() - begins < 20  # a pass over the table for each column took minutes
    assert got.columns == table.columns
    assert np.allclose(vectors["b"], table.row(1)[1:])


def test_faults_in_many_columns_are_all_found_once_a_row(tmp_path: Path) -> None:
    cells: list[Any] = [1.0, float("nan"), 0.5, 1e300]
    columns = {f"a{number}": cells for number in range(500)}
    columns["a7"] = [1.0, 2.0, None, 3.0]
    table = pl.DataFrame({"track_id": ["a", "b", "c", "d"], **columns}, strict=False)
    table.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"row 2, track 'b', field 'a0': nan is not a finite"):
        read_attributes(tmp_path / "x.parquet")
    broken = Broken(skip=True)
    assert read_attributes(tmp_path / "x.parquet", broken)["track_id"].to_list() == ["a"]
    assert [(fault.row, fault.field) for fault in broken.faults] == [
        (2, "a0"),
        (4, "a0"),
        (3, "a7"),
    ]
