"""The demo, small: it ends with what it promises, and goes on where it was interrupted."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coldstart.cli import main
from coldstart.commands import demo
from coldstart.extractors import musicnn_weights


def run(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[str, str]:
    """What it prints, and its progress."""
    assert main(["demo", "--out", "runs/demo", *flags]) == 0
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_a_small_demo_ends_with_a_table_three_tracks_and_a_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--tracks", "80", "--users", "60")
    printed, progress = run(capsys, *flags)
    assert len(printed.splitlines()) + len(progress.splitlines()) <= 60
    for name in ("coldstart", "best rival: ", "random", "Beside "):
        assert name in printed
    assert len(re.findall(r"listeners it suits best", printed)) == demo.SHOWN
    assert "fit and test kernel" in progress
    assert "%" not in progress  # no bars where nobody watches
    said = (tmp_path / "runs/demo/demo.log").read_text()
    assert "── write shards" in said
    assert Path("runs/demo/report.html").is_file()
    picture = Path("runs/demo/picture.png")
    assert str(picture) in printed
    assert Image.open(picture).size > (800, 200)
    assert len(np.unique(np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3), axis=0)) > 9
    summary = json.loads((tmp_path / "runs/demo/demo.json").read_text())
    assert (summary["tracks"], summary["users"]) == (80, 60)
    assert any(row["method"] == "coldstart" for row in summary["rows"])
    command = printed.splitlines()[-1].removeprefix("next: coldstart ").split()
    assert main(command) == 0  # as it stands
    capsys.readouterr()

    before = {p: p.stat().st_mtime_ns for p in Path("runs/demo").rglob("*.ckpt")}
    assert run(capsys, *flags)[0].splitlines()[:10] == printed.splitlines()[:10]
    after = {p: p.stat().st_mtime_ns for p in Path("runs/demo").rglob("*.ckpt")}
    assert after == before  # nothing was trained again


def test_with_sound_it_hears_the_tracks_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(demo.NET, "trainer.max_epochs", 2)
    # Starting loader processes would cost more than they save.
    monkeypatch.setitem(demo.NET, "data.workers", 0)
    monkeypatch.setattr(musicnn_weights, "has_weights", lambda _: False)
    monkeypatch.chdir(tmp_path)
    printed, _ = run(capsys, "--sound", "true", "--tracks", "60", "--users", "40")
    assert "sound (MFCC) and genres" in printed
    assert "sound (a net of its own)" in printed
    assert "MusiCNN" not in printed  # its weights aren't there
    assert len(printed.splitlines()) <= 60
