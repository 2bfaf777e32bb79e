"""`test --drop-each`: what a fitted model loses without each of its modalities."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from coldstart.errors import InputError
from coldstart.evaluation.results import HEADERS
from coldstart.files import write_json
from coldstart.runs.config import read_config

FIGURES = [HEADERS[key] for key in ("cosine", "recall", "ndcg", "map")]


def drop_each(
    run: Path, name: str, args: Sequence[str], lightning: Callable[..., Any]
) -> list[dict[str, Any]]:
    """Test a run without each of its modalities in turn; print and write what is lost.

    Nothing is fitted anew: it is the same model, whose test tracks lack the modality.

    Args:
        run: folder of a fitted run with several encoders, which has been tested with all of them.
        name: of that test's results.
        args: flags of each further `test`.
        lightning: runs one of Lightning's verbs.

    Returns:
        What is also written to NAME_drop_each.json: a row for the whole, then one for each.
    """
    encoders = list(read_config(run)["model"]["encoders"])
    if len(encoders) < 2:
        raise InputError(f"{run}: --drop-each needs a model of several modalities, not {encoders}")
    rows = [{"without": "", **_ours(run / f"{name}.json")}]
    for without in encoders:
        results = f"{name}_without_{without}"
        lightning("test", [*args, "--drop", without, "--results", results])
        rows.append({"without": without, **_ours(run / f"{results}.json")})
    path = run / f"{name}_drop_each.json"
    write_json(path, rows)
    whole = rows[0]
    table = [[row["without"], *(_cell(row[f], whole[f]) for f in FIGURES)] for row in rows[1:]]
    table.insert(0, ["(all there)", *(f"{whole[figure]:.3f}" for figure in FIGURES)])
    print(tabulate(table, headers=["without", *FIGURES], tablefmt="github", disable_numparse=True))
    print(f"wrote {path}")
    return rows


def _ours(path: Path) -> dict[str, Any]:
    """The model's own row of a test."""
    row = json.loads(path.read_bytes())["rows"][0]
    return {figure: row[figure] for figure in FIGURES}


def _cell(value: float, whole: float) -> str:
    return f"{value:.3f} ({value - whole:+.3f})"
