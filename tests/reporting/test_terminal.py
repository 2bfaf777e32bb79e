"""Output on terminals and pipes that aren't UTF-8."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import ROOT, Fitted
from hypothesis import given
from hypothesis import strategies as st

from coldstart.cli import VERBS
from coldstart.reporting.terminal import PLAIN
from coldstart.runs.config import configs_folder, read_config


@given(st.text(), st.sampled_from(["ascii", "cp1252", "cp437", "utf-8", "shift_jis"]))
def test_any_text_can_be_written_in_any_encoding(text: str, encoding: str) -> None:
    written = text.encode(encoding, "coldstart").decode(encoding)
    if text.isascii():
        assert written == text


def test_what_stands_for_a_character_is_ascii() -> None:
    assert all(plain.isascii() for plain in PLAIN.values())
    assert "12 × 3 → −4 – “…”".encode("ascii", "coldstart") == b'12 x 3 -> -4 - "..."'
    assert "caf\udce9".encode("utf-8", "coldstart") == b"caf?"  # a file's name that is no text


def verbs(encoding: str, calls: Sequence[Sequence[str]]) -> str:
    """Run verbs in one process whose streams have an encoding; all must succeed."""
    code = (
        "from coldstart.cli import main\n"
        f"for args in {[list(call) for call in calls]}:\n"
        "    try: status = main(args)\n"
        "    except SystemExit as stop: status = stop.code\n"
        "    assert not status, (args, status)\n"
    )
    variables = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(encoding, "replace")[-3000:]
    return done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_of_every_verb(encoding: str) -> None:
    told = verbs(encoding, [["--help"], *([verb, "--help"] for verb in VERBS)])
    assert "tracks -> train, val and test" in told


def test_lightning_s_verbs_and_recommend_in_ascii(mgp_genres: Fitted) -> None:
    run = f"--run={mgp_genres.run}"
    calls = [
        ["validate", run],
        ["test", run, "--no-rivals"],
        ["recommend", run, "--like=t000001", "--why", "--k=3"],
        ["neighbours", run, "--like=t000001", "--k=3"],
        ["plugins"],
    ]
    told = verbs("ascii", calls)
    assert "... others" in told  # the ellipsis
    assert "?" not in told.split("next:")[0]


def test_a_config_is_utf_8_where_the_system_is_not(tmp_path: Path) -> None:
    """Shipped configs have comments with other characters, and so has one of a user's."""
    before = ROOT / "tests" / "before"
    config = tmp_path / "mine.yaml"
    text = (configs_folder() / "mgp.yaml").read_text(encoding="utf-8")
    config.write_text(f"# ünïcode →\n{text}\nseed_everything: 3\n", encoding="utf-8")
    args = ["fit", f"--config={config}", f"--run={tmp_path / 'run'}", "--data.workers=0"]
    args += [f"--data.shards={before / 'shards'}", f"--data.factors={before / 'factors'}"]
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "coldstart", *args, "--trainer.max_epochs=1"],
        env=os.environ | locale,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_config(tmp_path / "run")["seed_everything"] == 3
