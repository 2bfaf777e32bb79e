"""Files that unpack to more than the memory: refused before they end the process."""

import gzip
import json
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from bad_inputs.verbs import LOG, Refusal, factorize, parquet, refusal_of, sharded
from hypothesis import given
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.tables import memory, unpacking
from coldstart.tables.formats import read_part
from coldstart.tables.table import read_table


@pytest.fixture
def refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    return refusal_of(tmp_path, monkeypatch, capsys)


MIB = 1 << 20


def frame(blocks: int, size: int | None) -> bytes:
    """A file of Zstandard: so many blocks of 128 KB of one letter, whose size it says or not."""
    said = b"" if size is None else size.to_bytes(8, "little")
    head = b"\x28\xb5\x2f\xfd" + (b"\x00\x58" if size is None else b"\xe0") + said
    block = (unpacking.BLOCK << 3 | 1 << 1).to_bytes(3, "little") + b"a"
    last = (unpacking.BLOCK << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"a"
    return head + block * (blocks - 1) + last


def npy(shape: tuple[int, int]) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (118 - len(header) - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


LINE = {"user_id": "u", "track_id": "a", "plays": 1}
BOMBS: dict[str, Callable[[], bytes]] = {
    # Under 100 KB each; unpacked, 16 MB and more.
    "rows.parquet": lambda: parquet(
        pl.select(user_id=pl.repeat("u", MIB), track_id=pl.lit("a"), plays=pl.lit(1))
    ),
    "numbers.parquet": lambda: parquet(
        {"user_id": ["u"], "track_id": ["a"], "v": [[0.0] * 3 * MIB]}, compression="zstd"
    ),
    "text.parquet": lambda: parquet(
        {"user_id": ["u"], "track_id": ["a" * 24 * MIB]}, compression="zstd"
    ),
    "rows.csv.gz": lambda: gzip.compress(LOG.encode() + b"u,a,1\n" * 2 * MIB, 9),
    "text.csv.gz": lambda: gzip.compress(LOG.encode() + b"u" * 24 * MIB + b",a,1\n"),
    "rows.jsonl.gz": lambda: gzip.compress((json.dumps(LINE) + "\n").encode() * (MIB // 2)),
    "said.csv.zst": lambda: frame(200, 200 * unpacking.BLOCK),
    "unsaid.csv.zst": lambda: frame(200, None),
    "several.csv.zst": lambda: (
        frame(100, None) + b"\x50\x2a\x4d\x18\x02\0\0\0ab" + frame(100, None)
    ),
    "rows.csv": lambda: LOG.encode() + b"u,a,1\n" * 3 * MIB,
}


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, unpacking):
        monkeypatch.setattr(module, "free_memory", lambda: 16e6)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", BOMBS)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(
    name: str, tmp_path: Path, refusal: Refusal
) -> None:
    (tmp_path / name).write_bytes(BOMBS[name]())
    message = refusal(*factorize(name))
    assert re.search(rf"{name}: needs at least [\d.]+ GB of memory .* leave out rows", message)


@pytest.mark.usefixtures("little_memory")
def test_a_matrix_that_does_not_fit_into_memory_is_refused(
    tmp_path: Path, refusal: Refusal
) -> None:
    with (tmp_path / "x.npy").open("wb") as file:
        file.write(npy((3, 2_000_000)))
        file.truncate(128 + 24_000_000)
    assert "x.npy: needs at least 0.02 GB of memory" in refusal(*sharded("embeddings", "x.npy"))


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.jsonl", "x.parquet"])
def test_what_fits_is_read(name: str, tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": ["u"] * 50_000, "track_id": [f"t{i}" for i in range(50_000)]})
    content = {
        "x.csv": lambda: table.write_csv().encode(),
        "x.csv.gz": lambda: gzip.compress(table.write_csv().encode()),
        "x.jsonl": lambda: table.write_ndjson().encode(),
        "x.parquet": lambda: parquet(table),
    }[name]()
    (tmp_path / name).write_bytes(content)
    assert read_table(tmp_path / name, ["user_id"]).equals(table)


# What the system says

SYSTEMS: dict[str, tuple[dict[str, str], float]] = {
    "none": ({}, float("inf")),
    "a machine": ({"/proc/meminfo": "MemAvailable:  1000 kB\nSwapFree:  24 kB"}, 1024 * 1024),
    "a container": (
        {
            "/proc/meminfo": "MemAvailable:  1000 kB",
            "/proc/self/cgroup": "0::/jobs/7",
            "/sys/fs/cgroup/jobs/7/memory.max": "900000",
            "/sys/fs/cgroup/jobs/7/memory.current": "500000",
            "/sys/fs/cgroup/jobs/7/memory.stat": "file 9\ninactive_file 1000",
        },
        401_000,
    ),
    "a container within": (
        {
            "/proc/meminfo": "MemAvailable:  1000 kB",
            "/proc/self/cgroup": "0::/",
            "/sys/fs/cgroup/memory.max": "900000",
            "/sys/fs/cgroup/memory.current": "950000",
        },
        0,
    ),
    "an older container": (
        {
            "/proc/meminfo": "MemAvailable:  1000 kB",
            "/proc/self/cgroup": "9:cpu:/x\n8:memory:/docker/7",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes": "900000",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes": "300000",
            "/sys/fs/cgroup/memory/memory.stat": "total_inactive_file 100000",
        },
        700_000,
    ),
    "a container without a limit": (
        {
            "/proc/meminfo": "MemAvailable:  1000 kB",
            "/proc/self/cgroup": "0::/",
            "/sys/fs/cgroup/memory.max": "max",
            "/sys/fs/cgroup/memory.current": "950000",
        },
        1000 * 1024,
    ),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_free_memory_is_the_least_of_what_the_system_allows(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, expected = SYSTEMS[system]
    monkeypatch.setattr(memory, "_text", lambda path: files.get(Path(path).as_posix(), ""))
    monkeypatch.setattr(memory, "_left_by_ulimit", lambda: float("inf"))
    assert memory.free_memory() == expected


def test_a_damaged_footer_is_left_to_the_reader(tmp_path: Path) -> None:
    content = parquet({"track_id": ["a", "b"], "v": [[1.0, 2.0], [3.0]]})
    for place in range(1, len(content)):
        for new in (0, 255):
            cut = content[:-place] + bytes([new]) + content[len(content) - place + 1 :]
            (tmp_path / "x.parquet").write_bytes(cut)
            with suppress(InputError):  # one that promises more than the memory
                unpacking.check_parquet(tmp_path / "x.parquet")


@given(st.binary(max_size=200))
def test_whatever_begins_like_zstandard_has_a_bound(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bound.zst"
    path.write_bytes(unpacking.ZSTD + content)
    assert unpacking._zstd_bound(path) >= 0


@pytest.mark.parametrize(("blocks", "size"), [(1, None), (3, None), (3, 3 * unpacking.BLOCK)])
def test_the_bound_of_zstandard_is_what_it_unpacks_to(
    blocks: int, size: int | None, tmp_path: Path
) -> None:
    (tmp_path / "x.csv.zst").write_bytes(frame(blocks, size))
    assert unpacking._zstd_bound(tmp_path / "x.csv.zst") == blocks * unpacking.BLOCK
    (name,) = read_part(tmp_path / "x.csv.zst", []).columns
    assert len(name) == blocks * unpacking.BLOCK
