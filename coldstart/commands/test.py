"""The verb `test`: a run's figures beside floors and rivals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from coldstart.files import StrPath
from coldstart.training.lightning_cli import Overrides, _flags, lightning_cli


def test(run: StrPath, *, overrides: Overrides | None = None) -> dict[str, Any]:
    """Compute a run's figures beside floors and rivals; write and return results.json."""
    import json

    lightning_cli("test", ["--run", os.fspath(run), *_flags(overrides)])
    results: dict[str, Any] = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
    return results


test.__test__ = False  # type: ignore[attr-defined]  # for pytest
