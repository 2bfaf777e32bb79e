"""A label's week: the commands of docs/live.md, in their order, on invented tables."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import ROOT

import coldstart as cs
from coldstart.cli import main

COMMANDS = [
    line
    for block in re.findall(r"```\n(.*?)```", (ROOT / "docs" / "live.md").read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("coldstart ")
]
"""All commands of the page."""


def verb(name: str) -> list[str]:
    """The page's commands of one verb."""
    return [command for command in COMMANDS if command.split()[1] == name]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's tables; the ten newest tracks are Friday's."""
    folder = tmp_path_factory.mktemp("week")
    catalogue = folder / "catalogue"
    cs.make_catalogue(catalogue, tracks=150, users=80, seed=1, audio=False)
    tracks = pl.read_parquet(catalogue / "tracks.parquet")
    listens = pl.read_parquet(catalogue / "listens.parquet")
    mgp = pl.read_parquet(catalogue / "mgp.parquet")
    tracks = tracks.drop("audio", strict=False).sort("track_id")
    old, new = tracks.head(140), tracks.tail(10)
    (folder / "new").mkdir()
    for path, table in ((folder, old), (folder / "new", new)):
        table.write_parquet(path / "tracks.parquet")
        mgp.filter(pl.col("track_id").is_in(table["track_id"].to_list())).write_parquet(
            path / "mgp.parquet"
        )
    listens.filter(pl.col("track_id").is_in(old["track_id"].to_list())).write_parquet(
        folder / "listens.parquet"
    )
    _yesterday(old["track_id"].to_list(), new["track_id"].to_list()).write_parquet(
        folder / "yesterday.parquet"
    )
    return folder


def _yesterday(old: list[str], new: list[str]) -> pl.DataFrame:
    """Events, a row a play: of listeners who are known, and of one who is new."""
    generator = np.random.default_rng(2)
    rows: list[tuple[str, str, datetime]] = []
    for user in ("u00000", "u00001", "somebody new"):
        for track in [*generator.choice(old, 6, replace=False), new[0]]:
            rows.append((user, str(track), datetime(2026, 11, 24) + timedelta(minutes=len(rows))))
    return pl.DataFrame(rows, schema=["user_id", "track_id", "timestamp"], orient="row")


def test_the_week(
    week: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(week)
    for command in COMMANDS:
        assert main(shlex.split(command)[1:]) == 0, command
    capsys.readouterr()
    new = pl.read_parquet("new/tracks.parquet")["track_id"].to_list()
    yesterday = pl.read_parquet("yesterday.parquet")

    lists = pl.read_parquet("recs.parquet")
    assert lists["user_id"].n_unique() == 81  # all listeners of the log, and the new one
    assert set(new) <= set(lists["track_id"]) | set(yesterday["track_id"])
    assert "t000003" not in lists["track_id"]
    # Everything was learnt from, so cold are Friday's tracks, and those that nobody has played.
    old = pl.read_parquet("tracks.parquet")["track_id"].to_list()
    played = pl.read_parquet("listens.parquet")["track_id"].unique().to_list()
    cold = {*new, *(set(old) - set(played))}
    assert set(lists.filter(pl.col("by") == "content")["track_id"]) <= cold
    share = lists.filter(pl.col("rank") <= 10)["by"].eq("content").mean()
    assert share == pytest.approx(0.3, abs=0.05)
    listens = pl.concat(
        [
            pl.read_parquet("listens.parquet").select("user_id", "track_id"),
            yesterday.drop("timestamp"),
        ]
    )
    assert lists.join(listens, on=["user_id", "track_id"], how="semi").is_empty()
    someone = lists.filter(pl.col("user_id") == "somebody new")
    assert len(someone) == 20
    assert set(someone["taste"]) == {"own"}

    vectors = pl.read_parquet("vectors/tracks.parquet")
    assert len(vectors) == 149
    assert set(vectors.filter(~pl.col("warm"))["track_id"]) == cold
    # Of Friday's tracks one was played since: its place is that of content and plays.
    assert vectors.filter(by="both")["track_id"].to_list() == [new[0]]
    assert set(lists["by"]) >= {"plays", "content", "both"}


def test_the_same_day_twice_changes_nothing(
    week: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(week)
    if not Path("recs.parquet").exists():
        test_the_week(week, monkeypatch, capsys)
    before = pl.read_parquet("recs.parquet")
    repeated = [*verb("add"), *verb("update"), *verb("remove")]
    for command in [*repeated, f"{verb('recommend')[0]} --overwrite"]:
        assert main(shlex.split(command)[1:]) == 0, command
    assert pl.read_parquet("recs.parquet").equals(before)
