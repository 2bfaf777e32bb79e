"""The verb `validate`: a run's validation loss."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from coldstart.files import StrPath
from coldstart.training.flags import as_arguments


def validate(
    run: StrPath, *, overrides: Mapping[str, Any] | None = None, trust: bool = False
) -> None:
    """Compute a run's validation loss.

    Args:
        run: folder of a fitted run.
        overrides: as in `fit`.
        trust: whether the run's own config may build anything; see docs/security.md.
    """
    main(["--run", os.fspath(run), *as_arguments(overrides), *(["--trust"] if trust else [])])


def main(args: Sequence[str]) -> None:
    """`coldstart validate ARGS`; Lightning prints the loss."""
    from coldstart.training.lightning_cli import lightning_cli

    lightning_cli("validate", args)
