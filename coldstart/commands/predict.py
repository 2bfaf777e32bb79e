"""The verb `predict`: a run's outputs for all tracks."""

from __future__ import annotations

import os

from coldstart.files import StrPath
from coldstart.training.lightning_cli import Overrides, _flags, lightning_cli


def predict(run: StrPath, *, overrides: Overrides | None = None) -> None:
    """Write a run's outputs for all tracks: vectors, or a listener's attributes."""
    lightning_cli("predict", ["--run", os.fspath(run), *_flags(overrides)])
