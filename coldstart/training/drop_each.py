"""`test --drop-each`: what a fitted model loses without each of its modalities."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from coldstart.errors import InputError
from coldstart.evaluation.results import HEADERS, read_results
from coldstart.files import write_json
from coldstart.runs.config import read_config
from coldstart.training.ranks import is_main

log = logging.getLogger(__name__)


class Without(NamedTuple):
    """A model's figures where its test tracks lack a modality.

    Attributes:
        without: the modality; empty for the model with all of them.
        cosine: mean cosine distance.
        recall: mean Recall.
        ndcg: mean NDCG.
        map: mean average precision.
    """

    without: str
    cosine: float | None
    recall: float | None
    ndcg: float | None
    map: float | None


def drop_each(
    run: Path, name: str, args: Sequence[str], lightning: Callable[..., Any]
) -> list[Without]:
    """Test a run without each of its modalities in turn, and write what is lost.

    Nothing is fitted anew: it is the same model, whose test tracks lack the modality.

    Args:
        run: folder of a fitted run with several encoders, which has been tested with all of them.
        name: of that test's results.
        args: flags of each further `test`.
        lightning: runs one of Lightning's verbs.

    Returns:
        What is also written to NAME_drop_each.json: a row for the whole, then one for each. Of
        several processes, only the first one has it.

    Raises:
        InputError: the model has one modality.
    """
    encoders = list(read_config(run)["model"]["encoders"])
    if len(encoders) < 2:
        raise InputError(f"{run}: --drop-each needs a model of several modalities, not {encoders}")
    names = {without: f"{name}_without_{without}" for without in encoders}
    for without, results in names.items():
        lightning("test", [*args, "--drop", without, "--results", results])
    if not is_main():
        return []
    rows = [_row("", run / f"{name}.json")]
    rows += [_row(without, run / f"{results}.json") for without, results in names.items()]
    path = run / f"{name}_drop_each.json"
    write_json(path, [row._asdict() for row in rows])
    log.info(f"wrote {path}")
    return rows


def table(rows: Sequence[Without]) -> str:
    """The figures, and what each loss costs."""
    headers = ["without", *(HEADERS[name] for name in Without._fields[1:])]
    cells = [[row.without or "(nothing)", *map(_cell, row[1:], rows[0][1:])] for row in rows]
    return tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True)


def _row(without: str, path: Path) -> Without:
    """The model's own row of a test."""
    row = read_results(path).rows[0]
    return Without(without, row.cosine, row.recall, row.ndcg, row.map)


def _cell(value: float | None, whole: float | None) -> str:
    if value is None or whole is None:
        return "–"
    return f"{value:.3f} ({value - whole:+.3f})"
