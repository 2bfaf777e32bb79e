"""The verb `test`: a run's figures beside floors and rivals."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coldstart.files import StrPath
from coldstart.training.flags import as_arguments


def test(run: StrPath, *, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Compute a run's figures beside floors and rivals, and print them as tables.

    Args:
        run: folder of a fitted run.
        overrides: as in `fit`.

    Returns:
        What is also written to the run's results.json.
    """
    main(["--run", os.fspath(run), *as_arguments(overrides)])
    results: dict[str, Any] = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
    return results


test.__test__ = False  # type: ignore[attr-defined]  # for pytest


def main(args: Sequence[str]) -> None:
    """`coldstart test ARGS`."""
    from coldstart.training import drop_each, flags
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.preparation import default_run, results_name
    from coldstart.training.reports import TestReport

    own, rest = flags.parse("test", args)
    callbacks: list[Any] = lightning_cli("test", args).trainer.callbacks  # type: ignore[attr-defined]
    (report,) = (c for c in callbacks if isinstance(c, TestReport))
    if report.text:  # on rank 0
        print(f"\n{report.text}")  # a progress bar may have left its line open
    if report.next_step:
        print(f"next: {report.next_step}")
    if own.drop_each:
        folder = Path(own.run) if own.run else default_run(rest)
        again = [arg for arg in args if arg not in ("--drop-each", "--no-rivals")]
        rows = drop_each.drop_each(
            folder, results_name(own), [*again, "--no-rivals"], lightning_cli
        )
        print(f"\n{drop_each.table(rows)}")
