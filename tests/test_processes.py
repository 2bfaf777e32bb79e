"""Processes start from a script without a main guard, from -c and from stdin."""

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import coldstart as cs
print("once")
cs.make_catalogue("catalogue", tracks=20, users=5, workers=2)
cs.shard("catalogue/tracks.parquet", out="shards", sample_rate=8000, shard_size=10, workers=2)
"""


@pytest.mark.parametrize("way", ["script", "stdin"])
def test_no_main_guard_is_needed(way: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CODE, encoding="utf-8")
    args = {"script": [str(script)], "stdin": []}[way]
    stdin = CODE if way == "stdin" else None
    done = subprocess.run(
        [sys.executable, *args], input=stdin, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("once") == 1
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "catalogue" / "audio").glob("*.flac"))) == 20
    assert len(list((tmp_path / "shards").rglob("*.tar"))) > 2
