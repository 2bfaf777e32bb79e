"""The verb `test`: a run's figures beside floors and rivals."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coldstart.files import StrPath
from coldstart.training.flags import as_arguments


def test(
    run: StrPath, *, overrides: Mapping[str, Any] | None = None, trust: bool = False
) -> dict[str, Any]:
    """Compute a run's figures beside floors and rivals, and print them as tables.

    Args:
        run: folder of a fitted run.
        overrides: as in `fit`.
        trust: whether the run's own config may build anything; see docs/security.md.

    Returns:
        What is also written to the run's results.json.
    """
    main(["--run", os.fspath(run), *as_arguments(overrides), *(["--trust"] if trust else [])])
    results: dict[str, Any] = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
    return results


test.__test__ = False  # type: ignore[attr-defined]  # for pytest


def main(args: Sequence[str]) -> None:
    """`coldstart test ARGS`."""
    from coldstart.training import drop_each
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.preparation import results_name
    from coldstart.training.reports import TestReport

    done = lightning_cli("test", args).preparation
    # Ours alone: the config may name another one, which writes files of its own.
    (report,) = (callback for callback in done.callbacks if isinstance(callback, TestReport))
    if report.text:  # on rank 0
        print(report.text)
    if report.next_step:
        print(f"next: {report.next_step}")
    if done.flags.drop_each:
        again = [arg for arg in args if arg not in ("--drop-each", "--no-rivals")]
        name = results_name(done.flags)
        rows = drop_each.drop_each(done.folder, name, [*again, "--no-rivals"], lightning_cli)
        if rows:  # on rank 0
            print(f"\n{drop_each.table(rows)}")
