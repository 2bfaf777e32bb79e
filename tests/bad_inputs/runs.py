"""A run of before that a stranger may have changed, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import ROOT

from coldstart.cli import main

BEFORE = ROOT / "tests" / "before"
DATA = [f"--data.shards={BEFORE / 'shards'}", f"--data.factors={BEFORE / 'factors'}"]
QUICK = ["--trainer.enable_progress_bar=false", "--trainer.logger=false"]
MODEL = {"encoders": {"mgp": {"class_path": "MGP", "init_args": {"hidden": [4]}}}}

Stderr = pytest.CaptureFixture[str]


def refused(args: list[str], stderr: Stderr) -> str:
    assert main(args) == 2
    error = stderr.readouterr().err
    assert "Traceback" not in error
    sentence = next(line for line in error.splitlines() if line.startswith("coldstart "))
    return sentence


def changed(run: Path, key: str, value: Any) -> None:
    """Put a value under a dotted key of a run's configuration."""
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    *above, last = key.split(".")
    place = config
    for name in above:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    place[last] = value
    path.write_text(yaml.safe_dump(config))


def command(marker: Path) -> dict[str, Any]:
    return {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(marker)]}}
