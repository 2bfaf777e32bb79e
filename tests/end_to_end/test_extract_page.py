"""From sound files to listeners: the commands of docs/extract.md, in their order."""

import re
import shlex
from pathlib import Path

import polars as pl
import pytest
from helpers import ROOT, World

from coldstart.cli import main

COMMANDS = [
    line
    for block in re.findall(
        r"(?<!-->)\n```\n(.*?)```", (ROOT / "docs/extract.md").read_text(), re.DOTALL
    )
    for line in block.splitlines()
    if line.startswith("coldstart ")
]


def test_the_page_s_commands_lead_from_sound_to_listeners(
    tiny_world: World,
    tmp_path: Path,
    weights_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLDSTART_CACHE", str(weights_cache))
    monkeypatch.chdir(tmp_path)
    tracks = pl.read_parquet(tiny_world.catalogue / "tracks.parquet").sort("track_id")
    for folder, table in ((tmp_path, tracks.head(30)), (tmp_path / "new", tracks.tail(2))):
        (folder / "audio").mkdir(parents=True)
        for file in table["audio"]:
            (folder / file).symlink_to(tiny_world.catalogue / file)
        table.write_parquet(folder / "tracks.parquet")
    (tmp_path / "listens.parquet").symlink_to(tiny_world.catalogue / "listens.parquet")
    demo = tracks["audio"][-1]
    assert len(COMMANDS) == 10
    said = {}
    for command in COMMANDS:
        arguments = shlex.split(command.replace("audio/demo.flac", demo))[1:]
        assert main(arguments) == 0, command
        said[command] = capsys.readouterr().out
    last = next(text for command, text in said.items() if "--why" in command)
    assert "musicnn_tags" in last
