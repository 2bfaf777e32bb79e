"""From the measured model to the live one: the page's commands, in its order, on the tiny world."""

import re
from pathlib import Path

import polars as pl
import pytest
import yaml
from helpers import ROOT, World

from coldstart.cli import main
from coldstart.runs.predictions import predictions_of
from coldstart.runs.run import open_run


def test_the_page_s_commands_run(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("listens.parquet", "mgp.parquet"):
        (tmp_path / name).symlink_to(tiny_world.catalogue / name)
    tracks = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").drop("audio")
    tracks.write_parquet(tmp_path / "tracks.parquet")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## From the measured model.*?```\n(.*?)```", text, re.DOTALL)
    for line in section.strip().splitlines():
        words = line.split()[1:]
        is_measured = words[0] == "fit" and words[-1] == "runs/validated"
        quick = ["--trainer.max_epochs=5"] if is_measured else []
        assert main([*words, *quick]) == 0, line
    config = yaml.safe_load((tmp_path / "runs" / "live" / "config.yaml").read_text())
    assert config["like_run"] == str(tmp_path / "runs" / "validated")
    assert len(predictions_of(open_run(tmp_path / "runs" / "live")).track_ids) == 60
