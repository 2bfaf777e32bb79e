"""The verb `predict`: a run's outputs for all tracks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from coldstart.files import StrPath
from coldstart.training.flags import as_arguments


def predict(
    run: StrPath, *, overrides: Mapping[str, Any] | None = None, trust: bool = False
) -> None:
    """Write a run's outputs for all tracks: vectors, or a listener's attributes.

    Args:
        run: folder of a fitted run.
        overrides: as in `fit`.
        trust: whether the run's own config may build anything; see docs/security.md.
    """
    main(["--run", os.fspath(run), *as_arguments(overrides), *(["--trust"] if trust else [])])


def main(args: Sequence[str]) -> None:
    """`coldstart predict ARGS`."""
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.prediction_writers import PredictionWriter

    callbacks: list[Any] = lightning_cli("predict", args).trainer.callbacks  # type: ignore[attr-defined]
    writers = [c for c in callbacks if isinstance(c, PredictionWriter)]
    for step in dict.fromkeys(writer.next_step for writer in writers if writer.next_step):
        print(f"next: {step}")
