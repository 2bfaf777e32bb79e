import gzip
import io
import logging
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from coldstart.commands.factorize import factorize
from coldstart.errors import InputError
from coldstart.tables.formats import read_part
from coldstart.tables.listens import read_listens

LOG = 'user_id,track_id,plays\n01,007,2\n01,9,1\n2,007,3\n2,"a,b",1\n3,9,5\n'
ZSTANDARD = bytes.fromhex(
    "28b52ffd243fdd010022c30b12a0ed6038bf26be0700398f2601edeaf044012a4e1e940fce0d786b"
    "68e593fed83dafc2699a63c8bcf8b4ca5350060300324503a130285f1797df3f"
)
"""The log, compressed."""
ROWS = pl.read_csv(io.StringIO(LOG), infer_schema=False)
NUMBERS = ROWS.with_columns(pl.col("plays").cast(pl.Int64))


def text(separator: str) -> bytes:
    return ROWS.write_csv(separator=separator).encode()


def parquet(compression: str) -> bytes:
    file = io.BytesIO()
    NUMBERS.write_parquet(file, compression=compression)  # type: ignore[arg-type]
    return file.getvalue()


FORMS: dict[str, Callable[[], bytes]] = {
    "a.csv.gz": lambda: gzip.compress(LOG.encode(), mtime=0),
    "A.CSV.ZST": lambda: ZSTANDARD,
    "gzip-inside.csv": lambda: gzip.compress(LOG.encode(), mtime=0),
    "semicolons.csv": lambda: text(";"),
    "tabs.csv": lambda: text("\t"),
    "bars.csv": lambda: text("|"),
    "tabs.tsv": lambda: text("\t"),
    "tabs.tsv.gz": lambda: gzip.compress(text("\t"), mtime=0),
    "bom.csv": lambda: b"\xef\xbb\xbf" + LOG.encode(),
    "bom-semicolons.csv": lambda: b"\xef\xbb\xbf" + text(";"),
    "semicolons.csv.gz": lambda: gzip.compress(text(";"), mtime=0),
    "crlf.csv": lambda: LOG.replace("\n", "\r\n").encode(),
    "plain.parquet": lambda: parquet("uncompressed"),
    "snappy.parquet": lambda: parquet("snappy"),
    "gzip.parquet": lambda: parquet("gzip"),
    "zstd.parquet": lambda: parquet("zstd"),
    "name[1].parquet": lambda: parquet("lz4"),
    "lines.jsonl": lambda: NUMBERS.write_ndjson().encode(),
    "lines.ndjson.gz": lambda: gzip.compress(NUMBERS.write_ndjson().encode()),
}


@pytest.mark.parametrize("name", FORMS)
def test_one_log_is_the_same_in_every_form(tmp_path: Path, name: str) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / name).write_bytes(FORMS[name]())
    expected = read_listens(tmp_path / "log.csv")
    assert expected["track_id"].to_list() == ["007", "9", "007", "a,b", "9"]
    assert read_listens(tmp_path / name).equals(expected)


def test_factors_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    contents = set()
    for name, content in {"log.csv": LOG.encode, **FORMS}.items():
        if name in ("log.csv", "semicolons.csv.gz", "zstd.parquet", "lines.jsonl"):
            (tmp_path / name).write_bytes(content())
            out = tmp_path / f"{name}.factors"
            factorize(tmp_path / name, out=out, factors=2, iterations=1)
            files = sorted(path for path in out.rglob("*") if path.is_file())
            contents.add(tuple((path.name, path.read_bytes()) for path in files))
    assert len(contents) == 1


def test_another_separator_than_a_comma_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log.csv").write_bytes(text(";"))
    with caplog.at_level(logging.INFO):
        read_listens(tmp_path / "log.csv")
    assert "log.csv: read with a semicolon between cells" in caplog.text


def test_a_header_that_has_what_is_needed_with_commas_is_read_with_commas(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,track_id,a;b;c|d\nu,t,1;2;3|4\n")
    assert read_part(path, ["user_id", "track_id"]).columns == ["user_id", "track_id", "a;b;c|d"]


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_tsv_without_tabs_is_refused_with_the_way_out(tmp_path: Path, separator: str) -> None:
    (tmp_path / "x.tsv").write_bytes(text(separator))
    with pytest.raises(InputError, match=r"x\.tsv: its header has a .* a \.tsv has tabs; call it"):
        read_listens(tmp_path / "x.tsv")
    (tmp_path / "x.tsv").rename(tmp_path / "x.csv")
    assert len(read_listens(tmp_path / "x.csv")) == len(ROWS)


def test_a_header_with_two_readings_is_refused_with_both(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("uid;song,x;plays\nu;t,y;1\n")
    with pytest.raises(InputError) as error:
        read_listens(tmp_path / "log.csv")
    assert "with a comma between them, its columns are uid;song, x;plays" in str(error.value)
    assert "with a semicolon between them, its columns are uid, song,x, plays" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", LOG.encode("utf-16"), "is text in UTF-16, and tables are UTF-8.*iconv"),
        ("x.csv", LOG.encode("utf-16-le"), "is text in UTF-16"),
        ("x.csv", (LOG + "ü,é,1\n").encode("latin-1"), "line 7 isn't UTF-8.*Latin-1 it has 'ü'"),
        (
            "x.csv.gz",
            gzip.compress((LOG + "u,caf\xe9,1\n").encode("latin-1"), mtime=0),
            "line 7 isn't UTF-8; in Latin-1 it has 'café'",
        ),
        ("x.csv.gz", gzip.compress(LOG.encode(), mtime=0)[:-10], "not a readable .csv table"),
        ("x.csv.gz", b"no gzip", "no column 'user_id'"),
        ("x.jsonl", b'{"user_id": "u"\n', "not a readable .jsonl table"),
        ("x.jsonl", b"[1, 2]\n", "not a readable .jsonl table|no column"),
        ("x.parquet.gz", gzip.compress(b"PAR1", mtime=0), "tables are read from .parquet or .csv"),
        ("x.gz", gzip.compress(LOG.encode(), mtime=0), "tables are read from .parquet or .csv"),
        ("x.csv", parquet("zstd"), "it is Parquet, which is read from files that end in .parquet"),
        ("x.csv", b"\xff\x00\x01,\x80\n" * 9, "it is no text|is text in UTF-16"),
        ("x.json", b"[]", "tables are read from .parquet or .csv"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_what_is_no_table_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_listens(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_ids_of_json_lines_are_text_as_they_were_written(tmp_path: Path) -> None:
    rows = ['{"user_id": 1, "track_id": "007", "plays": 2}', '{"track_id": "b", "user_id": "x"}']
    (tmp_path / "x.jsonl").write_text("\n".join(rows))
    with pytest.raises(InputError, match="row 2, track 'b', field 'plays': None"):
        read_listens(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text("\n".join([rows[0], rows[0].replace("1", "9", 1)]))
    assert read_listens(tmp_path / "x.jsonl")["user_id"].to_list() == ["1", "9"]
