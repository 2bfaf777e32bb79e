"""The verb `validate`: a run's validation loss."""

from __future__ import annotations

import os

from coldstart.files import StrPath
from coldstart.training.lightning_cli import Overrides, _flags, lightning_cli


def validate(run: StrPath, *, overrides: Overrides | None = None) -> None:
    """Compute a run's validation loss. Arguments as in `fit`."""
    lightning_cli("validate", ["--run", os.fspath(run), *_flags(overrides)])
