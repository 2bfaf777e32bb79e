"""Verbs that refuse their input: what they say, and small tables for them."""

import io
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from coldstart.cli import main

LOG = "user_id,track_id,plays\nu,a,1\nv,b,2\n"
TRACKS = "track_id,title,artist\na,t,x\nb,t,y\nc,t,z\n"

Refusal = Callable[..., str]


def refusal_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refusal:
    """What gives the message with which a verb refuses its input, in a folder of tables."""
    (folder / "tracks.csv").write_text(TRACKS)
    (folder / "splits.csv").write_text("track_id,split\na,train\nb,val\nc,test\n")
    monkeypatch.chdir(folder)

    def run(*args: str) -> str:
        begins = time.perf_counter()
        assert main(list(args)) == 2
        assert time.perf_counter() - begins < 10
        said = capsys.readouterr().err
        (message,) = re.findall(rf"^coldstart {args[0]}: (.*)", said, re.MULTILINE | re.DOTALL)
        assert "Traceback" not in said
        assert len(message.strip().splitlines()) <= 2  # the fault, and what to do
        assert len(message) < 900
        return str(message)

    return run


def factorize(name: str) -> list[str]:
    return ["factorize", name, "--out", "factors", "--factors", "2"]


def sharded(kind: str, name: str) -> list[str]:
    return ["shard", "tracks.csv", "--splits", "splits.csv", f"--{kind}.x", name, "--out", "shards"]


def parquet(table: Mapping[str, Any] | pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(table).write_parquet(file, **options)
    return file.getvalue()
