"""Tables that coldstart has written itself: read with the columns and types that it gave them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from coldstart.errors import InputError
from coldstart.files import StrPath, unusable
from coldstart.tables.unpacking import check_parquet

Schema = Mapping[str, Any]
"""Column → type: of polars, or a class of such types."""


def read_stored(
    path: StrPath, required: Schema, unique: str, remedy: str, optional: Schema | None = None
) -> pl.DataFrame:
    """Read some columns of a Parquet table.

    Args:
        path: of the file.
        required: column → type; no cell of these may be empty, or be no finite number.
        unique: the column whose values are all different; "" if there is none.
        remedy: what to do, for a message.
        optional: the same of columns that may be missing.

    Raises:
        InputError: the table is missing, damaged, or isn't as coldstart writes it.
    """
    if reason := unusable(path):
        reason = reason.partition(";")[0]
        raise InputError(f"{path}: incomplete or damaged ({reason}); {remedy}")
    try:
        check_parquet(Path(path))
        table = pl.read_parquet(Path(path), glob=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: incomplete or damaged ({reason}); {remedy}") from error
    if missing := [column for column in required if column not in table.columns]:
        raise InputError(f"{path}: there is no column '{missing[0]}'; {remedy}")
    present = {n: d for n, d in {**required, **(optional or {})}.items() if n in table.columns}
    for column, dtype in present.items():
        if table.schema[column] != dtype:
            raise InputError(
                f"{path}: column '{column}' holds {table.schema[column]}, not {dtype}; {remedy}"
            )
        if empty := table[column].null_count():
            raise InputError(f"{path}: column '{column}' has {empty} empty cells; {remedy}")
        if table[column].dtype.is_float() and not table[column].is_finite().all():
            raise InputError(
                f"{path}: column '{column}' holds values that are no finite numbers; {remedy}"
            )
    table = table.select(list(present))
    if unique and table[unique].n_unique() < len(table):
        (twice,) = table[unique].filter(table[unique].is_duplicated()).head(1)
        raise InputError(f"{path}: {unique} {twice!r} is there twice; {remedy}")
    return table
