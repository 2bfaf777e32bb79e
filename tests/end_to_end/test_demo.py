"""The demo, small: it ends with what it promises, and goes on where it was interrupted."""

import json
from pathlib import Path

import pytest

from coldstart.cli import main
from coldstart.commands import demo


def test_a_small_demo_ends_with_a_table_and_recommendations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(demo.SMALL, "trainer.max_epochs", 1)
    # Many short fits: starting loader processes for each would cost more than they save.
    monkeypatch.setitem(demo.SMALL, "data.workers", 0)
    monkeypatch.chdir(tmp_path)
    args = ["demo", "--out", "runs/demo", "--tracks", "60", "--users", "40"]
    assert main(args) == 0
    printed = capsys.readouterr().out
    for name in ("audio+mlg+genres", "ridge", "random", "shuffled content", "invented"):
        assert name in printed
    assert printed.count("from its content, it is like") == 3
    assert "next: coldstart recommend --run" in printed
    assert "report.html" in printed.splitlines()[-1]
    assert Path("runs/demo/report.html").is_file()
    rows = json.loads((tmp_path / "runs/demo/demo.json").read_text())["rows"]
    assert sum(row["method"] == "coldstart" for row in rows) == len(demo.ROWS)

    before = {p: p.stat().st_mtime_ns for p in Path("runs/demo").rglob("*.ckpt")}
    (tmp_path / "runs/demo/mlg/results.json").unlink()
    assert main(args) == 0
    after = {p: p.stat().st_mtime_ns for p in Path("runs/demo").rglob("*.ckpt")}
    assert after == before  # nothing was trained again
